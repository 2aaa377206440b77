"""How many requests may be under way, and when one is tried again: both told by what the server can take."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

CALM_S: Final = 5.0
"""After so long without a word of too much, one more request may be under way."""

_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0


class Pace:
    """Lets `most` requests be under way; half as many when the server has too much to do, then slowly more again."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._free = threading.Condition()
        self._under_way = 0
        self._limit = most
        self._changed_at = clock()

    @property
    def limit(self) -> int:
        """How many may be under way just now."""
        return self._limit

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until one more request may be under way; it is until the end of the block."""
        with self._free:
            self._free.wait_for(lambda: self._under_way < self._limit)
            self._under_way += 1
        try:
            yield
        finally:
            with self._free:
                self._under_way -= 1
                self._free.notify_all()

    def too_much(self) -> None:
        """The server said that it has too much to do."""
        with self._free:
            self._limit = max(1, self._limit // 2)
            self._changed_at = self._clock()

    def taken(self) -> None:
        """The server took a request."""
        with self._free:
            if self._limit < self._most and self._clock() - self._changed_at >= CALM_S:
                self._limit += 1
                self._changed_at = self._clock()
                self._free.notify_all()


def wait_s(attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds until the next attempt after `attempt` that failed: any part of a span that doubles, but not at once."""
    span = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * float(1 << min(attempt, 10)))
    return span * (0.1 + 0.9 * chance())
