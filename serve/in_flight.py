"""How many requests are running, and for how long the oldest one has."""

from __future__ import annotations

import time
from collections.abc import Callable


class InFlight:
    """The requests between `enter` and `leave`. Each step is one operation on a dict, so any thread may read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}  # token → seconds; dicts keep their order: the first is the oldest
        self._last = 0

    def enter(self) -> int:
        """Count one request in; the token belongs to `leave`. Called from the event loop's thread alone."""
        self._last = token = self._last + 1
        self._since[token] = self._clock()
        return token

    def leave(self, token: int) -> None:
        """Count it out. A token that is not there does nothing."""
        self._since.pop(token, None)

    @property
    def count(self) -> int:
        """Requests that run now."""
        return len(self._since)

    def oldest_ms(self) -> float:
        """Milliseconds since the oldest running request entered; 0.0 when none runs."""
        while True:
            try:
                since = next(iter(self._since.values()), None)
            except RuntimeError:  # the event loop changed the dict under us
                continue
            return 0.0 if since is None else round((self._clock() - since) * 1000, 3)
