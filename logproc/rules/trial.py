"""Makes the input of trials, and what Prometheus' templates make of a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from logproc.rules.promql import quoted
from logproc.rules.rule import Check, Fired, Series, Trial

INSTANCE: Final = {"job": "logproc", "instance": "logproc:9470"}
"""The one logproc of a trial."""

MODEL: Final = "some-model"
HOST: Final = "gpu-1"

EVERY_S: Final = 300
"""Rules are evaluated so often in trials: trials over days would otherwise take minutes."""

ENOUGH_MINUTES: Final = 10
"""So long something goes on in a trial before it is judged."""


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    """One input series of the trial's logproc."""
    inner = ",".join(f"{key}={quoted(value)}" for key, value in {**INSTANCE, **labels}.items())
    return {f"{name}{{{inner}}}": values}


def lag(seconds: float = 0, samples: int = 1500, **labels: str) -> dict[str, str]:
    """How long `measure` lags."""
    return series("logproc_lag_seconds", flat(seconds, samples), consumer="measure", **labels)


def flat(value: float, samples: int = 1500) -> str:
    """The same value at each sample."""
    return f"{plain(value)}+0x{samples}"


def rising(step: float, samples: int = 1500) -> str:
    """A counter that grows by `step` at each sample, from 0."""
    return f"0+{plain(step)}x{samples}"


def plain(value: float) -> str:
    """A number without an exponent."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def judged_at(seconds: float, for_s: float = 0) -> int:
    """The evaluation at which what began before `seconds` has held for `for_s`."""
    return EVERY_S * (math.ceil(seconds / EVERY_S) + math.ceil(for_s / EVERY_S))


def single(alert: str, what: str, seen: Series, at_s: int, fires: tuple[Fired, ...] = ()) -> Trial:
    """A trial of one alert at one time."""
    return Trial(f"{alert}: {what}", seen, (Check(alert, at_s, fires),))


def percentage(share: float) -> str:
    """Prometheus' `humanizePercentage`."""
    return f"{share * 100:.4g}%"


def duration(seconds: int) -> str:
    """Prometheus' `humanizeDuration` of whole seconds."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour}h {minute}m {second}s"
    if hours:
        return f"{hour}h {minute}m {second}s"
    return f"{minute}m {second}s" if minutes else f"{second}s"


def size(octets: float) -> str:
    """Prometheus' `humanize1024`."""
    for prefix in ("", "ki", "Mi", "Gi", "Ti"):
        if octets < 1024:
            return f"{octets:.4g}{prefix}"
        octets /= 1024
    return f"{octets:.4g}Pi"


def merged(*parts: Mapping[str, str]) -> dict[str, str]:
    """Several series as one input."""
    return {name: values for part in parts for name, values in part.items()}
