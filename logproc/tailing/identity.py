"""Which file is this? Device and inode are a hint, content is the proof: the decision table, as pure functions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Final

from logproc.tailing.block import Cursor

HEAD: Final = 1024
"""The head of a file is its first bytes, at most so many."""
TAIL: Final = 4096
"""The tail of what was read is the last bytes before the offset, at most so many."""


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """The 16-byte blake2b hash of `data`."""
    return hashlib.blake2b(data, digest_size=16).digest()


class Verdict(Enum):
    """What a file is to a cursor."""

    GO_ON = "the same file: go on"
    TRUNCATED = "cut short: finish the copy if there is one, then this file is new"
    REWRITTEN = "rewritten in place: as truncated"
    REUSED = "another file got the inode: find the old remainder by content; this file is new"
    MOVED = "the same content in another inode, and the old file is gone: go on here"
    UNPACKED = "rotated and compressed: go on in the unpacked stream"
    COPY = "a copy of a file that is still there: leave it"
    CONTINUED = "a copy that has gone on while the original stood still: new from where the original ends"
    PART = "a copy still in progress, or an older part: leave it, look again when it grows"
    NEW = "another file"


LEAVES_ITS_FILE: Final = frozenset({Verdict.TRUNCATED, Verdict.REWRITTEN, Verdict.REUSED})
"""The inode now holds another stream: the cursor looks for its remainder elsewhere."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a file shows when it is held against one cursor. Sizes and bytes of a packed file are the unpacked ones.

    `size` is in bytes; where it is not known, anything not below the cursor's offset will do. `same_tail` counts only
    where `size` reaches the offset. `held`: our descriptor is open on it. `gone`: the cursor's own file is no longer
    there. `longer`: the cursor's own file is there, is read to its end, and is shorter than this one.
    """

    same_inode: bool
    same_head: bool
    size: int
    same_tail: bool = False
    packed: bool = False
    held: bool = False
    gone: bool = False
    longer: bool = False


def decide(known: Cursor, seen: Seen) -> Verdict:
    """One row of the table (docs/exactness.md) for one cursor and one file."""
    reached = seen.size >= known.offset
    if seen.same_inode:
        if not reached:
            return Verdict.TRUNCATED
        if not seen.same_head:
            return Verdict.TRUNCATED if seen.held else Verdict.REUSED
        return Verdict.GO_ON if seen.same_tail else Verdict.REWRITTEN
    if not seen.same_head or not known.head_len:  # an empty file is like every other: it proves nothing
        return Verdict.NEW
    if not reached:
        return Verdict.PART
    if not seen.same_tail:
        return Verdict.NEW
    if not seen.gone:
        return Verdict.CONTINUED if seen.longer else Verdict.COPY
    return Verdict.UNPACKED if seen.packed else Verdict.MOVED


def head_is(known: Cursor, head: bytes) -> bool:
    """Whether a file that begins with `head` (its first ≤ 1024 bytes) begins as the cursor's file did."""
    length = known.head_len
    return not length or (len(head) >= length and digest(head[:length]) == known.head)


def tail_is(known: Cursor, tail: bytes) -> bool:
    """Whether `tail` (the last ≤ 4096 bytes before the cursor's offset) is what the cursor has read there."""
    return digest(tail) == known.tail if known.offset else not tail
