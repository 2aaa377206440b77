"""Reads a response as it passes, in any dialect: a JSON body or an event stream, of any size, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, Protocol

import msgspec

from serve.answer import Answer
from serve.clip import WHOLE, Clip
from serve.dialects import decode, take_body
from serve.event_stream import EventStream
from serve.recover import recover


class Reader(Protocol):
    """Takes the bodies of one response in order."""

    def feed(self, bodies: Sequence[bytes], moments: Sequence[float]) -> None:
        """Take the next bodies, and when each was sent (seconds, monotonic)."""

    def close(self, bodies: Sequence[bytes] = (), moments: Sequence[float] = ()) -> None:
        """Take the last bodies. The response has ended, or will not go on."""


class JsonBody(msgspec.Struct, eq=False, gc=False):
    """A JSON body, parsed once it is whole. `failed` says that its HTTP status is an error."""

    answer: Answer
    failed: bool
    clip: Clip | None = None

    def feed(self, bodies: Sequence[bytes], moments: Sequence[float]) -> None:  # noqa: ARG002 - a body has no moments
        """Keep the next parts."""
        if self.clip is None:
            self.clip = Clip()
        for body in bodies:
            self.clip.add(body)

    def close(self, bodies: Sequence[bytes] = (), moments: Sequence[float] = ()) -> None:
        """Parse what came; a body that was cut short tells nothing."""
        if self.clip is None and len(bodies) == 1 and len(bodies[0]) <= WHOLE:
            self._parse(bodies[0])  # nearly all come so
            return
        self.feed(bodies, moments)
        assert self.clip is not None
        raw = self.clip.whole()
        if raw is None:
            recover(self.answer, self.clip.head, self.clip.tail, whole_body=True)
        else:
            self._parse(raw)

    def _parse(self, raw: bytes) -> None:
        document = decode(raw)
        if document is not None:
            take_body(self.answer, document, failed=self.failed)


Media = Literal["events", "json", "vectors"]
"""Kinds of body that tell something. No enumeration: to look up a member takes as long as all that is done with it."""


@lru_cache(maxsize=64)
def media_of(content_type: bytes) -> Media | None:
    """The kind of body under this Content-Type; None for one that could not be read."""
    content_type = content_type.lower()
    if content_type.startswith(b"text/event-stream"):
        return "events"
    if b"json" in content_type:
        return "json"
    return "vectors" if content_type.startswith(b"application/octet-stream") else None


def reader_for(
    answer: Answer, status: int, media: Media | None, encoding: bytes = b"", metadata: bytes = b""
) -> Reader | None:
    """The reader for a response that starts so; None for one that tells nothing we could read.

    Args:
        answer: where the reader puts what it learns.
        status: the HTTP status; from 400 up a body tells an error.
        media: the kind of its body.
        encoding: its Content-Encoding: a middleware further in may have compressed it.
        metadata: the header in which vLLM tells the id and the usage of vectors that it sends as bytes.
    """
    if media is None or (encoding and encoding.lower() != b"identity"):
        return None
    if media == "events":
        return EventStream(answer)
    body = JsonBody(answer, status >= 400)
    if media == "json":
        return body
    if metadata:
        body.close([metadata])
    return None
