"""The incidents that the demo plays in, by the seconds since it began; server and screen follow the same schedule."""

from __future__ import annotations

from typing import Final, NamedTuple

CYCLE_S: Final = 180.0
"""After so many seconds the incidents come again."""


class Incident(NamedTuple):
    """Something that goes wrong on purpose, from `begins_s` to `ends_s` of each cycle."""

    title: str
    detail: str
    begins_s: float
    ends_s: float


QUEUE: Final = Incident("a queue builds up", "the engine takes 2 at a time, not 16", 20.0, 65.0)
EMPTY: Final = Incident("a burst of empty completions", "2 in 3 end before a word", 100.0, 150.0)
INCIDENTS: Final = (QUEUE, EMPTY)


def playing(seconds: float) -> Incident | None:
    """The incident that is played in now, if any."""
    place = seconds % CYCLE_S
    return next((each for each in INCIDENTS if each.begins_s <= place < each.ends_s), None)


def coming(seconds: float) -> tuple[Incident, float]:
    """The next incident to begin, and in how many seconds."""
    place = seconds % CYCLE_S
    waits = [((each.begins_s - place) % CYCLE_S or CYCLE_S, each) for each in INCIDENTS]
    wait, incident = min(waits)
    return incident, wait
