"""An open file, plain or packed, that is read at offsets of what it holds."""

from __future__ import annotations

import os
from dataclasses import dataclass

from logproc.tailing.identity import HEAD, TAIL
from logproc.tailing.lines import ReadAt, file_reader, read_bytes
from logproc.tailing.packed import Kind, PackedStream, kind_of, told_length


@dataclass(slots=True)
class Source:
    """One open file. `read` speaks of the unpacked bytes; `size` is of the file as it lies there, when opened."""

    fd: int
    id: tuple[int, int]
    size: int
    mtime_ns: int
    kind: Kind | None
    read: ReadAt
    stream: PackedStream | None = None

    @property
    def head(self) -> bytes:
        """Its first ≤ 1024 bytes."""
        return read_bytes(self.read, 0, HEAD)

    def tail(self, offset: int) -> bytes:
        """The last ≤ 4096 bytes before `offset`. Of a packed file all before is unpacked first."""
        length = min(TAIL, offset)
        return read_bytes(self.read, offset - length, length)

    def length(self) -> int:
        """How many bytes it holds, as far as that is told without unpacking it (0 where it is not)."""
        return (told_length(self.fd, self.kind) or 0) if self.kind else self.size

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


def open_source(path: str) -> Source:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened or read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        stat = os.fstat(fd)
        kind = kind_of(os.pread(fd, 4, 0))
    except OSError:
        os.close(fd)
        raise
    stream = PackedStream(fd, kind) if kind else None
    read = stream.preadv if stream else file_reader(fd)
    return Source(fd, (stat.st_dev, stat.st_ino), stat.st_size, stat.st_mtime_ns, kind, read, stream)


def size_of(file: int | str) -> int | None:
    """The size of a file, open or by its path; None where it cannot be told."""
    try:
        return os.stat(file).st_size
    except OSError:
        return None
