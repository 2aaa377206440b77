"""The look: which files are there, which streams they are, what became of those that are gone."""

from __future__ import annotations

from typing import Final, Literal

from logproc.tailing.discovery import Candidate, Discovery, look_at
from logproc.tailing.followed import Followed
from logproc.tailing.proof import Proof
from logproc.tailing.source import size_of
from logproc.tailing.strangers import Strangers
from logproc.tailing.streams import Streams

FINISH_S: Final = 60.0
"""A file that is not at its path and did not grow for so long is finished; one that is nowhere is lost."""
FORGET_S: Final = 7 * 86_400.0
"""A finished stream is forgotten when no file of that content was seen for so long."""
KEPT: Final = 10_000
"""Or when more finished streams than these have no file: those first met first."""


class Lookout:
    """Holds what is in the directories against what is known of the streams."""

    def __init__(self, discovery: Discovery, streams: Streams) -> None:
        self._discovery = discovery
        self._streams = streams
        self.proof = Proof(streams)
        self.strangers = Strangers(streams, self.proof)

    def look(self, now: float, start: Literal["beginning", "end"]) -> None:
        """Look at everything once. New files are read from `start`."""
        streams = self._streams
        for stream in streams.by_key.values():
            stream.here = False
        candidates = self._discovery.scan({stream.home for stream in streams.by_key.values() if stream.home})
        strangers = [one for one in candidates if not self._is_known(one, now)]
        for stream in streams.by_key.values():
            if not stream.here:
                self._miss(stream, now)
        self.strangers.meet(strangers, now, start)
        self._let_newest_live(candidates)
        for stream in streams.by_key.values():
            self._age(stream, now)
            if stream.unread and (stream.here or stream.source is not None):
                streams.turns.add(stream)
        self._forget(now)
        for path in streams.problems.keys() - {one.path for one in candidates} if streams.problems else ():
            del streams.problems[path]

    @property
    def problems(self) -> dict[str, str]:
        """Files and directories that cannot be read at present, and why."""
        return {**self._discovery.problems, **self._streams.problems}

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
        if not changed and (stream.source is None or stream.proven or stream.packed):
            return True
        if stream.source is None or not stream.proven or stream.packed or candidate.size <= stream.size:
            return self.proof.prove(stream, now)
        # Our descriptor is open, so it is the same inode, and it grew: each read proves the content.
        self.proof.note_size(stream, candidate.size, now)
        stream.mtime_ns = candidate.mtime_ns
        return True

    def _renamed(self, stream: Followed, path: str, now: float) -> None:
        if stream.home != path:
            self._leaves_home(stream)
        stream.seen_at = now
        stream.cursor.path = path
        self._streams.touch(stream)

    def _leaves_home(self, stream: Followed) -> None:
        if stream.home is not None:
            self._streams.events["rotated"] += 1
            stream.home = None

    def _miss(self, stream: Followed, now: float) -> None:
        """No candidate has the stream's inode."""
        if self._discovery.is_unsure(stream.cursor.path):
            stream.here = True  # not known: that is no reason to give it up
            return
        if stream.source is None:
            if stream.cursor.inode and not stream.cursor.finished and self._is_still_there(stream, now):
                return
        elif not stream.packed:
            size = size_of(stream.source.fd)
            if size is not None and size != stream.size:
                self.proof.note_size(stream, max(size, stream.spot.offset), now)
        if stream.away_since is None:
            stream.away_since = now
            self._leaves_home(stream)

    def _is_still_there(self, stream: Followed, now: float) -> bool:
        """Whether the file lies where it was, though nothing leads to it any more (a link was switched)."""
        try:
            candidate = look_at(stream.cursor.path)
        except OSError:
            stream.here = True
            return True
        if candidate is None or candidate.id != stream.id:
            return False
        stream.home = None
        return self._is_known(candidate, now)

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
        if stream.cursor.finished:
            return
        packed = stream.source.stream if stream.source else None
        if packed is not None and stream.ended and packed.complete:
            self._streams.finish(stream)
            return
        quiet_since = max(stream.grew_at, stream.seen_at, stream.away_since or 0.0)
        if stream.home is not None or now - quiet_since < FINISH_S:
            return
        if stream.source is None and not stream.here:
            unread = stream.cursor.size - stream.spot.offset
            if unread > 0:
                self._streams.lose(stream, unread)
            self._streams.finish(stream)
        elif not stream.unread:
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
        expired = [one for one in away if now - (one.away_since or now) >= FORGET_S]
        if len(away) > KEPT:
            expired = sorted(away, key=lambda one: one.key)[: len(away) - KEPT]
        for stream in expired:
            self._streams.drop(stream)
