"""What tailing hands on: blocks of whole lines with the byte range they came from, and cursors to resume from.

What lies past `tailing/` sees a source and offsets, and does not know that the source is a file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line longer than `record.MAX_LINE` that was passed over.

    `offset` is where it began, `length` its bytes without the newline, `head` its first 4 KiB.
    """

    offset: int
    length: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of one source, in order: the bytes `start` to `end` of it, less the lines in `too_long`.

    The byte `data[i]` stands at `start + i` of the source: a line that is too long comes in a block of its own, with
    empty `data`. `data` is valid until the next block is asked for (it is a view of a reused buffer). Each line ends in
    a newline, but for the last line of a finished file, which may lack it. A block is at most 256 KiB, or one line.
    `first_line` is the 16-byte digest of the source's first complete line: with it and the offset the id of a line
    without one is made (`logproc/ids.py`).
    """

    source: str
    first_line: bytes
    start: int
    end: int
    data: memoryview
    too_long: tuple[TooLong, ...] = ()
    origins: tuple[int, ...] | None = None
    """Of unwrapped container output: where each line of `data` began. Else the lines stand one after the other."""
    unrelated: int = 0
    """How many lines of container output were no JSON object; they are not in `data`."""

    def part(self, start: int, end: int) -> Block:
        """The lines in `data[start:end]`, both being line starts or the end; without what is not in `data`."""
        origins = self.origins
        if origins is not None:
            first = bytes(self.data[:start]).count(b"\n")
            origins = origins[first : first + bytes(self.data[start:end]).count(b"\n")]
        return replace(
            self,
            start=self.start + start,
            end=self.start + end,
            data=self.data[start:end],
            too_long=(),
            origins=origins,
            unrelated=0,
        )


class Pending(msgspec.Struct, frozen=True):
    """The parts of a split container line whose end has not come: kept in the cursor, so that none is lost or doubled.

    `origin` is where its first part began, `end` up to where parts were read, `text` what it says so far (cut at
    `record.MAX_LINE`), `length` how long it is.
    """

    origin: int
    end: int
    text: bytes
    length: int


class Cursor(msgspec.Struct, kw_only=True):
    """How far one file is durably done, and by what it will be known again: head, the bytes before `offset`, size.

    `key` numbers the file within one state directory. `device` and `inode` are hints (0, 0: it has no file now), the
    hashes are proof (blake2b, 16 bytes): `head` over the first `head_len` ≤ 1024 bytes, `tail` over the last ≤ 4096
    bytes before `offset`. For a packed file all of them speak of the unpacked stream. `size` is what was there at the
    last look. A packed file that was only remembered (`start: end`) is finished with offset and size 0.
    """

    key: int
    path: str
    device: int
    inode: int
    offset: int
    size: int
    head: bytes = b""
    head_len: int = 0
    tail: bytes = b""
    first_line: bytes = b""
    finished: bool = False
    pending: Pending | None = None
