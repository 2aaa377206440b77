"""The way of a line out of the event loop: a bounded queue, and a thread that renders and appends in batches."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

import msgspec

from serve.access_line import Line
from serve.finished import Finished
from serve.log_file import LogFile

DEFAULT_MAX_BYTES: Final = 256 << 20
DEFAULT_KEEP: Final = 5
QUEUE_LINES: Final = 10_000
MOST_UNMADE: Final = 32
"""Finished requests that wait, each with what of its response was not read; of more the lines are made at once."""
BATCH_LINES: Final = 100
"""So many lines are made and written in one go: the server waits for the interpreter as long."""
GATHER_S: Final = 0.1
"""Between two batches: a line after a pause is written at once, a flood is written ten times a second. Each time the
server must hand the interpreter over and take it back: at fifty times a second that was most of what the log cost."""
WARN_EVERY_S: Final = 60.0

_LOG: Final = logging.getLogger("logproc.serve")


class LogWriter:
    """Writes access lines for one process. `put` never blocks and never raises: what cannot be written is counted.

    Args:
        path: the file, or `-` for stdout; another process's file of that name makes ours `NAME-1.EXT` and so on.
        max_bytes: the file is rotated before it grows beyond this.
        keep: rotated files that stay, one at least.
        write: `os.write`, injected by tests.
        clock: seconds, monotonic; spaces the warnings.
    """

    def __init__(
        self,
        path: str,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        keep: int = DEFAULT_KEEP,
        write: Callable[[int, bytes], int] = os.write,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = LogFile(path, max_bytes=max_bytes, keep=keep, write=write)
        self._clock = clock
        self._warned_at: float | None = None
        self._started = False
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._waiting: deque[Line | Finished] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        """Rung to wake the thread."""
        self._asleep = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # of the counter alone
        self._lost = 0

    @property
    def path(self) -> str:
        """The file written to. Until the thread has taken its slot, the path as given."""
        return self._file.path

    @property
    def lost(self) -> int:
        """Lines that could not be kept since this process began."""
        return self._lost

    def start(self) -> None:
        """Begin to write. Lines that were put before wait for it."""
        if not self._started:
            self._started = True
            _RUNNING.add(self)
            self._start_thread()

    def put(self, line: Line | Finished) -> None:
        """Queue one line, or what to make one of. A full queue or a closed writer counts it as lost."""
        waiting = len(self._waiting)
        if self._closed or waiting >= QUEUE_LINES:
            self._count_lost(1)
            return
        ready = line if waiting < MOST_UNMADE else self._made(line)
        if ready is None:
            return
        self._waiting.append(ready)
        if self._asleep:
            self._asleep = False
            self._bell.put(None)
        elif self._thread is None and self._started:  # a forked child: its parent's thread did not come with it
            with suppress(RuntimeError):  # no thread to be had: the lines wait, and a full queue counts them
                self._start_thread()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is queued, for at most `timeout_s` seconds, and stop. Safe to call twice."""
        self._closed = True
        self._bell.put(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    # --- the writing thread -----------------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="logproc-log-writer", daemon=True)
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        try:
            self._file.open()
        except Exception as error:
            self._warn(f"cannot open {self._file.path}: {error}")
        while self._wait():
            if self._write_batch() < BATCH_LINES and not self._closed:
                with suppress(Empty):  # only the end rings now
                    self._bell.get(timeout=GATHER_S)
        self._file.close()

    def _wait(self) -> bool:
        """Wait for a line. False: there is none, and none will come."""
        while not self._waiting:
            if self._closed:
                return bool(self._waiting)  # one may have come between the two looks
            self._asleep = True  # from here on whoever puts a line rings
            if not self._waiting and not self._closed:
                self._bell.get()
            self._asleep = False
        return True

    def _write_batch(self) -> int:
        """Write what waits, so many lines at most; how many these were."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_LINES))]
        try:
            self._write([line for line in map(self._made, batch) if line is not None])
        except Exception as error:  # a defect of ours must not end the log
            self._count_lost(len(batch))
            self._warn(f"cannot write a batch: {error!r}")
        return len(batch)

    def _made(self, line: Line | Finished) -> Line | None:
        """The line of a finished request; None where it cannot be made."""
        if not isinstance(line, Finished):
            return line
        try:
            return line.line()
        except Exception as error:
            self._count_lost(1)
            self._warn(f"cannot make a line: {type(error).__name__}")
            return None

    def _write(self, batch: list[Line]) -> None:
        try:
            lines = _ENCODER.encode_lines(batch)
        except Exception:  # some line of these
            lines = b"".join(map(self._rendered, batch))
        done, failure = self._file.append(lines)
        if failure is not None:
            self._count_lost(lines.count(b"\n", done))
            self._warn(f"cannot write {self._file.path}: {failure}")
        elif self._file.cannot_rotate is not None:
            self._warn(f"cannot rotate {self._file.path}: {self._file.cannot_rotate}")

    def _rendered(self, line: Line) -> bytes:
        """One line; nothing where it cannot be."""
        try:
            return _ENCODER.encode(line) + b"\n"
        except Exception as error:
            self._count_lost(1)
            self._warn(f"cannot write a line: {type(error).__name__}")  # its text may quote the line
            return b""

    def _count_lost(self, lines: int) -> None:
        with self._lock:
            self._lost += lines

    def _warn(self, message: str) -> None:
        now = self._clock()
        if self._warned_at is None or now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            with suppress(Exception):  # a log handler of the server's may raise as well, and must not end the thread
                _LOG.warning("access log: %s; %d lines lost so far", message, self._lost)

    # --- fork -------------------------------------------------------------------------------------------------------

    def _after_fork(self) -> None:
        """In a forked child: let go of the parent's file, lines and counter; the first line takes a slot of its own."""
        self._file.close()
        self._reset()


_ENCODER: Final = msgspec.json.Encoder()
"""UTF-8 JSON in the order of the fields. NaN and infinity become null."""
_RUNNING: Final[weakref.WeakSet[LogWriter]] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for writer in list(_RUNNING):
        writer._after_fork()


os.register_at_fork(after_in_child=_let_go_in_child)
