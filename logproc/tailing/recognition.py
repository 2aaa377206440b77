"""Holds a file of unknown inode against every stream that is known, by content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, TypeVar

from logproc.tailing.discovery import Candidate
from logproc.tailing.followed import Followed
from logproc.tailing.identity import HEAD, Seen, Verdict, decide, digest, tail_is
from logproc.tailing.lines import first_line
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

    def recognize(self, candidate: Candidate, source: Source, now: float) -> tuple[Verdict, Followed | None]:
        """What the file is, and to which stream.

        A tail in a packed file is not compared here: that needs all before it unpacked, which is done in turns.
        """
        head = source.head
        best: tuple[Verdict, Followed | None] = (Verdict.NEW, None)
        alike = [one for one in (*self._same_head(head), *self._longer_head(head)) if one.left != candidate.id]
        alike.sort(key=lambda stream: (-stream.spot.offset, -stream.cursor.head_len))  # the best proof first
        packed = source.kind is not None
        for stream in alike:
            known, gone = stream.snapshot(), stream.gone(now)
            if gone and not known.offset and known.head_len < _START:
                continue  # the beginning of one line, of which nothing was read: that many files share
            size = len(head) if len(head) < HEAD else max(source.size, known.offset) if packed else source.size
            seen = Seen(
                same_inode=False,
                same_head=True,
                size=size,
                same_tail=packed or (size >= known.offset and tail_is(known, source.tail(known.offset))),
                packed=packed,
                gone=gone,
                longer=_stands_still(stream) and source.length() > stream.spot.offset,
            )
            verdict = decide(known, seen)
            if _RANK[verdict] < _RANK[best[0]]:
                best = (verdict, stream)
        if best[0] is Verdict.NEW and candidate.pattern < 0 and (whole := self._same_first_line(source, len(head))):
            return Verdict.PART, whole
        return best

    def _same_head(self, head: bytes) -> Iterator[Followed]:
        """The streams of whose head all that is known stands at the beginning of the file."""
        for length in self._lengths:
            if length <= len(head):
                yield from self._by_head.get((length, digest(head[:length])), {}).values()

    def _longer_head(self, head: bytes) -> Iterator[Followed]:
        """The streams whose head is longer than the file, and begins with all that is in it."""
        if len(head) == HEAD:
            return
        if len(head) >= _START:
            starts = [head[:_START]]
        else:
            starts = [start for start in self._by_start if start.startswith(head)]
        for start in starts:
            for stream in self._by_start.get(start, {}).values():
                if len(stream.spot.head) > len(head) and stream.spot.head.startswith(head):
                    yield stream

    def _same_first_line(self, source: Source, length: int) -> Followed | None:
        """A stream with the same first line, of whose longer head the hash alone is known: not seen in this run."""
        unseen = self._by_start.get(b"", {}).values()
        line = first_line(source.read) if unseen else b""
        return next(
            (one for one in unseen if line and one.cursor.first_line == line and one.cursor.head_len > length), None
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
