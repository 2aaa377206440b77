"""Pieces of PromQL that several rules share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client.utils import floatToGoString

LAG_LIMIT_S: Final = 30
"""While the oldest byte not yet counted has waited so long, rates speak of the past: nothing is decided on them."""

HELD: Final = f'and on(job, instance) logproc_lag_seconds{{consumer="measure"}} < {LAG_LIMIT_S}'
"""Ends an expression inside an aggregation: it leaves out the instances of logproc that lag."""


def bound(edge: float) -> str:
    """A bucket edge as it stands in the label `le`: `3.0`, never `3`."""
    text: str = floatToGoString(edge)  # type: ignore[no-untyped-call]
    return text


def span(seconds: float) -> str:
    """A time as Prometheus writes it: 300 → `5m`, 0.5 → `500ms`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds else "0s"


def matching(**labels: str) -> str:
    """A selector's braces: `{le="3.0", model="a"}`."""
    return braces(f"{name}={quoted(value)}" for name, value in labels.items())


def braces(matchers: Iterable[str]) -> str:
    """Matchers in braces; nothing where there are none."""
    inner = ", ".join(matchers)
    return f"{{{inner}}}" if inner else ""


def quoted(value: str) -> str:
    """A label value as a PromQL string."""
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def wilson_lower(count: str, of: str, z: float, *, on: str) -> str:
    """The lower bound of Wilson's interval for the share `count / of`: `alerts.guard.wilson_lower` in PromQL.

    Both are names of recorded counts that have the label `on` in common; no share of nothing: nothing.
    """
    by = f"on({on})"
    return (
        f"(\n"
        f"  {count} + {z}^2 / 2\n"
        f"  - {by} {z} * sqrt({count} * {by} ({of} - {by} {count}) / {by} {of} + {z}^2 / 4)\n"
        f") / {by} ({of} + {z}^2)"
    )
