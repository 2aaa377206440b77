"""Percentiles: logarithmic bins of 1 % relative error, mergeable (DDSketch)."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

RELATIVE_ERROR: Final = 0.01
GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA: Final = math.log(GAMMA)
LEAST_MS: Final = 1e-3
_FIRST: Final = math.ceil(math.log(LEAST_MS) / _LOG_GAMMA)
BINS: Final = math.ceil(math.log(1e12) / _LOG_GAMMA) - _FIRST + 1

Bins = npt.NDArray[np.int64]


def empty_bins() -> Bins:
    """No value seen."""
    return np.zeros(BINS, np.int64)


def bins_of(values_ms: npt.NDArray[np.float64]) -> Bins:
    """How many of the values (ms, none NaN) fall into each bin; anything below 1 µs is in the first."""
    return np.bincount(bins_at(values_ms), minlength=BINS)


def bins_at(values_ms: npt.NDArray[np.float64]) -> Bins:
    """The bin of each value (ms, none NaN); anything below 1 µs is in the first."""
    index = np.ceil(np.log(np.maximum(values_ms, LEAST_MS)) / _LOG_GAMMA).astype(np.int64) - _FIRST
    places: Bins = np.clip(index, 0, BINS - 1)
    return places


def bin_values(bins: Bins) -> npt.NDArray[np.float64]:
    """The value (ms) that stands for each bin: nothing in it is farther away than the relative error."""
    values: npt.NDArray[np.float64] = 2 * GAMMA ** (bins + _FIRST).astype(np.float64) / (GAMMA + 1)
    return values


def quantiles(bins: npt.NDArray[Any], at: tuple[float, ...]) -> list[float | None]:
    """The values (ms) at the given ranks (0 to 1); None when nothing was seen."""
    total = int(bins.sum())
    if not total:
        return [None] * len(at)
    below = np.cumsum(bins)
    found = np.searchsorted(below, [max(1, math.ceil(rank * total)) for rank in at])
    values: list[float | None] = bin_values(found).tolist()
    return values
