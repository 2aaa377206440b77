"""Bytes of any length in bounded memory: all of them while they are few, else their beginning and their end."""

from __future__ import annotations

from typing import Final

import msgspec

WHOLE: Final = 256 << 10
EDGE: Final = 16 << 10


class Clip(msgspec.Struct, gc=False):
    """Collects pieces. Beyond `WHOLE` bytes only the first and the last `EDGE` bytes stay."""

    head: bytes = b""
    """The first bytes, once it overflowed."""
    tail: bytes = b""
    """The last bytes, once it overflowed."""
    _parts: list[bytes] | None = []
    _size: int = 0

    def add(self, piece: bytes) -> None:
        """Append a piece."""
        self._size += len(piece)
        if self._parts is not None:
            self._parts.append(piece)
            if self._size <= WHOLE:
                return
            self.head = _first(self._parts)
            self.tail = _last(self._parts)
            self._parts = None
        elif len(piece) >= EDGE:
            self.tail = piece[-EDGE:]
        else:
            self.tail = (self.tail + piece)[-EDGE:]

    def whole(self) -> bytes | None:
        """All the bytes, or None when they were too many."""
        if self._parts is None:
            return None
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


def _first(parts: list[bytes]) -> bytes:
    taken = b""
    for part in parts:
        taken += part[: EDGE - len(taken)]
        if len(taken) == EDGE:
            break
    return taken


def _last(parts: list[bytes]) -> bytes:
    taken = b""
    for part in reversed(parts):
        taken = part[max(0, len(part) - (EDGE - len(taken))) :] + taken
        if len(taken) == EDGE:
            break
    return taken
