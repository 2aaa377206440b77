"""A percentile from the coarse histogram of a bucket: good enough to be shown, never to decide by."""

from __future__ import annotations

import math

from logproc.alerts.columns import EDGES_MS, Ints


def percentile_s(counts: Ints, rank: float) -> float | None:
    """The value (s) at a rank (0 to 1), between the edges of its bin as the logarithm goes; None where nothing was."""
    total = int(counts.sum())
    if not total:
        return None
    wanted, below = rank * total, 0
    for place, count in enumerate(counts.tolist()):
        if count and below + count >= wanted:
            low, high = math.log(EDGES_MS[place]), math.log(EDGES_MS[place + 1])
            return math.exp(low + (high - low) * (wanted - below) / count) / 1000
        below += count
    return float(EDGES_MS[-1]) / 1000
