"""How fast a channel may be spoken to: a token bucket, the wait after a failure, what goes into the next message."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 300.0
DEAD_S: Final = 600.0
"""A dead channel is tried again so long after the last time: somebody may have mended it."""
LONGEST_PAUSE_S: Final = 3600.0
PATIENCE_S: Final = 300.0
"""A channel that has failed for so long is treated as dead: what waits for it goes to its fallback."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens left at a time (ms since 1970); a message takes one."""

    tokens: float
    at_ms: int

    def filled(self, per_s: float, burst: float, now_ms: int) -> Bucket:
        """As it is now. A clock that went back fills nothing."""
        passed_s = max(0, now_ms - self.at_ms) / 1000
        return Bucket(min(burst, self.tokens + passed_s * per_s), now_ms)

    def wait_s(self, per_s: float) -> float:
        """How long until there is a token; 0 when there is one."""
        return max(0.0, (1.0 - self.tokens) / per_s)

    def taken(self) -> Bucket:
        """With one token less."""
        return Bucket(self.tokens - 1.0, self.at_ms)


def retry_s(failures: int, chance: random.Random) -> float:
    """How long to wait after so many failures in a row (1 is the first): doubled each time, and spread by half."""
    longest = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 20))
    return longest * (0.5 + 0.5 * chance.random())


class Waiting(Protocol):
    """What the choice of the next message looks at."""

    @property
    def subject(self) -> str:
        """The alert or the relayed group it speaks of."""

    @property
    def is_group(self) -> bool:
        """Whether it is a group of the relay."""

    @property
    def size(self) -> int:
        """How many alerts there are in it."""


T = TypeVar("T", bound=Waiting)


def next_message(waiting: Sequence[T], *, tokens: float, most: int) -> list[T]:
    """Which of the waiting deliveries (the most urgent first) the next message tells; about `most` alerts.

    All alerts of ours that wait go together: what came at once is one message. A relayed group is a message of its own,
    as Alertmanager meant it, as long as there is a token for each of them; beyond that everything is merged. All that
    waits of one subject is told at once, so that an end tells of the beginning too.
    """
    sizes: dict[str, int] = {}
    groups: set[str] = set()
    for delivery in waiting:
        sizes[delivery.subject] = max(sizes.get(delivery.subject, 0), delivery.size)
        if delivery.is_group:
            groups.add(delivery.subject)
    messages = len(groups) + (len(groups) < len(sizes))
    if 1 < messages <= int(tokens):
        first = waiting[0].subject
        sizes = {each: sizes[each] for each in sizes if each == first or (first not in groups and each not in groups)}
    told: set[str] = set()
    room = most
    for subject, size in sizes.items():
        if told and size > room:
            break
        told.add(subject)
        room -= size
    return [delivery for delivery in waiting if delivery.subject in told]
