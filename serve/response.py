"""A response as it passes: its parts are kept for a moment, and read many at a time."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from serve.answer import Answer
from serve.response_reader import Reader, media_of, reader_for

BUNDLE: Final = 128
"""So many parts are read in one go. Between two of them a server at work has long forgotten the reader's code, and to
fetch it anew takes longer than to read."""
SMALL: Final = 4096
"""A larger part is not kept, bytes."""
MOST_UNREAD: Final = 32 << 10
"""A response with more bytes unread at its end, or one of which some were read, is read where it ends."""

_BYTES: Final = {bytes}


class Response(msgspec.Struct, eq=False, gc=False):
    """A response that has started, and what was sent of it and not yet read."""

    status: int
    is_wanted: bool
    """What is sent is to be kept."""
    content_type: bytes = b""
    encoding: bytes = b""
    metadata: bytes = b""
    """Of its headers those that tell how to read it; see `serve.response_reader.reader_for`."""
    bodies: list[bytes] = []
    moments: list[float] = []
    """When each of them was sent (seconds, monotonic)."""
    answer: Answer | None = None
    """What it said; None before it was read."""
    stream: bool | None = None
    """It is an event stream; None before it was read."""
    reader: Reader | None = None

    __repr__ = object.__repr__
    """Without the fields: they hold what was generated."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Nothing, as above."""
        return []

    def read(self) -> None:
        """Read what was sent since the last time."""
        if self.answer is None:
            self._open()
        if self.reader is not None:
            self.reader.feed(self.bodies, self.moments)
        self.bodies.clear()
        self.moments.clear()

    def close(self) -> Answer:
        """Read the rest, and want no more; what the response said. A second call only answers."""
        answer = self.answer or self._open()
        try:
            if self.reader is not None:
                self.reader.close(self.bodies, self.moments)
        finally:
            self.give_up()
        return answer

    def give_up(self) -> None:
        """Read nothing more, and keep nothing."""
        self.reader, self.is_wanted = None, False
        self.bodies.clear()
        self.moments.clear()

    @property
    def may_wait(self) -> bool:
        """Nothing was read yet, and what there is to read is little and cannot change."""
        return (
            self.answer is None and set(map(type, self.bodies)) <= _BYTES and sum(map(len, self.bodies)) <= MOST_UNREAD
        )

    def _open(self) -> Answer:
        """Find out how to read it."""
        answer = self.answer = Answer()
        media = media_of(bytes(self.content_type))
        self.stream = media == "events"
        if self.is_wanted:
            self.reader = reader_for(answer, self.status, media, self.encoding, self.metadata)
            self.is_wanted = self.reader is not None
        return answer
