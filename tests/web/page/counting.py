"""What the page must show, counted anew from the lines by the plainest means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Lines = Sequence[dict[str, Any]]


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def durations(lines: Lines) -> list[float]:
    """Durations of all requests, ms."""
    return [line["duration_ms"] for line in lines]


def outcomes(lines: Lines) -> dict[str, int]:
    """How many requests had each outcome."""
    found: dict[str, int] = {}
    for line in lines:
        found[line["outcome"]] = found.get(line["outcome"], 0) + 1
    return found


def tokens(lines: Lines, which: str) -> int:
    """The sum over those whose number is known."""
    return sum(line[f"{which}_tokens"] or 0 for line in lines)


def seconds(text: str) -> float:
    """`12 ms`, `1.24 s`, `1 m 05 s` → seconds."""
    unit = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    parts = text.split()
    return sum(float(number) * unit[name] for number, name in zip(parts[::2], parts[1::2], strict=True))


def number(text: str) -> float:
    """`950`, `9,876`, `12.3 k`, `4.56 M` → that number."""
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}
    parts = text.replace(",", "").split()
    return float(parts[0]) * (factor[parts[1]] if len(parts) > 1 and parts[1] in factor else 1)
