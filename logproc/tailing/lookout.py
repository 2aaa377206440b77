"""The look: which files are there, which streams they are, what became of those that are gone."""

from __future__ import annotations

import os
import time
from typing import Final, Literal

from logproc.tailing.discovery import Candidate, Discovery, look_at
from logproc.tailing.followed import Followed
from logproc.tailing.identity import LEAVES_ITS_FILE, Seen, Verdict, decide, head_is, tail_is
from logproc.tailing.lines import BLOCK, ContentChangedError, first_line
from logproc.tailing.packed import looks_packed
from logproc.tailing.recognition import PARTIAL_S
from logproc.tailing.source import Source, size_of
from logproc.tailing.streams import Streams

FINISH_S: Final = 60.0
"""A file that is not at its path and did not grow for so long is finished; one that is nowhere is lost."""
SETTLE_S: Final = 1.0
"""A packed file is looked into when it did not change for so long: packers write in pieces."""
FORGET_S: Final = 7 * 86_400.0
"""A finished stream is forgotten when no file of that content was seen for so long."""
KEPT: Final = 10_000
"""Or when more finished streams than these have no file: those first met first."""


class Lookout:
    """Holds what is in the directories against what is known of the streams."""

    def __init__(self, discovery: Discovery, streams: Streams) -> None:
        self._discovery = discovery
        self._streams = streams
        self._strangers: dict[tuple[int, int], tuple[int, int, float, float]] = {}  # size, mtime, first seen, unchanged
        self._left_alone: dict[tuple[int, int], tuple[object, ...]] = {}
        self.unsettled = False
        """A packed file is still being written, or may be."""

    def look(self, now: float, start: Literal["beginning", "end"]) -> None:
        """Look at everything once. New files are read from `start`."""
        streams = self._streams
        for stream in streams.by_key.values():
            stream.here = False
        self.unsettled = False
        homes = {stream.home for stream in streams.by_key.values() if stream.home}
        candidates = self._discovery.scan(homes)
        strangers = [one for one in candidates if not self._is_known(one, now)]
        for stream in streams.by_key.values():
            if not stream.here and not self._discovery.is_unsure(stream.cursor.path):
                self._miss(stream, now)
        self._remember(strangers, now)
        for candidate in sorted(strangers, key=_rank):
            if candidate.size:  # an empty file is like every other: it is nobody until something is in it
                self._meet(candidate, now, start)
        self._let_newest_live(candidates)
        for stream in list(streams.by_key.values()):
            self._age(stream, now)
            if stream.unread and (stream.here or stream.source is not None):
                streams.turns.add(stream)
        self._forget(now)

    # --- files of a known inode --------------------------------------------------------------------------------------

    def _is_known(self, candidate: Candidate, now: float) -> bool:
        """Whether the file is that of a stream still."""
        stream = self._streams.by_id.get(candidate.id)
        if stream is None:
            return False
        stream.here, stream.away_since = True, None
        if stream.mtime_ns < 0 and candidate.pattern >= 0:  # first met in this run
            stream.home = candidate.path
        if candidate.path != stream.cursor.path:
            self._renamed(stream, candidate.path, now)
        changed = (candidate.size, candidate.mtime_ns) != (stream.size, stream.mtime_ns)
        if stream.source is not None and stream.proven and not stream.packed and candidate.size >= stream.spot.offset:
            # Our descriptor is open, so it is the same inode; each read proves the content.
            if changed:
                self.note_size(stream, candidate.size, now)
                stream.mtime_ns = candidate.mtime_ns
            return True
        if not changed and (stream.source is None or stream.proven):
            return True
        return self.prove(stream, now)

    def _renamed(self, stream: Followed, path: str, now: float) -> None:
        if stream.home is not None and stream.home != path:
            self._streams.events["rotated"] += 1
            stream.home = None
        stream.seen_at = now
        stream.cursor.path = path
        self._streams.touch(stream)

    def note_size(self, stream: Followed, size: int, now: float) -> None:
        """The file of an open stream has another size now, but not less than was read."""
        if size > stream.size:
            stream.grew(size, now)
            if stream.cursor.finished:
                stream.cursor.finished = False
                self._streams.touch(stream)
        elif size < stream.size:
            stream.size = size
            stream.spot.rescan()
        if stream.source is not None and not stream.packed:
            self._learn_head(stream, stream.source)

    def _learn_head(self, stream: Followed, source: Source) -> None:
        try:
            if stream.learn_head(source):
                self._streams.learn(stream)
        except ContentChangedError:
            stream.proven = False
        except OSError as error:
            self._streams.say(stream.cursor.path, error)

    def prove(self, stream: Followed, now: float) -> bool:
        """Compare the file with what was read of it; False where it holds another stream now.

        Afterwards the stream is open and proven, or the file cannot be read at the moment.
        """
        held = stream.source is not None
        source = stream.source or self._streams.open(stream.cursor.path)
        if source is None:
            return True
        if source.id != stream.id:  # renamed since the look: the next one sees it
            source.close()
            return True
        known = stream.snapshot()
        try:
            stat = os.fstat(source.fd)
            source.size, source.mtime_ns = stat.st_size, stat.st_mtime_ns
            packed = source.kind is not None
            if packed and held:  # it grew: what follows is found by unpacking it anew
                self._streams.put_down(stream)
                return self.prove(stream, now)
            head = source.head
            reached = packed or source.size >= known.offset
            tail = b"" if packed or not reached else source.tail(known.offset)
        except OSError as error:
            self._streams.say(stream.cursor.path, error)
            if not held:
                source.close()
            return True
        seen = Seen(
            same_inode=True,
            same_head=head_is(known, head),
            size=known.offset if packed else source.size,
            same_tail=packed or (reached and tail_is(known, tail)),
            packed=packed,
            held=held,
        )
        verdict = decide(known, seen)
        if verdict in LEAVES_ITS_FILE:
            if not held:
                source.close()
            self._streams.detach(stream, verdict, now)
            return False
        self._settle_in(stream, source, head, tail, now)
        return True

    def _settle_in(self, stream: Followed, source: Source, head: bytes, tail: bytes, now: float) -> None:
        """The stream reads from this file now; in a packed one the tail is compared when the offset is reached."""
        met_before = stream.mtime_ns >= 0
        changed = met_before and (source.size, source.mtime_ns) != (stream.size, stream.mtime_ns)
        self._streams.take(stream, source)
        stream.mtime_ns = source.mtime_ns
        stream.packed = source.kind is not None
        stream.spot.head = head[: stream.cursor.head_len]
        stream.spot.rescan()
        self._streams.recognition.learn(stream)
        if stream.packed:
            stream.proven = stream.spot.offset == 0
            stream.ended = stream.only_remembered or (stream.cursor.finished and not changed)
            stream.size = source.size
            if not stream.ended:
                stream.mark(source.size, now)
            return
        stream.proven, stream.spot.before = True, tail
        if source.size > stream.size:
            self.note_size(stream, source.size, now)
        else:
            stream.size = source.size
            if source.size > stream.spot.offset and stream.cursor.finished and not stream.rest:
                stream.cursor.finished = False
            if not stream.marks and source.size > stream.spot.offset:
                stream.mark(source.size, now)
        self._learn_head(stream, source)

    # --- streams without a file --------------------------------------------------------------------------------------

    def _miss(self, stream: Followed, now: float) -> None:
        """No candidate has the stream's inode."""
        if stream.source is None:
            if stream.cursor.inode and not stream.cursor.finished and self._is_still_there(stream, now):
                return
        elif not stream.packed:
            size = size_of(stream.source.fd)
            if size is not None and size != stream.size:
                self.note_size(stream, max(size, stream.spot.offset), now)
        if stream.away_since is None:
            stream.away_since = now
            if stream.home is not None:
                self._streams.events["rotated"] += 1
                stream.home = None

    def _is_still_there(self, stream: Followed, now: float) -> bool:
        """Whether the file lies where it was, though nothing leads to it any more (a link was switched)."""
        try:
            candidate = look_at(stream.cursor.path)
        except OSError:
            return True  # not known: that is no reason to give it up
        if candidate is None or candidate.id != stream.id:
            return False
        stream.home = None
        return self._is_known(candidate, now)

    # --- files of an unknown inode -----------------------------------------------------------------------------------

    def _remember(self, strangers: list[Candidate], now: float) -> None:
        """Since when the strangers are known, and since when they did not change."""
        before, self._strangers = self._strangers, {}
        for one in strangers:
            size, mtime_ns, first, unchanged = before.get(one.id, (one.size, one.mtime_ns, now, now))
            if (size, mtime_ns) != (one.size, one.mtime_ns):
                unchanged = now
            self._strangers[one.id] = (one.size, one.mtime_ns, first, unchanged)
        for gone in self._left_alone.keys() - self._strangers.keys():
            del self._left_alone[gone]

    def _meet(self, candidate: Candidate, now: float, start: Literal["beginning", "end"]) -> None:
        """Find out which stream the file is, or make it a new one."""
        left = self._left_alone.get(candidate.id)
        if left is not None and left == self._reasons(candidate, left[0], now):
            return
        source = self._streams.open(candidate.path)
        if source is None:
            return
        taken = False
        try:
            if source.id == candidate.id and self._is_settled(candidate, source, now):
                taken = self._judge(candidate, source, now, start)
        except OSError as error:
            self._streams.say(candidate.path, error)
        finally:
            if not taken:
                source.close()

    def _is_settled(self, candidate: Candidate, source: Source, now: float) -> bool:
        if source.kind is None and not looks_packed(candidate.path):
            return True
        settled = now - self._strangers[candidate.id][3] >= SETTLE_S or time.time_ns() - candidate.mtime_ns > 2e9
        self.unsettled |= not settled
        return settled

    def _reasons(self, candidate: Candidate, stream: object, now: float) -> tuple[object, ...]:
        """All that the decision to leave the file alone depended on, `stream` first."""
        known: tuple[object, ...] = ()
        if isinstance(stream, Followed):
            known = (-1 if looks_packed(candidate.path) else stream.spot.offset, stream.gone(now))
        return (stream, candidate.size, candidate.mtime_ns, *known)

    def _judge(self, candidate: Candidate, source: Source, now: float, start: Literal["beginning", "end"]) -> bool:
        """Whether a stream has taken the source."""
        streams = self._streams
        first_seen = self._strangers[candidate.id][2]
        verdict, stream = streams.recognition.recognize(candidate, source, young=now - first_seen < PARTIAL_S, now=now)
        if verdict in (Verdict.MOVED, Verdict.UNPACKED) and stream is not None:
            self._adopt(stream, candidate, source, now)
            return True
        if verdict in (Verdict.COPY, Verdict.PART):
            if stream is not None:
                self._left_alone[candidate.id] = self._reasons(candidate, stream, now)
                stream.away_since = now if stream.cursor.finished and stream.away_since else stream.away_since
            return False
        new = streams.add(candidate, source, now)
        new.home = candidate.path if candidate.pattern >= 0 else None
        if verdict is Verdict.CONTINUED and stream is not None:
            _stand_at(new, source, stream.spot.offset)
        elif start == "end":
            _skip_to_end(new, source)
        if not new.cursor.finished:
            streams.events["opened"] += 1
            new.mark(new.size, now)
        new.settled = new.spot.offset
        new.proven = True
        new.spot.head = source.head[: new.cursor.head_len]
        return True

    def _adopt(self, stream: Followed, candidate: Candidate, source: Source, now: float) -> None:
        """The stream has moved into this file."""
        if stream.home is not None and stream.home != candidate.path:
            self._streams.events["rotated"] += 1
        self._streams.move(stream, candidate)
        stream.here, stream.away_since, stream.grew_at = True, None, now
        stream.home = candidate.path if candidate.pattern >= 0 else None
        head = source.head
        tail = b"" if source.kind else source.tail(stream.spot.offset)
        stream.mtime_ns = max(stream.mtime_ns, 0)  # met in this run
        self._settle_in(stream, source, head, tail, now)

    def misjudged(self, stream: Followed, candidate_is_part: bool, now: float) -> None:
        """Unpacked up to the offset, the file is not the stream's after all."""
        left, size, mtime_ns = stream.id, stream.size, stream.mtime_ns
        self._streams.detach(stream, Verdict.NEW, now)
        if candidate_is_part:
            stream.left = None
            self._left_alone[left] = (stream, size, mtime_ns, -1, stream.gone(now))
            self._strangers[left] = (size, mtime_ns, now, now)

    # --- time passes -------------------------------------------------------------------------------------------------

    def _let_newest_live(self, candidates: list[Candidate]) -> None:
        """The newest file of each glob comes before the backlog."""
        newest: dict[int, Candidate] = {}
        for one in candidates:
            if one.pattern >= 0 and (one.pattern not in newest or one.mtime_ns > newest[one.pattern].mtime_ns):
                newest[one.pattern] = one
        for one in newest.values():
            if stream := self._streams.by_id.get(one.id):
                stream.live = True

    def _age(self, stream: Followed, now: float) -> None:
        """A file that is not at its path and does not grow is finished; one that is nowhere is lost."""
        if stream.cursor.finished or stream.home is not None:
            return
        if stream.packed and stream.ended and stream.source and stream.source.stream and stream.source.stream.complete:
            self._streams.finish(stream)
            return
        if now - max(stream.grew_at, stream.seen_at, stream.away_since or 0.0) < FINISH_S:
            return
        if stream.source is None and not stream.here:
            if self._discovery.is_unsure(stream.cursor.path):
                return
            unread = stream.cursor.size - stream.spot.offset
            if unread > 0:
                self._streams.lose(stream, unread)
            self._streams.finish(stream)
        elif not stream.unread:
            self._take_rest_or_finish(stream)

    def _take_rest_or_finish(self, stream: Followed) -> None:
        packed = stream.source.stream if stream.source else None
        if not stream.rest:
            stream.rest = True
            if packed is not None:
                stream.ended = False
                self._streams.lose(stream, packed.unreadable)
        if not stream.unread:
            self._streams.finish(stream)

    def _forget(self, now: float) -> None:
        """Drop finished streams that nothing reminds of."""
        away = [one for one in self._streams.by_key.values() if one.cursor.finished and not one.here]
        surplus = len(away) - KEPT
        for number, stream in enumerate(sorted(away, key=lambda one: one.key)):
            if number < surplus or now - (stream.away_since or now) >= FORGET_S:
                self._streams.drop(stream)


def _skip_to_end(stream: Followed, source: Source) -> None:
    """Remember the file at its end: behind its last whole line, for the rest of a line may still come."""
    if stream.packed:
        stream.cursor.finished, stream.cursor.size, stream.ended = True, 0, True
        return
    at = source.size
    while at > 0:
        begin = max(0, at - BLOCK)
        data = os.pread(source.fd, at - begin, begin)
        newline = data.rfind(b"\n")
        if newline >= 0:
            at = begin + newline + 1
            break
        at = begin
    _stand_at(stream, source, at)


def _stand_at(stream: Followed, source: Source, offset: int) -> None:
    """Begin to read at the offset, a line start."""
    spot = stream.spot
    spot.first_line = first_line(source.read) if offset else b""
    spot.offset, spot.before = offset, source.tail(offset)
    spot.rescan()


def _rank(candidate: Candidate) -> tuple[bool, int, bool, str]:
    """Of several files with the same content the longest one at its path is met first; the others are its copies."""
    return looks_packed(candidate.path), -candidate.size, candidate.pattern < 0, candidate.path
