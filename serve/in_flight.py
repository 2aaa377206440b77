"""The requests that run now: how many, and for how long the oldest one has."""

from __future__ import annotations

import time
from collections.abc import Callable

from serve.exchange import Exchange


class InFlight:
    """The exchanges between `enter` and `leave`. Each step is one operation on a dict, so any thread may read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: dict[Exchange, None] = {}  # dicts keep their order: the first is the oldest

    def enter(self, exchange: Exchange) -> None:
        """Count one in. Called from the event loop's thread alone."""
        self._running[exchange] = None

    def leave(self, exchange: Exchange) -> None:
        """Count it out. One that is not there does nothing."""
        self._running.pop(exchange, None)

    @property
    def count(self) -> int:
        """Requests that run now."""
        return len(self._running)

    def running(self) -> list[Exchange]:
        """All that run now, the oldest first."""
        return list(self._running)

    def oldest_ms(self) -> float:
        """Milliseconds since the oldest running request was received; 0.0 when none runs."""
        while True:
            try:
                oldest = next(iter(self._running), None)
            except RuntimeError:  # the event loop changed the dict under us
                continue
            return 0.0 if oldest is None else round((self._clock() - oldest.received_at) * 1000, 3)
