"""All streams of one follower: by number, by inode and by content, with what is to be committed of them."""

from __future__ import annotations

import errno
import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Final

from logproc.tailing.block import Cursor
from logproc.tailing.discovery import Candidate
from logproc.tailing.followed import Followed
from logproc.tailing.identity import Verdict
from logproc.tailing.lines import Spot
from logproc.tailing.recognition import Recognition
from logproc.tailing.source import Source, open_source
from logproc.tailing.turns import Turns

log = logging.getLogger(__name__)

EVENT_OF: Final = {Verdict.TRUNCATED: "truncated", Verdict.REWRITTEN: "rewritten"}


class Streams:
    """Keeps the streams, their open files, and the changes that the owner has not committed yet."""

    def __init__(self, cursors: Iterable[Cursor], open_limit: int, now: float) -> None:
        self.by_key: dict[int, Followed] = {}
        self.by_id: dict[tuple[int, int], Followed] = {}
        self.recognition = Recognition()
        self.turns = Turns()
        self.events: Counter[str] = Counter()
        self.lost: list[tuple[str, int]] = []
        self.dropped: list[int] = []
        self.dirty: dict[int, Followed] = {}
        self._open_limit = open_limit
        self._open: OrderedDict[int, Followed] = OrderedDict()
        self.problems: dict[str, str] = {}
        """Files that cannot be read at present, and why; each was said once."""
        for cursor in cursors:
            spot = Spot(offset=cursor.offset, first_line=cursor.first_line)
            stream = Followed(cursor, spot, cursor.size, -1, now, now, settled=cursor.offset)
            self._keep(stream)
        self._next_key = max(self.by_key, default=0) + 1

    def _keep(self, stream: Followed) -> None:
        self.by_key[stream.key] = stream
        if stream.cursor.inode:
            self.by_id[stream.id] = stream
        self.recognition.learn(stream)

    def add(self, candidate: Candidate, source: Source, spot: Spot, now: float) -> Followed:
        """A new stream in the candidate, from `spot` on.

        Raises:
            OSError: the file cannot be read; then there is no new stream.
        """
        device, inode = candidate.id
        cursor = Cursor(key=self._next_key, path=candidate.path, device=device, inode=inode, offset=0, size=source.size)
        stream = Followed(cursor, spot, source.size, source.mtime_ns, now, now, packed=source.kind is not None)
        stream.learn_head(source)
        stream.home = candidate.path if candidate.pattern >= 0 else None
        stream.here, stream.proven = True, not (stream.packed and spot.offset)
        stream.settled = spot.offset
        self._next_key += 1
        self._keep(stream)
        self.take(stream, source)
        self.touch(stream)
        return stream

    def touch(self, stream: Followed) -> None:
        """The stream's cursor is to be committed."""
        self.dirty[stream.key] = stream

    def learn(self, stream: Followed) -> None:
        """The head has grown."""
        self.recognition.learn(stream)
        self.touch(stream)

    # --- where a stream is -------------------------------------------------------------------------------------------

    def move(self, stream: Followed, candidate: Candidate) -> None:
        """The stream goes on in another file."""
        if stream.home is not None and stream.home != candidate.path:
            self.events["rotated"] += 1
        self.put_down(stream)
        self.by_id.pop(stream.id, None)
        stream.cursor.device, stream.cursor.inode = candidate.id
        stream.cursor.path = candidate.path
        stream.home = candidate.path if candidate.pattern >= 0 else None
        self.by_id[candidate.id] = stream
        self.touch(stream)

    def detach(self, stream: Followed, verdict: Verdict, now: float) -> None:
        """Another stream has taken its place in the file: from now on it has none."""
        if event := EVENT_OF.get(verdict):
            self.events[event] += 1
        self.put_down(stream)
        self.by_id.pop(stream.id, None)
        stream.left = stream.id
        stream.cursor.device = stream.cursor.inode = 0
        stream.here, stream.home, stream.away_since = False, None, now
        self.touch(stream)

    def stand_alone(self, stream: Followed, *, is_part: bool) -> None:
        """The position of a stream was that of another, of which it is only a part; or it has nothing to do with it."""
        stream.borrowed = False
        if is_part:
            stream.ended = True
            self.finish(stream)
        else:
            stream.spot = Spot(head=stream.spot.head)
            stream.proven = True
            self.touch(stream)
            self.turns.add(stream)

    def finish(self, stream: Followed) -> None:
        """Nothing more is expected of the stream."""
        self.put_down(stream)
        stream.cursor.finished = True
        stream.marks.clear()
        self.events["finished"] += 1
        self.touch(stream)

    def lose(self, stream: Followed, unread: int) -> None:
        """Bytes of the stream can no longer be read."""
        self.events["lost"] += 1
        self.lost.append((stream.cursor.path, unread))

    def drop(self, stream: Followed) -> None:
        """Forget a stream that will not be met again."""
        self.put_down(stream)
        self.recognition.forget(stream)
        self.by_id.pop(stream.id, None)
        del self.by_key[stream.key]
        self.dirty.pop(stream.key, None)
        self.dropped.append(stream.key)

    # --- open files --------------------------------------------------------------------------------------------------

    def open(self, path: str) -> Source | None:
        """Open a file, closing an idle one where there are too many; None, said once, where it cannot be opened."""
        while len(self._open) >= self._open_limit and self._close_one():
            pass
        try:
            source = open_source(path)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and self._close_one():
                self._open_limit = max(1, len(self._open))
                return self.open(path)
            if error.errno != errno.ENOENT:
                self.say(path, error)
            return None
        if self.problems:
            self.problems.pop(path, None)
        return source

    def say(self, path: str, error: OSError) -> None:
        """Tell about an error once, until the file can be read again."""
        if self.problems.get(path) != error.strerror:
            self.problems[path] = str(error.strerror)
            log.warning("cannot read %s: %s; trying again", path, error.strerror)

    def take(self, stream: Followed, source: Source) -> None:
        """The stream reads from this open file now."""
        if stream.source is not source:
            self.put_down(stream)
        stream.source = source
        self._open[stream.key] = stream
        self._open.move_to_end(stream.key)

    def put_down(self, stream: Followed) -> None:
        """Close the stream's file."""
        self._open.pop(stream.key, None)
        stream.close()

    def close(self) -> None:
        """Close every file."""
        for stream in list(self._open.values()):
            self.put_down(stream)

    def _close_one(self) -> bool:
        """Close the file unused for longest that can be opened again, one with nothing unread if there is; if any."""
        again = [stream for stream in self._open.values() if stream.here]
        idle = next((stream for stream in again if not stream.unread), None)
        if idle is None and not again:
            return False
        self.put_down(idle or again[0])
        return True
