"""One stream that is followed: its cursor, and what is known of its file in this run."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import msgspec

from logproc.tailing.block import Cursor
from logproc.tailing.identity import HEAD, digest, head_is
from logproc.tailing.lines import ContentChangedError, Spot
from logproc.tailing.source import Source

_MARKS: Final = 16
"""So many moments of growth are kept apart to tell how long the oldest byte has waited."""
DRAINED_S: Final = 1.0
"""A file that has no name any more and did not grow for so long is believed to have no writer."""


@dataclass(slots=True, eq=False)
class Followed:
    """One stream and the file it is in now. All moments are seconds of the follower's clock.

    `seen_at`: since when it has been seen under its present name.
    """

    cursor: Cursor
    spot: Spot
    size: int
    """Bytes in the file as it lies there (a packed file: packed), at the last look."""
    mtime_ns: int
    seen_at: float
    grew_at: float
    source: Source | None = None
    packed: bool = False
    home: str | None = None
    """The path at which it is being written; None when it lies elsewhere: then it will be finished."""
    here: bool = False
    """Its inode was found at the last look."""
    proven: bool = False
    """Head and tail were compared with the cursor since the file was opened or was last seen to change."""
    live: bool = False
    """It grows, or is the newest of its glob: it has turns before the backlog."""
    rest: bool = False
    """A last line without newline is to be taken."""
    ended: bool = False
    """Of a packed file: all that can be unpacked was handed out."""
    borrowed: bool = False
    """Its position is that of a stream whose copy it seems to be: to be proven."""
    queued: bool = False
    reached: int = -1
    """How far its records have come, as its reader told: the newest second read in it; -1 where that is not known."""
    away_since: float | None = None
    left: tuple[int, int] | None = None
    """Device and inode in which another stream took its place: it is not looked for there."""
    settled: int = 0
    """The offset that was last committed."""
    marks: deque[tuple[int, float]] = field(default_factory=deque)
    """(size, moment it was seen), oldest first, for bytes not yet committed."""

    @property
    def key(self) -> int:
        """The number of the stream."""
        return self.cursor.key

    @property
    def id(self) -> tuple[int, int]:
        """Device and inode of its file; (0, 0) while it has none."""
        return self.cursor.device, self.cursor.inode

    @property
    def unread(self) -> bool:
        """Whether another turn may yield something."""
        if self.packed:
            return not self.ended
        return self.size > (self.spot.offset if self.rest else self.spot.scanned)

    @property
    def only_remembered(self) -> bool:
        """A packed file that lay there at the first start with `start: end`: never to be read."""
        return self.cursor.finished and not self.cursor.size and self.cursor.head_len > 0

    def snapshot(self) -> Cursor:
        """The cursor as of all that was handed out."""
        cursor = self.cursor
        cursor.first_line = self.spot.first_line
        if self.spot.offset != cursor.offset:
            cursor.offset = self.spot.offset
            cursor.tail = digest(self.spot.before) if cursor.offset else b""
        if not self.packed:
            cursor.size = max(self.size, cursor.offset)
        elif not self.only_remembered:
            cursor.size = cursor.offset
        return msgspec.structs.replace(cursor)

    def learn_head(self, source: Source) -> bool:
        """Let the head grow with the file up to 1 KiB; whether it did.

        Raises:
            ContentChangedError: it does not begin as it did.
        """
        cursor = self.cursor
        if cursor.head_len >= HEAD or (not self.packed and self.size <= cursor.head_len):
            return False
        head = source.head
        if not head_is(cursor, head):
            raise ContentChangedError
        if len(head) == cursor.head_len:
            return False
        self.spot.head, cursor.head, cursor.head_len = head, digest(head), len(head)
        return True

    def grew(self, size: int, now: float) -> None:
        """The file has `size` bytes now, more than before."""
        self.size = size
        self.grew_at = now
        self.live = True
        self.rest = False
        self.mark(size, now)

    def mark(self, size: int, now: float) -> None:
        """The bytes up to `size` were there at `now`."""
        if len(self.marks) == _MARKS:
            self.marks.rotate(-1)
            older = self.marks.pop()
            self.marks[0] = (self.marks[0][0], older[1])
        self.marks.append((size, now))

    def drop_marks(self) -> None:
        """Forget the moments of what is committed."""
        while self.marks and self.marks[0][0] <= self.settled:
            self.marks.popleft()

    def behind(self) -> int:
        """Bytes not committed, less the beginning of a line without an end; of a packed file as they lie there."""
        handed_out = self.spot.offset - self.settled
        if not self.unread or self.cursor.finished:
            return handed_out
        return handed_out + (self.size if self.packed else self.size - self.spot.offset)

    def gone(self, now: float) -> bool:
        """Whether its own file is no longer there, and nothing more comes through a descriptor that is still open."""
        if self.here:
            return False
        if self.source is None:
            return True
        return not self.unread and now - max(self.grew_at, self.away_since or now) >= DRAINED_S

    def close(self) -> None:
        """Give the descriptor back. What was read must be proven again when the file is opened again."""
        if self.source is None:
            return
        self.snapshot()
        self.source.close()
        self.source = None
        self.proven = False
        self.spot.before = b""
