"""The confidence guard: how large a share of requests surely is, given that only so many were seen."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Z: Final = 3.0
"""Standard deviations: what the bound claims is wrong about once in a thousand looks."""

LEAST_BAD: Final = 5
"""So many bad requests must have been seen, however few there were in all."""

Floats = npt.NDArray[np.float64]


def wilson_lower(bad: npt.NDArray[Any] | float, of: npt.NDArray[Any] | float, z: float = Z) -> Floats:
    """The lower bound of Wilson's interval for the share `bad / of`, 0 where nothing was seen; element by element.

    `logproc rules` writes the same formula in PromQL.
    """
    k, n = np.asarray(bad, np.float64), np.asarray(of, np.float64)
    n = np.maximum(n, 1e-9)
    share = np.minimum(k / n, 1.0)
    middle = share + z * z / (2 * n)
    spread = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    found: Floats = np.maximum(0.0, (middle - spread) / (1 + z * z / n))
    return found
