"""Files of an unknown inode: which stream each one is by its content, or a new one."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final, Literal

from logproc.tailing.discovery import Candidate
from logproc.tailing.followed import Followed
from logproc.tailing.identity import Verdict
from logproc.tailing.lines import BLOCK, Spot, first_line
from logproc.tailing.packed import looks_packed
from logproc.tailing.proof import Proof
from logproc.tailing.source import Source
from logproc.tailing.streams import Streams

SETTLE_S: Final = 1.0
"""A packed file is looked into when it did not change for so long: packers write in pieces."""
_SETTLED_NS: Final = 2_000_000_000
"""Or when it was last changed so long ago by the clock of the file system."""


@dataclass(slots=True)
class _Stranger:
    """A file that is no stream's: as it was at the last look, and since when it is so."""

    size: int
    mtime_ns: int
    unchanged_since: float


@dataclass(frozen=True, slots=True)
class _LeftAlone:
    """All that the decision to leave a file alone depended on."""

    stream: Followed
    size: int
    mtime_ns: int
    offset: int
    gone: bool


class Strangers:
    """Meets the files that are no stream's yet."""

    def __init__(self, streams: Streams, proof: Proof) -> None:
        self._streams = streams
        self._proof = proof
        self._known: dict[tuple[int, int], _Stranger] = {}
        self._left_alone: dict[tuple[int, int], _LeftAlone] = {}
        self.unsettled = False
        """A packed file is still being written, or may be."""

    def meet(self, strangers: list[Candidate], now: float, start: Literal["beginning", "end"]) -> None:
        """Give each of the files to the stream whose content it holds, make it a new stream, or leave it alone."""
        self.unsettled = False
        before, self._known = self._known, {}
        for one in strangers:
            known = before.get(one.id) or _Stranger(one.size, one.mtime_ns, now)
            if (known.size, known.mtime_ns) != (one.size, one.mtime_ns):
                known.size, known.mtime_ns, known.unchanged_since = one.size, one.mtime_ns, now
            self._known[one.id] = known
        for gone in self._left_alone.keys() - self._known.keys():
            del self._left_alone[gone]
        for one in sorted(strangers, key=_rank):
            if one.size and not self._stays_alone(one, now):  # an empty file is nobody until something is in it
                self._meet(one, now, start)

    def misjudged(self, stream: Followed, *, is_part: bool, now: float) -> None:
        """Unpacked up to the offset, the file is not the stream's after all: it holds less, or something else."""
        if stream.borrowed:
            self._streams.stand_alone(stream, is_part=is_part)
            return
        file, size, mtime_ns = stream.id, stream.size, stream.mtime_ns
        self._streams.detach(stream, Verdict.NEW, now)
        if is_part:
            stream.left = None
            self._known[file] = _Stranger(size, mtime_ns, now)
            offset = _offset(stream.cursor.path, stream)
            self._left_alone[file] = _LeftAlone(stream, size, mtime_ns, offset, stream.gone(now))

    def _stays_alone(self, candidate: Candidate, now: float) -> bool:
        """Whether it was left alone before, and nothing has changed since."""
        left = self._left_alone.get(candidate.id)
        if left is None or left != self._reasons(candidate, left.stream, now):
            return False
        _remind(left.stream, now)
        return True

    def _reasons(self, candidate: Candidate, stream: Followed, now: float) -> _LeftAlone:
        return _LeftAlone(stream, candidate.size, candidate.mtime_ns, _offset(candidate.path, stream), stream.gone(now))

    def _meet(self, candidate: Candidate, now: float, start: Literal["beginning", "end"]) -> None:
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
        unchanged_s = now - self._known[candidate.id].unchanged_since
        settled = unchanged_s >= SETTLE_S or time.time_ns() - candidate.mtime_ns > _SETTLED_NS
        self.unsettled |= not settled
        return settled

    def _judge(self, candidate: Candidate, source: Source, now: float, start: Literal["beginning", "end"]) -> bool:
        """Decide; whether a stream has taken the source."""
        verdict, stream = self._streams.recognition.recognize(candidate, source, now)
        if verdict in (Verdict.COPY, Verdict.PART):
            if stream is not None:
                self._left_alone[candidate.id] = self._reasons(candidate, stream, now)
                _remind(stream, now)
            return False
        if verdict in (Verdict.MOVED, Verdict.UNPACKED) and stream is not None:
            self._proof.move(stream, candidate, source, now)
            return True
        if verdict is Verdict.CONTINUED and stream is not None:
            return self._continue(stream, candidate, source, now)
        spot = _spot_at(source, _last_line_end(source)) if start == "end" and not source.kind else Spot()
        new = self._streams.add(candidate, source, spot, now)
        if start == "end" and new.packed:
            new.cursor.finished, new.cursor.size, new.ended = True, 0, True  # only remembered
        else:
            self._streams.events["opened"] += 1
            new.mark(new.size, now)
        return True

    def _continue(self, original: Followed, candidate: Candidate, source: Source, now: float) -> bool:
        """A copy has gone on: a new stream, from where the original ends."""
        known = original.snapshot()
        # Whether a packed one holds the same before that shows when it is unpacked.
        spot = Spot(known.offset, first_line=known.first_line) if source.kind else _spot_at(source, known.offset)
        new = self._streams.add(candidate, source, spot, now)
        new.cursor.offset, new.cursor.tail = known.offset, known.tail
        new.borrowed = new.packed
        self._streams.events["opened"] += 1
        new.mark(new.size, now)
        return True


def _offset(path: str, stream: Followed) -> int:
    """The offset as far as it matters to the file at the path: a packed one is not looked into while more is read."""
    return -1 if looks_packed(path) and stream.unread else stream.spot.offset


def _remind(stream: Followed, now: float) -> None:
    """The content of the stream is still about: a finished one is not forgotten."""
    if stream.cursor.finished and stream.away_since is not None:
        stream.away_since = now


def _spot_at(source: Source, offset: int) -> Spot:
    """Begin to read at the offset, a line start."""
    return Spot(offset, source.tail(offset), first_line=first_line(source.read) if offset else b"")


def _last_line_end(source: Source) -> int:
    """The end of the last whole line: the rest of a line may still come."""
    at = source.size
    while at > 0:
        begin = max(0, at - BLOCK)
        newline = os.pread(source.fd, at - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        at = begin
    return 0


def _rank(candidate: Candidate) -> tuple[bool, int, bool, str]:
    """Of several files with the same content the longest one at its path is met first; the others are its copies."""
    return looks_packed(candidate.path), -candidate.size, candidate.pattern < 0, candidate.path
