"""Holds a file of unknown inode against every stream that is known, by content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Final, TypeVar

from logproc.tailing.discovery import Candidate
from logproc.tailing.followed import Followed
from logproc.tailing.identity import Seen, Verdict, decide, digest, tail_is
from logproc.tailing.source import Source, size_of

_RANK: Final = {
    Verdict.MOVED: 0,
    Verdict.UNPACKED: 0,
    Verdict.COPY: 1,
    Verdict.CONTINUED: 2,
    Verdict.PART: 3,
    Verdict.NEW: 4,
}
_START: Final = 64
"""So many bytes of a head sort the streams that could begin like a file."""
_Key = TypeVar("_Key")
PARTIAL_S: Final = 5.0
"""A file shorter than a known head that begins like it may be a copy in progress: it is left alone so long."""


class Recognition:
    """An index of the heads of all streams, and what was decided about files that are left alone."""

    def __init__(self) -> None:
        self._by_head: dict[tuple[int, bytes], dict[int, Followed]] = {}
        self._by_start: dict[bytes, dict[int, Followed]] = {}
        self._lengths: Counter[int] = Counter()
        self._entries: dict[int, tuple[int, bytes, bytes]] = {}

    def learn(self, stream: Followed) -> None:
        """Index the stream by its head as it is now."""
        self.forget(stream)
        length, head, start = stream.cursor.head_len, stream.cursor.head, stream.spot.head[:_START]
        if length:
            self._entries[stream.key] = (length, head, start)
            self._lengths[length] += 1
            self._by_head.setdefault((length, head), {})[stream.key] = stream
            self._by_start.setdefault(start, {})[stream.key] = stream

    def forget(self, stream: Followed) -> None:
        """Take the stream out of the index."""
        entry = self._entries.pop(stream.key, None)
        if entry is None:
            return
        length, head, start = entry
        self._lengths[length] -= 1
        if not self._lengths[length]:
            del self._lengths[length]
        _take_out(self._by_head, (length, head), stream.key)
        _take_out(self._by_start, start, stream.key)

    def recognize(
        self, candidate: Candidate, source: Source, *, young: bool, now: float
    ) -> tuple[Verdict, Followed | None]:
        """What the file is, and to which stream; `young`: it was first seen less than `PARTIAL_S` ago.

        A tail in a packed file is not compared here: that needs all before it unpacked, which is done in turns.
        """
        head = source.head
        best: tuple[Verdict, Followed | None] = (Verdict.NEW, None)
        alike = [
            stream
            for length in self._lengths
            if length <= len(head)
            for stream in self._by_head.get((length, digest(head[:length])), {}).values()
            if stream.left != candidate.id
        ]
        alike.sort(key=lambda stream: -stream.spot.offset)
        packed = source.kind is not None
        for stream in alike:
            known = stream.snapshot()
            reached = packed or source.size >= known.offset
            seen = Seen(
                same_inode=False,
                same_head=True,
                size=known.offset if packed else source.size,
                same_tail=packed or (reached and tail_is(known, source.tail(known.offset))),
                packed=packed,
                gone=stream.gone(now),
                longer=not packed and source.size > stream.spot.offset and _stands_still(stream),
            )
            verdict = decide(known, seen)
            if _RANK[verdict] < _RANK[best[0]]:
                best = (verdict, stream)
        if best[0] is Verdict.NEW and young and self._begins_like_one(head, candidate):
            return Verdict.PART, None
        return best

    def _begins_like_one(self, head: bytes, candidate: Candidate) -> bool:
        """Whether a file that is there begins with all that is in the candidate, and is longer."""
        alike: Iterable[Followed]
        if len(head) >= _START:
            alike = self._by_start.get(head[:_START], {}).values()
        else:
            alike = chain.from_iterable(
                found.values() for start, found in self._by_start.items() if start.startswith(head)
            )
        return any(
            stream.here
            and stream.left != candidate.id
            and len(stream.spot.head) > len(head)
            and stream.spot.head.startswith(head)
            for stream in alike
        )


def _take_out(index: dict[_Key, dict[int, Followed]], entry: _Key, key: int) -> None:
    del index[entry][key]
    if not index[entry]:
        del index[entry]


def _stands_still(stream: Followed) -> bool:
    """Whether the stream's own file is read to its end, at this very moment."""
    if stream.packed or stream.unread or not stream.here:
        return False
    size = size_of(stream.source.fd if stream.source else stream.cursor.path)
    return size is not None and size <= stream.size
