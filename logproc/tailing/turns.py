"""Whose turn it is to be read: growing files in a ring, the backlog oldest first, one turn of each after the other.

Oldest is what was never read, then what has come least far in log time: so files of the same time are read together.
"""

from __future__ import annotations

import heapq
from collections import deque

from logproc.tailing.followed import Followed


class Turns:
    """The streams with something unread."""

    def __init__(self) -> None:
        self._ring: deque[Followed] = deque()
        self._backlog: list[tuple[int, int, str, int, Followed]] = []
        self._backlog_next = False

    def __bool__(self) -> bool:
        """Whether anyone waits."""
        return bool(self._ring or self._backlog)

    @property
    def least_reached(self) -> int | None:
        """How far the one has come that is farthest behind of those that wait; None where nobody waits."""
        ring = min((stream.reached for stream in self._ring), default=None)
        if not self._backlog:
            return ring
        return self._backlog[0][0] if ring is None else min(ring, self._backlog[0][0])

    def add(self, stream: Followed) -> None:
        """Let a stream wait for its turn; it may be waiting already."""
        if stream.queued:
            return
        stream.queued = True
        if stream.live and not stream.packed:  # packed ones keep their place best when they are read in one go
            self._ring.append(stream)
        else:
            heapq.heappush(self._backlog, (stream.reached, stream.mtime_ns, stream.cursor.path, stream.key, stream))

    def next(self) -> Followed | None:
        """Whose turn it is; it no longer waits."""
        if self._backlog and (self._backlog_next or not self._ring):
            self._backlog_next = False
            stream = heapq.heappop(self._backlog)[-1]
        elif self._ring:
            self._backlog_next = True
            stream = self._ring.popleft()
        else:
            return None
        stream.queued = False
        return stream
