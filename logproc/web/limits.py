"""Connections that may neither dawdle nor crowd out others: bounds of number and time on everything a client does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do."""

    connections: int = 512
    """At a time, of all clients; for one more, that is closed which has gone longest without a request."""
    head_s: float = 10.0
    """From the connection, or the last answer, to the end of a request's head."""
    body_s: float = 30.0
    """From there to the end of its body."""
    stuck_s: float = 30.0
    """In so long a client must have taken some of the answer that waits for it."""


def protocol(limits: Limits) -> type[H11Protocol]:
    """Uvicorn's HTTP protocol with these bounds; one class for each server, which keeps the list of who waits."""
    waiting: dict[H11Protocol, None] = {}
    """Connections without a request under way, the longest first."""

    class Bounded(H11Protocol):
        """One connection."""

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self._deadline: asyncio.TimerHandle | None = None
            self._watch: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_request()
            if len(self.connections) > limits.connections:
                longest = next(iter(waiting))
                del waiting[longest]  # it is closed only later, and another may come before
                longest.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            waiting.pop(self, None)
            for timer in (self._deadline, self._watch):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            super().handle_events()
            if self in waiting and self._has_request:
                del waiting[self]
                self._until(limits.body_s, self._end_unless_read)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._has_request:  # the next one was there already
                self._until(limits.body_s, self._end_unless_read)
            else:
                self._await_request()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._look_at_reader(None)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._watch is not None:
                self._watch.cancel()
                self._watch = None

        @property
        def _has_request(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _await_request(self) -> None:
            waiting.pop(self, None)
            waiting[self] = None
            self._until(limits.head_s, self.transport.abort)

        def _until(self, seconds: float, end: Callable[[], None]) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self.loop.call_later(seconds, end)

        def _end_unless_read(self) -> None:
            if self._has_request and self.cycle.more_body:
                self.transport.abort()

        def _look_at_reader(self, before: int | None) -> None:
            """Close where what waits to be sent does not become less."""
            left = self.transport.get_write_buffer_size()
            if before is not None and left >= before:
                self.transport.abort()
            else:
                self._watch = self.loop.call_later(limits.stuck_s, self._look_at_reader, left)

    return Bounded
