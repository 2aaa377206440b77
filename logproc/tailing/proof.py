"""Proves that an open file holds what was read of a stream, and lets the stream go on in it."""

from __future__ import annotations

import os

from logproc.tailing.discovery import Candidate
from logproc.tailing.followed import Followed
from logproc.tailing.identity import LEAVES_ITS_FILE, Seen, decide, digest, head_is, tail_is
from logproc.tailing.lines import ContentChangedError
from logproc.tailing.source import Source
from logproc.tailing.streams import Streams


class Proof:
    """Compares files with streams, and keeps what is known of a stream's file up to date."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def prove(self, stream: Followed, now: float) -> bool:
        """Compare the stream's file with what was read of it; False where it holds another stream now.

        Afterwards the stream is open and proven, or the file cannot be read at the moment. In a packed file only the
        head is compared here: the bytes before the offset are when all before them is unpacked.
        """
        if stream.packed:
            self._streams.put_down(stream)  # it may have grown: it is unpacked anew
        held = stream.source is not None
        source = stream.source or self._streams.open(stream.cursor.path)
        if source is None:
            return True
        if source.id != stream.id:  # renamed since the look: the next one sees it
            source.close()
            return True
        try:
            verdict_seen, head, tail = _hold_against(stream, source, held=held)
        except OSError as error:
            self._streams.say(stream.cursor.path, error)
            if not held:
                source.close()
            return True
        verdict = decide(stream.snapshot(), verdict_seen)
        if verdict in LEAVES_ITS_FILE:
            if not held:
                source.close()
            self._streams.detach(stream, verdict, now)
            return False
        self._settle_in(stream, source, head, tail, now)
        return True

    def move(self, stream: Followed, candidate: Candidate, source: Source, now: float) -> None:
        """The stream goes on in another file, which was found to hold its content.

        Raises:
            OSError: the file cannot be read; then nothing has changed.
        """
        head = source.head
        tail = b"" if source.kind else source.tail(stream.spot.offset)
        self._streams.move(stream, candidate)
        if len(head) < stream.cursor.head_len:  # less than there was: the rest is gone with the old file
            stream.cursor.head, stream.cursor.head_len = digest(head), len(head)
            self._streams.lose(stream, max(0, stream.cursor.size - len(head)))
        stream.here, stream.away_since, stream.grew_at = True, None, now
        stream.mtime_ns = max(stream.mtime_ns, 0)  # met in this run
        self._settle_in(stream, source, head, tail, now)

    def note_size(self, stream: Followed, size: int, now: float) -> None:
        """The file of an open stream has another size now, but not less than was read."""
        if size > stream.size:
            stream.grew(size, now)
            self._unfinish(stream)
        elif size < stream.size:
            stream.size = size
            stream.spot.rescan()
        if stream.source is not None and not stream.packed:
            self._learn_head(stream, stream.source)

    def _settle_in(self, stream: Followed, source: Source, head: bytes, tail: bytes, now: float) -> None:
        """The stream reads from this file now."""
        changed = stream.mtime_ns >= 0 and (source.size, source.mtime_ns) != (stream.size, stream.mtime_ns)
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
            return
        stream.size = source.size
        if source.size > stream.spot.offset:
            self._unfinish(stream)
            if not stream.marks:
                stream.mark(source.size, now)
        self._learn_head(stream, source)

    def _unfinish(self, stream: Followed) -> None:
        """There is more of the stream after all."""
        if stream.cursor.finished:
            stream.cursor.finished = False
            self._streams.touch(stream)

    def _learn_head(self, stream: Followed, source: Source) -> None:
        try:
            if stream.learn_head(source):
                self._streams.learn(stream)
        except ContentChangedError:
            stream.proven = False
        except OSError as error:
            self._streams.say(stream.cursor.path, error)


def _hold_against(stream: Followed, source: Source, *, held: bool) -> tuple[Seen, bytes, bytes]:
    """What the file in the stream's inode shows, with its head and the bytes before the offset."""
    stat = os.fstat(source.fd)
    source.size, source.mtime_ns = stat.st_size, stat.st_mtime_ns
    known, head, packed = stream.snapshot(), source.head, source.kind is not None
    reached = packed or source.size >= known.offset
    tail = source.tail(known.offset) if reached and not packed else b""
    seen = Seen(
        same_inode=True,
        same_head=head_is(known, head),
        size=known.offset if packed else source.size,
        same_tail=packed or (reached and tail_is(known, tail)),
        packed=packed,
        held=held,
    )
    return seen, head, tail
