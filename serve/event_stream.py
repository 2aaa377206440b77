"""Reads server-sent events as they pass: in any chunking, in bounded memory, and quickly where a chunk is ordinary.

Nearly every chunk of a stream differs from the one before in its text alone. So after a chunk was parsed, its bytes
around the text are kept as a pattern; the chunks that match it are known to carry content and are not parsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from serve.answer import Answer
from serve.clip import WHOLE, Clip
from serve.dialects import decode, take_event
from serve.recover import recover

LEARN_AT_MOST: Final = 16
"""Patterns tried in one stream. A server whose chunks never repeat gains nothing from them."""


NO_PATTERN: Final = b"\xff"
"""No chunk begins so: it is not UTF-8."""
LF: Final = 10
_DONE: Final = b"[DONE]"
_USAGE: Final = b'"usage":'
_NUMBER: Final = b'"sequence_number":'
TEXT_KEYS: Final = ("content", "text", "text_delta")


class EventStream:
    """One event stream. `feed` takes the bodies in order, `close` ends it; both only add to the answer."""

    _has_data = False
    _line_start = b""
    """The beginning of a line that is too short to tell its field."""
    _in_data: bool | None = None
    """Inside a line: whether it is a data line; None at the start of one."""
    _after_cr = False
    _dispatched = 0
    _content_key = ""
    _learnt = 0
    _pattern = NO_PATTERN
    """How an ordinary chunk begins, up to its text."""
    _before = NO_PATTERN
    """The same, while the stream stands between two events; else nothing can match."""
    _text_from = 0
    _after = b""
    _varies = False
    """What follows the text begins with `_after`; otherwise it is `_after`."""
    _counts = False
    """The ordinary chunk tells the usage so far."""
    _last_counts: bytes | None = None

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._event = Clip()

    def feed(self, bodies: Sequence[bytes], moments: Sequence[float]) -> None:
        """Take the next pieces of the stream, and when each was sent (seconds, monotonic)."""
        answer = self._answer
        before, start, after, varies, counts = self._before, self._text_from, self._after, self._varies, self._counts
        last, longest = answer.last_content_at, answer.longest_gap
        for body, at in zip(bodies, moments, strict=True):
            if body.startswith(before):
                end = body.find(b'"', start)
                if end >= start and (
                    (body.startswith(after, end) and body.find(b"\n", end) == len(body) - 2 and body[-1] == LF)
                    if varies
                    else body[end:] == after
                ):
                    if end > start:  # else half a character: its other half comes with the next chunk
                        if at - last > longest:  # noqa: PLR1730 - `max` takes as long as all the rest of it
                            longest = at - last
                        last = at
                    if counts:
                        self._last_counts = body
                    continue
            answer.last_content_at, answer.longest_gap = last, longest
            self._parse(body, at)
            before, start, after, varies, counts = (
                self._before,
                self._text_from,
                self._after,
                self._varies,
                self._counts,
            )
            last, longest = answer.last_content_at, answer.longest_gap
        answer.last_content_at, answer.longest_gap = last, longest

    def close(self, bodies: Sequence[bytes] = (), moments: Sequence[float] = ()) -> None:
        """Take the last pieces. An event without its blank line does not count; the last usage of a chunk does."""
        self.feed(bodies, moments)
        if self._last_counts is not None:
            chunk = decode(self._last_counts[self._last_counts.find(b"{") :])
            if chunk is not None:
                self._answer.usage(chunk.usage)
            self._last_counts = None

    # --- framing ---

    def _parse(self, body: bytes, at: float) -> None:
        if _is_one_event(body) and self._between_events():
            self._content_key, self._after_cr = "", False
            self._take_event(body[6:-2], at)
            if self._content_key:
                self._learn(body)
            self._before = self._pattern
        else:
            self._parse_any(body, at)

    def _parse_any(self, body: bytes, at: float) -> None:
        if self._after_cr and body.startswith(b"\n"):
            body = body[1:]  # the second half of a line end that was cut in two
        if not body:
            return
        self._after_cr = body.endswith(b"\r")
        began_between = self._between_events()
        dispatched, self._content_key = self._dispatched, ""
        for line in body.splitlines(keepends=True):
            self._take_line(line, at)
        between = self._between_events()
        if began_between and between and self._content_key and self._dispatched == dispatched + 1:
            self._learn(body)
        self._before = self._pattern if between else NO_PATTERN

    def _between_events(self) -> bool:
        return self._in_data is None and not self._line_start and not self._has_data

    def _take_line(self, line: bytes, at: float) -> None:
        """A line, or a piece of one."""
        ended = line.endswith((b"\n", b"\r"))
        if self._in_data is None:
            if self._line_start:
                line, self._line_start = self._line_start + line, b""
            if not ended and len(line) < 6:
                self._line_start = line
                return
            if ended and line in (b"\n", b"\r\n", b"\r"):
                self._dispatch(at)
                return
            self._in_data = line.startswith(b"data:")
            if self._in_data:
                line = line[6:] if line.startswith(b" ", 5) else line[5:]
                if self._has_data:
                    self._event.add(b"\n")
                self._has_data = True
        if self._in_data:
            self._event.add(line.rstrip(b"\r\n") if ended else line)
        if ended:
            self._in_data = None

    def _dispatch(self, at: float) -> None:
        if not self._has_data:
            return
        event, self._event, self._has_data = self._event, Clip(), False
        self._dispatched += 1
        raw = event.whole()
        if raw is None:
            recover(self._answer, event.head, event.tail, whole_body=False)
        else:
            self._take_event(raw, at)

    def _take_event(self, raw: bytes, at: float) -> None:
        if raw == _DONE:
            return
        document = decode(raw)
        if document is None:
            return  # nothing we know
        if document.usage is not None:
            self._last_counts = None
        key = take_event(self._answer, document)
        if key:
            self._content_key = key
            self._answer.content_at(at)

    # --- ordinary chunks ---

    def _learn(self, body: bytes) -> None:
        """Keep what surrounds the text of this chunk, so that the next one need not be parsed."""
        answer = self._answer
        if self._learnt >= LEARN_AT_MOST or not body.endswith(b"\n\n") or body.startswith(b":"):
            return
        if self._content_key in TEXT_KEYS and not answer.text:
            return  # white space so far: each chunk must be looked at until something is visible
        key = b"delta" if self._content_key == "text_delta" else self._content_key.encode()
        start = body.find(b'"%b":"' % key)
        start += len(key) + 4
        if start < len(key) + 4:
            start = body.find(b'"%b": "' % key) + len(key) + 5
            if start < len(key) + 5:
                return
        end = body.find(b'"', start)
        if end <= start or body.startswith(b"\\", end - 1):
            return
        after = _constant(body[end:])
        if after is not None and (after != self._after or body[:start] != self._pattern):
            self._learnt += 1
            self._pattern, self._text_from, self._after = body[:start], start, after
            self._varies = end + len(after) < len(body)
            self._counts = after.endswith(_USAGE)


def _is_one_event(body: bytes) -> bool:
    """Whether this is the whole of an event of one line, as servers send nearly all of them."""
    size = len(body)
    return (
        size <= WHOLE
        and body.startswith(b"data: ")
        and body.find(b"\n") == size - 2
        and body[-1] == LF
        and b"\r" not in body
    )


def _constant(rest: bytes) -> bytes | None:
    """How much of a chunk after its text is the same in the next one; None where that cannot be told."""
    if b'"finish_reason"' in rest:
        null = max(rest.find(b'"finish_reason":null'), rest.find(b'"finish_reason": null'))
        usage = rest.find(_USAGE, null)
        if null < 0:
            return None
        return rest if usage < 0 else rest[: usage + len(_USAGE)]
    number = rest.find(_NUMBER)
    return rest if number < 0 else rest[: number + len(_NUMBER)]
