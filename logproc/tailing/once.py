"""One file from its beginning to its end, plain or packed, or a pipe: what `replay` reads."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator

from logproc.tailing.block import Block, Pending, TooLong
from logproc.tailing.containers import Format, unwrap_block
from logproc.tailing.forward import ForwardStream
from logproc.tailing.lines import BLOCK, Framer, ReadAt, Spot, file_reader, first_line
from logproc.tailing.packed import PackedStream, kind_of

_ENDLESS = 1 << 62

log = logging.getLogger(__name__)


class _Pipe(ForwardStream):
    """A descriptor that cannot seek."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def _more(self) -> bytes:
        data = os.read(self._fd, BLOCK)
        self.at_end = not data
        return data


def blocks(
    path: str, *, size: int = BLOCK, start: int = 0, end: int | None = None, wrapped: Format | None = None
) -> Iterator[Block]:
    """All lines of one file as blocks of at most `size` bytes (or one line), the last line without newline included.

    `path` may be `-` (standard input) or a pipe, for plain streams. Of a plain file a byte range may be given: the
    lines that begin at `start` or later and before `end`, so that ranges that meet share no line and leave none out.

    `wrapped` is how a container runtime wraps each line; such a file is read whole.

    Raises:
        OSError: the file cannot be read.
        ValueError: a range of something that is no plain file.
    """
    fd = os.dup(sys.stdin.fileno()) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        stream = _open_stream(fd)
        framer = Framer(size)
        if stream is not None:
            if start or end is not None:
                raise ValueError(f"{path} is packed or a pipe: it has no byte ranges")
            found = _forward(path, framer, stream)
        else:
            found = _range(path, framer, fd, start, end)
        pending: Pending | None = None
        for block in found:
            if wrapped is None:
                yield block
            else:
                unwrapped, pending = unwrap_block(wrapped, block, pending)
                yield unwrapped
    finally:
        os.close(fd)


def unreadable(path: str) -> int:
    """How many packed bytes at the end of a packed file cannot be read (cut or broken); 0 for other files.

    Reads the whole file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        stream = _open_stream(fd)
        if not isinstance(stream, PackedStream):
            return 0
        stream.fill(_ENDLESS)
        return stream.unreadable
    finally:
        os.close(fd)


def _open_stream(fd: int) -> ForwardStream | None:
    """The forward stream of a packed file or a pipe; None for a plain file, which is read in place."""
    try:
        kind = kind_of(os.pread(fd, 4, 0))
    except OSError:  # it cannot seek
        return _Pipe(fd)
    return PackedStream(fd, kind) if kind else None


def _range(path: str, framer: Framer, fd: int, start: int, end: int | None) -> Iterator[Block]:
    size = os.fstat(fd).st_size
    begin = _line_start(fd, start, size)
    stop = size if end is None else _line_start(fd, end, size)
    read = file_reader(fd)
    spot = Spot(offset=begin, first_line=first_line(read) if begin else b"")
    while spot.offset < stop:
        at = spot.offset
        data = framer.take(read, spot, stop, rest=True)
        if data is not None:
            yield _block(path, spot, at, data)
        elif spot.scanned >= stop or os.fstat(fd).st_size < stop:  # it became shorter while we read
            return


def _forward(path: str, framer: Framer, stream: ForwardStream) -> Iterator[Block]:
    read: ReadAt = stream.preadv
    spot = Spot()
    while True:
        at = spot.offset
        ended = stream.at_end
        data = framer.take(read, spot, stream.length if ended else _ENDLESS, rest=ended)
        if data is not None:
            yield _block(path, spot, at, data)
        elif ended:
            if isinstance(stream, PackedStream) and not stream.complete:
                log.warning("%s is cut off or broken: it was read as far as it can be unpacked", path)
            return


def _block(path: str, spot: Spot, at: int, data: memoryview | TooLong) -> Block:
    if isinstance(data, TooLong):
        return Block(path, spot.first_line, at, spot.offset, memoryview(b""), (data,))
    return Block(path, spot.first_line, at, spot.offset, data)


def _line_start(fd: int, at: int, size: int) -> int:
    """The first line start at `at` or behind it."""
    if at <= 0:
        return 0
    at -= 1
    while at < size:
        data = os.pread(fd, BLOCK, at)
        newline = data.find(b"\n")
        if newline >= 0:
            return at + newline + 1
        if not data:
            break
        at += len(data)
    return size
