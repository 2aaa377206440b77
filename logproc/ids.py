"""The id of a document (`event.id`): the line's own where it is one of ours, else made of what never changes."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from logproc.record import DAY_MS, line_id_bytes

OwnId = msgspec.Raw | msgspec.UnsetType
"""The field `id` of a line, as it stands there; UNSET where there is none."""

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_QUOTED: Final = 24  # 22 characters and their quotes
_BYTE_WEIGHTS: Final = np.array([1 << shift for shift in range(40, -1, -8)], np.int64)


def derived_ids(
    first_line: bytes, offsets: Sequence[int], raws: Sequence[bytes], times_ms: npt.NDArray[np.int64]
) -> list[bytes]:
    """The 16 bytes of the id of each line that brought none.

    6 bytes of ms since 1970, then 10 bytes of blake2b over the digest of the first complete line of its file (16
    bytes), the line's byte offset (8 bytes) and the line without its newline. Neither host nor path nor inode is
    in it, so a renamed, packed or copied file gives the same ids.
    """
    hashed = hashlib.blake2b
    times = times_ms.astype(">u8").tobytes()
    places = np.array(offsets, ">u8").tobytes()
    return [
        times[at + 2 : at + 8] + hashed(first_line + places[at : at + 8] + raw, digest_size=10).digest()
        for at, raw in zip(range(0, 8 * len(raws), 8), raws, strict=True)
    ]


def own_ids(values: Sequence[OwnId], times_ms: npt.NDArray[np.int64]) -> list[bytes | None]:
    """`record.line_id_bytes` of many lines: the 16 bytes of each line's own id, None where it has none of ours."""
    if values.count(msgspec.UNSET) == len(values):
        return [None] * len(values)
    quick = _own_ids_at_once(values, times_ms)
    if quick is not None:
        return quick
    return [_own_id(value, time_ms) for value, time_ms in zip(values, times_ms.tolist(), strict=True)]


def _own_id(value: OwnId, time_ms: int) -> bytes | None:
    if isinstance(value, msgspec.UnsetType):
        return None
    try:
        return line_id_bytes(msgspec.json.decode(value), time_ms)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a number beyond all bounds
        return None


def _own_ids_at_once(values: Sequence[OwnId], times_ms: npt.NDArray[np.int64]) -> list[bytes | None] | None:
    """As `own_ids`, for lines that all bring 22 characters of base64url in quotes; None where they do not."""
    count = len(values)
    try:
        joined = b"".join(values)  # type: ignore[arg-type]
    except TypeError:  # UNSET
        return None
    if not count or len(joined) != _QUOTED * count or joined.count(b'"') != 2 * count:
        return None
    octets = np.frombuffer(joined, np.uint8).reshape(count, _QUOTED)
    if (octets[:, [0, -1]] != ord('"')).any() or joined.translate(None, _ALPHABET + b'"'):
        return None
    padded = np.full((count, _QUOTED), ord("A"), np.uint8)
    padded[:, :22] = octets[:, 1:23]
    decoded = binascii.a2b_base64(padded.tobytes().translate(_STANDARD))
    raw = np.frombuffer(decoded, np.uint8).reshape(count, 18)
    is_ours: npt.NDArray[np.bool_] = (raw[:, 16] == 0) & (np.abs(id_times(raw[:, :6]) - times_ms) <= DAY_MS)
    ids = raw[:, :16].tobytes()
    if is_ours.all():
        return [ids[start : start + 16] for start in range(0, 16 * count, 16)]
    return [ids[16 * i : 16 * i + 16] if ours else None for i, ours in enumerate(is_ours.tolist())]


def id_times(prefixes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The time (ms since 1970) in the first 6 bytes of each id; shape (n, 6) → (n,)."""
    times: npt.NDArray[np.int64] = prefixes.astype(np.int64) @ _BYTE_WEIGHTS
    return times


def id_text(raw: bytes) -> str:
    """The 22 characters of an id of 16 bytes."""
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_URLSAFE).decode("ascii")


def id_texts(ids: Sequence[bytes]) -> list[str]:
    """`id_text` of many ids."""
    padded = np.zeros((len(ids), 18), np.uint8)
    padded[:, :16] = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 16)
    text = binascii.b2a_base64(padded.tobytes(), newline=False).translate(_URLSAFE).decode("ascii")
    return [text[start : start + 22] for start in range(0, len(text), 24)]


def id_bytes(text: Any) -> bytes | None:
    """The 16 bytes of an id as text; None where it is no such text."""
    if not isinstance(text, str) or len(text) != 22 or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if id_text(raw) == text else None
