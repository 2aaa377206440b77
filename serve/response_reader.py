"""Reads a response as it passes, in any dialect: a JSON body or an event stream, of any size, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from serve.answer import Answer
from serve.clip import WHOLE, Clip
from serve.dialects import decode, take_body
from serve.event_stream import EventStream
from serve.recover import recover

EVENT_STREAM: Final = b"text/event-stream"


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


def reader_for(answer: Answer, status: int, content_type: bytes, headers: Mapping[bytes, bytes]) -> Reader | None:
    """The reader for a response that starts so; None for one that tells nothing we could read.

    Args:
        answer: where the reader puts what it learns.
        status: the HTTP status; from 400 up a body tells an error.
        content_type: in lower case.
        headers: the response's own, by name in lower case.
    """
    if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        return None  # compressed by a middleware further in
    if content_type.startswith(EVENT_STREAM):
        return EventStream(answer)
    if content_type.find(b"json") >= 0:  # a fifth of the time of `in`
        return JsonBody(answer, failed=status >= 400)
    if b"metadata" in headers and content_type.startswith(b"application/octet-stream"):
        body = JsonBody(answer, failed=status >= 400)  # vectors as bytes: vLLM puts id and usage into a header
        body.close([headers[b"metadata"]])
    return None
