"""The cursor of a list: opaque to who asks; says where the last page ended, and to what question it belongs."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from logproc.question import UsageError

_LATEST_MS: Final = 1 << 48


class Cursor(msgspec.Struct, array_like=True, frozen=True):
    """`question` is a digest of the parameters; `since_ms` and `until_ms` what they meant at the first page.

    `time_ms` and `id` are the position of the last document, with `duration_ns` where they are sorted by it; or `place`
    is how many groups came before.
    """

    question: str
    since_ms: int | None
    until_ms: int | None
    time_ms: int = 0
    id: bytes = b""
    place: int = 0
    duration_ns: int = 0


def digest(path: str, parameters: Mapping[str, Sequence[str]]) -> str:
    """What tells one question from another: every parameter but the size of a page."""
    asked = sorted((name, list(values)) for name, values in parameters.items() if name not in {"limit", "cursor"})
    return hashlib.blake2b(msgspec.json.encode([path, asked]), digest_size=9).hexdigest()


def written(cursor: Cursor) -> str:
    """The cursor as text that may stand in a URL."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).rstrip(b"=").decode("ascii")


def read(text: str, question: str) -> Cursor:
    """The cursor that `written` made into this text.

    Raises:
        UsageError: it is none, or belongs to another question.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(raw, type=Cursor)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise UsageError("cursor: it is none that this server gave", "cursor") from None
    if cursor.question != question:
        raise UsageError("cursor: it belongs to a question with other parameters", "cursor")
    moments = (cursor.since_ms or 0, cursor.until_ms or 0, cursor.time_ms)
    if (
        not all(-_LATEST_MS < moment < _LATEST_MS for moment in moments)
        or not 0 <= cursor.place < _LATEST_MS
        or not 0 <= cursor.duration_ns < 1 << 63
    ):
        raise UsageError("cursor: it is none that this server gave", "cursor")
    return cursor
