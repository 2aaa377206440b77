"""Rolling sums over the last so many seconds, exact: whole numbers, the new second added, the old one taken away."""

from __future__ import annotations

from typing import Final

import numpy as np

from logproc.alerts.columns import Ints

SHORT_S: Final = 60
"""What happens now."""
LONG_S: Final = 300
"""What there is to judge by where requests are few; also how far back an alert looks for its beginning."""


def rolling(series: Ints, length: int, lead: int) -> Ints:
    """The sums over the last `length` seconds at each second from `lead` on.

    `series` holds one second a row, `lead` of them (≥ length) before the first that is wanted; shape
    (lead + seconds, n) → (seconds, n).
    """
    until = np.cumsum(series, axis=0)
    before = until[lead - length : len(series) - length]
    return until[lead:] - before


def begin_of(bad: Ints, of: Ints, usual: float) -> int:
    """Where in a stretch of seconds that ends badly it began to be bad: the place of the first such second.

    The place from which on `bad` exceeds most what would be normal: half way between the usual share and that of the
    worst minute.
    """
    total, worst = int(of.sum()), 0.0
    if not total:
        return 0
    count = len(bad)
    for length in (SHORT_S, count):
        seen = int(of[-length:].sum())
        worst = max(worst, float(bad[-length:].sum()) / seen if seen else 0.0)
    normal = (usual + worst) / 2
    excess = np.concatenate([[0.0], np.cumsum(bad - normal * of)])
    place = int(len(excess) - 1 - np.argmin(excess[::-1]))
    later = np.flatnonzero(bad[place:])
    return place + int(later[0]) if len(later) else place
