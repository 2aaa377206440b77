"""Streams that only go forward (packed files, pipes), made readable at an offset through a sliding window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from logproc.record import MAX_LINE
from logproc.tailing.identity import TAIL
from logproc.tailing.lines import BLOCK

WINDOW: Final = MAX_LINE + 2 * BLOCK + TAIL
"""What framing may still want to look back at: a line, a block behind it, the bytes before it."""


class ForwardStream(ABC):
    """The bytes of a stream with a window behind the furthest byte that was read."""

    def __init__(self) -> None:
        self._window = bytearray()
        self._base = 0
        self.at_end = False
        """Nothing more will come; `length` is final."""

    @property
    def length(self) -> int:
        """How many bytes of the stream are known so far."""
        return self._base + len(self._window)

    @abstractmethod
    def _more(self) -> bytes:
        """The next bytes of the stream (at most about a block); sets `at_end` when there are no more."""

    def _restart(self) -> None:
        """Begin again at the first byte, where the stream can."""
        raise OSError("this stream cannot be read again")

    def preadv(self, buffers: list[bytearray | memoryview], offset: int) -> int:
        """Fill `buffers` with the bytes at `offset`; returns how many there were. Going far back starts anew."""
        if offset < self._base:
            self._restart()
            self._window.clear()
            self._base, self.at_end = 0, False
        wanted = sum(len(buffer) for buffer in buffers)
        self.fill(offset + wanted)
        at = offset - self._base
        done = 0
        for buffer in buffers:
            piece = self._window[at + done : at + done + len(buffer)]
            buffer[: len(piece)] = piece
            done += len(piece)
        return done

    def fill(self, end: int, budget: int | None = None) -> bool:
        """Read on until the byte `end` was met, the stream ends, or `budget` bytes came: False if not there yet."""
        came = 0
        while self.length < end and not self.at_end:
            if budget is not None and came >= budget:
                return False
            data = self._more()
            came += len(data)
            self._window += data
            surplus = min(end, self.length) - WINDOW - self._base
            if surplus > BLOCK:
                del self._window[:surplus]
                self._base += surplus
        return True
