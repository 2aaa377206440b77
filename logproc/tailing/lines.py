"""Framing: bytes of a file at an offset → whole lines, through one reused buffer, with no state but an offset."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from logproc.record import MAX_LINE
from logproc.tailing.block import TooLong
from logproc.tailing.identity import TAIL, digest

BLOCK: Final = 256 * 1024
"""A block holds at most so many bytes, or one line."""
TURN: Final = 16 * 1024 * 1024
"""So many bytes of a line without an end are looked through in one turn; then other files have theirs."""
KEPT_HEAD: Final = 4096
"""So much of a line that is too long is kept."""

ReadAt = Callable[[list[bytearray | memoryview], int], int]
"""Fills the buffers with the bytes at an offset and returns how many there were, as `os.preadv` does."""


class ContentChangedError(Exception):
    """The bytes before the offset are no longer those that were read: the file was cut or rewritten."""


@dataclass(slots=True)
class Spot:
    """Where reading stands in one stream: `offset` is the start of the next line.

    `head` holds the stream's first ≤ 1024 bytes as far as they are known, `before` the last ≤ 4096 bytes before
    `offset`: each read proves that they still are what they were. Up to `scanned` there is known to be no newline.
    Once a line has passed `MAX_LINE` without an end, `long_head` holds its first 4 KiB. `first_line` is the digest of
    the stream's first line (without newline, cut at `MAX_LINE`), empty until known.
    """

    offset: int = 0
    before: bytes = b""
    head: bytes = b""
    scanned: int = 0
    long_head: bytes = b""
    first_line: bytes = b""

    def __post_init__(self) -> None:
        """A new spot has looked at nothing behind its offset."""
        self.scanned = max(self.scanned, self.offset)

    def rescan(self) -> None:
        """Forget what was seen behind the offset."""
        self.scanned = self.offset
        self.long_head = b""

    def advance(self, data: memoryview) -> None:
        """`data`, which stood at the offset, has been handed out."""
        self.offset += len(data)
        self.before = bytes(data[-TAIL:]) if len(data) >= TAIL else (self.before + data)[-TAIL:]
        self.rescan()


class Framer:
    """Cuts streams into blocks of whole lines. One for many streams: it owns the one buffer that they share."""

    def __init__(self, block: int = BLOCK) -> None:
        self._buffer = bytearray(block)
        self._check = bytearray(TAIL)
        self._long: bytearray | None = None  # for lines longer than a block; made when the first one comes

    def take(self, read: ReadAt, spot: Spot, end: int, *, rest: bool = False) -> memoryview | TooLong | None:
        """The next whole lines between `spot` and the byte `end`, and moves `spot` behind them.

        None where there is no line end before `end`, or where none was found within `TURN` bytes: then `spot.scanned`
        is less than `end`. With `rest` a last line without newline is taken too.

        Raises:
            ContentChangedError: the file no longer holds what was read before.
        """
        buffer = self._buffer
        if spot.scanned == spot.offset:
            n = self._read_checked(read, spot, buffer, min(len(buffer), end - spot.offset))
            cut = buffer.rfind(b"\n", 0, n) + 1
            if cut:
                return self._lines(spot, memoryview(buffer)[:cut])
            spot.scanned += n
        stop = spot.scanned + TURN
        while spot.scanned < end and spot.scanned < stop:
            n = read([memoryview(buffer)[: end - spot.scanned]], spot.scanned)
            if n <= 0:
                break
            newline = buffer.find(b"\n", 0, n)
            if newline >= 0:
                return self._one_line(read, spot, spot.scanned + newline, ends=True)
            spot.scanned += n
            if not spot.long_head and spot.scanned - spot.offset > MAX_LINE:
                self._begin_too_long(read, spot)
        if rest and spot.offset < end <= spot.scanned:
            return self._one_line(read, spot, end, ends=False)
        return None

    def _read_checked(self, read: ReadAt, spot: Spot, buffer: bytearray, want: int) -> int:
        """Read `want` bytes at the offset, and in the same call those before it, which must be what they were."""
        kept = len(spot.before)
        check = self._check if kept == TAIL else bytearray(kept)
        n = read([check, memoryview(buffer)[:want]], spot.offset - kept) - kept
        if n < 0 or check != spot.before:
            raise ContentChangedError
        if spot.offset < len(spot.head):
            known = spot.head[spot.offset :][:n]
            if buffer[: len(known)] != known:
                raise ContentChangedError
        return n

    def _lines(self, spot: Spot, data: memoryview) -> memoryview:
        if not spot.first_line and not spot.offset:
            spot.first_line = digest(bytes(data).partition(b"\n")[0])
        spot.advance(data)
        return data

    def _one_line(self, read: ReadAt, spot: Spot, stop: int, *, ends: bool) -> memoryview | TooLong:
        """The single line from the offset to `stop`, where its newline stands (or the file ends)."""
        length = stop - spot.offset
        if length <= MAX_LINE:
            self._long = self._long or bytearray(MAX_LINE + 1)
            if self._read_checked(read, spot, self._long, length + ends) < length + ends:
                raise ContentChangedError
            return self._lines(spot, memoryview(self._long)[: length + ends])
        if not spot.long_head:
            self._begin_too_long(read, spot)
        line = TooLong(spot.offset, length, spot.long_head)
        past = stop + ends
        tail = bytearray(min(TAIL, past))
        if read([tail], past - len(tail)) < len(tail):
            raise ContentChangedError
        spot.offset, spot.before = past, bytes(tail)
        spot.rescan()
        return line

    def _begin_too_long(self, read: ReadAt, spot: Spot) -> None:
        """Keep of a line that has passed `MAX_LINE` what will be asked for when its end is found."""
        self._long = self._long or bytearray(MAX_LINE + 1)
        if self._read_checked(read, spot, self._long, MAX_LINE) < MAX_LINE:
            raise ContentChangedError
        spot.long_head = bytes(memoryview(self._long)[:KEPT_HEAD])
        if not spot.first_line and not spot.offset:
            spot.first_line = digest(memoryview(self._long)[:MAX_LINE])


def file_reader(fd: int) -> ReadAt:
    """Reads of a plain file that is open as `fd`."""
    return partial(os.preadv, fd)


def read_bytes(read: ReadAt, offset: int, length: int) -> bytes:
    """The `length` bytes at `offset`, or fewer at the end of the stream."""
    buffer = bytearray(length)
    return bytes(memoryview(buffer)[: max(0, read([buffer], offset))]) if length else b""


def first_line(read: ReadAt) -> bytes:
    """The digest of the first line (without newline, cut at `MAX_LINE`); empty where it has no end yet."""
    start = read_bytes(read, 0, 4096)
    if b"\n" not in start and len(start) == 4096:
        start = read_bytes(read, 0, MAX_LINE + 1)
    line, newline, _ = start.partition(b"\n")
    return digest(line[:MAX_LINE]) if newline or len(line) > MAX_LINE else b""
