"""Shares of requests: decided by the lower bound of Wilson's interval, so that few requests prove little."""

from __future__ import annotations

from typing import Final

from logproc.alerts.guard import LEAST_BAD, Z
from logproc.alerts.guard import wilson_lower as lower_bound
from logproc.rules.promql import wilson_lower
from logproc.rules.rule import Recording

WINDOW: Final = "5m"
WINDOW_MINUTES: Final = 5

MANY: Final = 2000
"""Requests a minute in trials: so many that the bound is close to the share."""


def lower_of(counted: str, whole: str, window: str = WINDOW, selector: str = "", **labels: str) -> Recording:
    """Records the lower bound of the share that one recorded count is of another."""
    expr = wilson_lower(f"{counted}:increase{window}{selector}", f"{whole}:increase{window}", Z, on="model")
    return Recording(f"{counted}:wilson_lower{window}", expr, labels)


def surely_over(counted: str, allowed: float, selector: str = "") -> str:
    """Whether a recorded count is surely more than an allowed share, and enough to speak of."""
    return (
        f"max by (model) (\n"
        f"  {counted}:wilson_lower{WINDOW}{selector} > {allowed:.9g}\n"
        f"  and {counted}:increase{WINDOW}{selector} >= {LEAST_BAD}\n"
        f")"
    )


def surely(share: float, minutes: int = WINDOW_MINUTES) -> float:
    """What the rules reckon of a share of the many requests of a trial."""
    of = MANY * minutes
    return float(lower_bound(share * of, of))


def percent(share: float) -> str:
    """A share as it stands in a sentence: 0.05 → `5%`."""
    return f"{share * 100:.4g}%"
