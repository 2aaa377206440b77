"""Follows the files of some globs for one consumer: looks, reads blocks, and says what to commit."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

from logproc.tailing.block import Block, Cursor, TooLong
from logproc.tailing.containers import Format, unwrap_block
from logproc.tailing.discovery import Discovery
from logproc.tailing.followed import Followed
from logproc.tailing.identity import tail_is
from logproc.tailing.lines import ContentChangedError, Framer
from logproc.tailing.lookout import Lookout
from logproc.tailing.packed import PackedStream
from logproc.tailing.source import size_of
from logproc.tailing.streams import Streams

_ENDLESS: Final = 1 << 62
_UNPACK_TURN: Final = 4 << 20
_READ_CALL: Final = 16
"""Turns without a block in one call of `read`: after them the owner is asked whether there is something else to do."""
_LOOK_SHARE: Final = 10
"""Looking at every file takes at most one part in so many of the time."""
_RECENT_S: Final = 10.0


class Follower:
    """Follows every file of the globs and their rotated siblings. For one consumer, used by one thread.

    The owner's round: `look()`, `read()` until None or until it is time to commit, `changed()` and `events` into the
    same transaction as what it made of the blocks, then `settled()`. On the first start of a state directory it commits
    once between the first `look()` and the first `read()`.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        cursors: Iterable[Cursor] = (),
        *,
        start: Literal["beginning", "end"] = "beginning",
        wrapped: Format | None = None,
        first_start: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`start` counts only with `first_start`; `wrapped` is how a container runtime wraps each line; `clock` gives
        seconds that never go back.
        """
        self._wrapped = wrapped
        self._clock = clock
        self._start: Literal["beginning", "end"] = start if first_start else "beginning"
        self._streams = Streams(cursors, _open_limit(), clock())
        self._lookout = Lookout(Discovery(patterns), self._streams)
        self._framer = Framer()
        self._next_full_look = clock()
        self._recent: list[Followed] = []
        self._latest: Followed | None = None
        """The stream of the block that was handed out last: it waits for its next turn once that block is done."""
        self.newest = -1
        """The newest second that was reached in any of the files."""
        self._doubtful = False
        self._told: dict[int, int] = {}
        self._told_events: Counter[str] = Counter()
        self._told_lost = 0
        self._told_dropped = 0

    @property
    def events(self) -> Counter[str]:
        """File events since the last `settled()`: opened, rotated, truncated, rewritten, finished, lost."""
        return self._streams.events

    @property
    def lost(self) -> list[tuple[str, int]]:
        """Name and bytes of what could not be read any more, since the last `settled()`."""
        return self._streams.lost

    @property
    def dropped(self) -> list[int]:
        """Keys of cursors that are no longer needed, since the last `settled()`: delete them with the same commit."""
        return self._streams.dropped

    @property
    def caught_up(self) -> bool:
        """Whether every whole line that was there at the last look has been handed out."""
        self._put_back()
        return not (self._streams.turns or self._doubtful or self._lookout.strangers.unsettled)

    def reached(self, second: int) -> None:
        """The last block is done, and `second` is the newest one read in its source so far: for `held_at`."""
        if self._latest is not None:
            self._latest.reached = second
        self.newest = max(self.newest, second)

    @property
    def held_at(self) -> int | None:
        """Of the files with something unread, how far the one has come that is farthest behind: -1 where one was not
        begun in this run. None where every file was read to the end that it had at the last look.
        """
        self._put_back()
        return self._streams.turns.least_reached

    def _put_back(self) -> None:
        """Let the stream of the last block wait for its next turn."""
        stream, self._latest = self._latest, None
        if stream is not None and stream.unread:
            self._streams.turns.add(stream)

    def look(self) -> None:
        """See what is new, what grew and what went. Never raises an OSError: what cannot be read is tried again."""
        now = self._clock()
        if not self._look_at_recent(now) and now < self._next_full_look:
            return
        self._doubtful = False
        self._lookout.look(now, self._start)
        self._start = "beginning"
        self._recent = [
            one
            for one in self._streams.by_key.values()
            if one.source is not None and one.here and not one.packed and now - one.grew_at < _RECENT_S
        ]
        self._next_full_look = now + _LOOK_SHARE * (self._clock() - now)

    def _look_at_recent(self, now: float) -> bool:
        """Note what open files have grown; whether something happened that needs a look at everything."""
        for stream in self._recent:
            if stream.source is None:
                continue
            size = size_of(stream.source.fd)
            if size is None or size < stream.spot.offset:
                self._doubtful = True
            elif size != stream.size:
                self._lookout.proof.note_size(stream, size, now)
                if stream.unread:
                    self._streams.turns.add(stream)
        return self._doubtful

    def read(self) -> Block | None:
        """The next block; None when all that was there at the last look is handed out (then `caught_up`), or when a
        very long line is being passed over: then call again. The block is valid until the next call.
        """
        self._put_back()
        for _ in range(_READ_CALL):
            stream = self._streams.turns.next()
            if stream is None:
                return None
            at = stream.spot.offset
            data = self._turn(stream)
            if data is None:
                continue
            self._streams.touch(stream)
            self._latest = stream
            block_end, path, first = stream.spot.offset, stream.cursor.path, stream.spot.first_line
            if isinstance(data, TooLong):
                block = Block(path, first, at, block_end, memoryview(b""), (data,))
            else:
                block = Block(path, first, at, block_end, data)
            if self._wrapped is not None:
                block, stream.cursor.pending = unwrap_block(self._wrapped, block, stream.cursor.pending)
            return block
        return None

    def _turn(self, stream: Followed) -> memoryview | TooLong | None:
        unproven = stream.source is None or (not stream.packed and not stream.proven)
        if unproven and not self._lookout.proof.prove(stream, self._clock()):
            self._doubtful = True
        source = stream.source
        if source is None:
            return None
        self._streams.take(stream, source)
        try:
            if source.stream is not None:
                return self._unpack(stream, source.stream)
            scanned = stream.spot.scanned
            data = self._framer.take(source.read, stream.spot, stream.size, rest=stream.rest)
        except ContentChangedError:
            stream.proven = False
            self._doubtful = True
        except OSError as error:
            self._streams.say(stream.cursor.path, error)
        else:
            if data is None and stream.unread:
                if stream.spot.scanned > scanned:
                    self._streams.turns.add(stream)
                else:
                    self._doubtful = True  # shorter than it was at the last look
            return data
        return None

    def _unpack(self, stream: Followed, packed: PackedStream) -> memoryview | TooLong | None:
        """A turn of a packed file: unpack up to the offset, prove that it is the same stream, then go on."""
        spot = stream.spot
        if not stream.proven:
            if not packed.fill(spot.offset, _UNPACK_TURN):
                self._streams.turns.add(stream)
                return None
            tail = stream.source.tail(spot.offset) if stream.source else b""
            part = packed.length < spot.offset
            if part or not tail_is(stream.snapshot(), tail):
                self._lookout.strangers.misjudged(stream, is_part=part, now=self._clock())
                self._doubtful = True
                return None
            stream.proven, stream.borrowed, spot.before = True, False, tail
        data = self._framer.take(packed.preadv, spot, packed.length if packed.at_end else _ENDLESS)
        if data is None and packed.at_end:
            data = self._framer.take(packed.preadv, spot, packed.length, rest=packed.complete or stream.rest)
        if data is None:
            stream.ended = packed.at_end
            if not stream.ended:
                self._streams.turns.add(stream)
        elif stream.cursor.finished:
            stream.cursor.finished = False
        return data

    def changed(self) -> list[Cursor]:
        """Copies of the cursors that moved or were made since the last `settled()`, as of all blocks handed out."""
        self._told = {key: stream.spot.offset for key, stream in self._streams.dirty.items()}
        self._told_events = self._streams.events.copy()
        self._told_lost = len(self._streams.lost)
        self._told_dropped = len(self._streams.dropped)
        return [stream.snapshot() for stream in self._streams.dirty.values()]

    def settled(self) -> None:
        """What the last `changed()` gave, with the events of that moment, is committed durably."""
        streams = self._streams
        for key, offset in self._told.items():
            stream = streams.by_key.get(key)
            if stream is not None:
                stream.settled = offset
                stream.drop_marks()
                if stream.spot.offset == offset:
                    streams.dirty.pop(key, None)
        streams.events.subtract(self._told_events)
        for name in [name for name, count in streams.events.items() if not count]:
            del streams.events[name]
        del streams.lost[: self._told_lost]
        del streams.dropped[: self._told_dropped]
        self._told, self._told_events, self._told_lost, self._told_dropped = {}, Counter(), 0, 0

    def lag(self) -> tuple[int, float]:
        """Bytes that could be read but are not committed yet, and for how many seconds the oldest has waited.

        The beginning of a line whose end is not written yet does not count.
        """
        total, oldest = 0, self._clock()
        now = oldest
        for stream in self._streams.by_key.values():
            total += stream.behind()
            if stream.marks and stream.behind():
                oldest = min(oldest, stream.marks[0][1])
        return total, now - oldest if total else 0.0

    @property
    def unreadable(self) -> dict[str, str]:
        """Files and directories that could not be read at the last look, and why."""
        return self._lookout.problems

    def close(self) -> None:
        """Close every file."""
        self._streams.close()


def _open_limit() -> int:
    """How many files may be open at a time: several followers and a server share the process's own limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, min(256, soft // 8)) if soft != resource.RLIM_INFINITY else 256
