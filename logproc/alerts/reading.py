"""What one detector says at one second, where it judges by a single number."""

from __future__ import annotations

from typing import NamedTuple

from logproc.alerts.alert import Cause, Kind


class Reading(NamedTuple):
    """What one kind says of one host at one second; `is_well` says that an alert may end."""

    kind: Kind
    level: int
    value: float | None
    bound: float | None
    n: int
    is_well: bool
    since: int
    facts: dict[str, object]
    for_s: float = 0.0
    cause: Cause | None = None
    ends_at_once: bool = False
    """That all is well ends an alert without further waiting."""
