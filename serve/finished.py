"""A request that is over: all that its line is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from serve.response import Response
from serve.timings import Timings

if TYPE_CHECKING:
    from serve.access_line import AccessLine


class Finished(msgspec.Struct, eq=False, gc=False):
    """What was noted of a request and its response, and nothing that is the server's any more.

    It is made where the request ends, and made a line of (`line`) in the writer's thread: many in a row cost half of
    what each costs between two requests, when the processor has long forgotten how.
    """

    make_line: Callable[[Finished], AccessLine]
    now_ms: int
    """When it ended, milliseconds since 1970."""
    received_at: float
    """Seconds, monotonic."""
    ended_at: float
    method: Any
    path: str | None
    """The route's template, where there is one."""
    client: Any
    """Address and port at the other end of the connection, where there are such."""
    headers: list[tuple[bytes, bytes]]
    """The request's."""
    request_id: bytes
    status: int
    """That of the response; 499 for a client that left before it, 500 where there was none."""
    left: bool
    raised: str | None
    """The class of what the app raised before the final body; `""` for a request cut off by the shutdown."""
    is_whole: bool
    """The final body was sent."""
    response: Response | None
    """None where none was started before the client left."""
    usage: object = None
    """The usage as the server noted it for itself."""
    timings: Timings | None = None
    """What the engine said of it."""

    __repr__ = object.__repr__
    """Without the headers, for the key is among them."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Nothing, as above."""
        return []

    def line(self) -> AccessLine:
        """Its access line."""
        return self.make_line(self)
