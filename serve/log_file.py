"""One process's log file: its slot beside other processes, whole lines only, rotation, and moves made by others."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

STDOUT: Final = "-"
FILE_MODE: Final = 0o640
MAX_SLOTS: Final = 1000
PIPE_WRITE: Final = 4096
"""A longer write into a pipe (PIPE_BUF on Linux) can be cut apart by the writes of other processes."""


class LogFile:
    """Appends lines to a file that this process alone owns, and never joins a line to a torn piece before it.

    The owner is whoever holds a lock on a hidden file beside it, so the log itself may be renamed, truncated or
    deleted by others at any moment. Not thread-safe: one thread appends. `write` is `os.write`, injected by tests.
    """

    def __init__(self, path: str, *, max_bytes: int, keep: int, write: Callable[[int, bytes], int] = os.write) -> None:
        self.path = path
        self.cannot_rotate: OSError | None = None
        self._wanted = path
        self._max_bytes = max(1, max_bytes)
        self._keep = max(1, keep)
        self._write = write
        self._fd: int | None = None
        self._opened: tuple[int, int] | None = None  # device and inode of it
        self._lock_fd: int | None = None
        self._torn = False  # the file ends in a piece of a line: the next write begins with a newline

    def open(self) -> None:
        """Take a slot and open its file, so that it exists before the first line.

        Raises:
            OSError: the directory or the file cannot be made or opened.
        """
        if self._wanted != STDOUT:
            self._ready(0)

    def append(self, lines: bytes) -> tuple[int, OSError | None]:
        """Write `lines`, each of which ends in a newline, in one `write` as a rule.

        Returns how many of their bytes are in the file as whole lines, and the error that kept the rest out.
        """
        done = 0
        try:
            while done < len(lines):
                end = len(lines) if self._wanted != STDOUT else _cut(lines, done, PIPE_WRITE)
                done += self._append_once(lines[done:end])
        except OSError as error:
            self._close_file()
            return done, error
        return done, None

    def close(self) -> None:
        """Close the file and give the slot back. A later `append` takes one again."""
        self._close_file()
        lock, self._lock_fd = self._lock_fd, None
        _close(lock)

    # --- writing ----------------------------------------------------------------------------------------------------

    def _append_once(self, lines: bytes) -> int:
        size = len(lines)
        fd = 1 if self._wanted == STDOUT else self._ready(size)
        prefix = b"\n" if self._torn else b""
        written = self._write(fd, prefix + lines)
        if written <= 0:
            raise OSError(errno.EIO, "nothing could be written", self.path)
        if written == size + len(prefix):
            self._torn = False
            return size
        return self._after_short_write(lines, written - len(prefix))

    def _after_short_write(self, lines: bytes, written: int) -> int:
        """How long the whole lines are after `written` bytes; notes whether a torn piece follows them."""
        whole = lines.rfind(b"\n", 0, written) + 1
        self._torn = written > whole
        if self._torn and lines.startswith(b"\n", written):
            whole = written + 1  # its newline is missing, and the next write begins with one: again would double it
        return whole

    # --- the file at its path ---------------------------------------------------------------------------------------

    def _ready(self, size: int) -> int:
        """The descriptor of the file at our path with room for `size` bytes: opened, reopened or rotated as needed."""
        found = _stat(self.path) if self._fd is not None else None
        if found is None or (found.st_dev, found.st_ino) != self._opened:
            found = self._open_file()  # the first time, or another one (logrotate) moved or deleted it
        if found.st_size == 0:
            self._torn = False  # new, or truncated by another
        elif found.st_size + size > self._max_bytes and self._rotate():
            self._open_file()
        assert self._fd is not None
        return self._fd

    def _open_file(self) -> os.stat_result:
        self._close_file()
        self._hold_slot()
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        found = os.fstat(self._fd)
        self._opened = (found.st_dev, found.st_ino)
        self._torn = found.st_size > 0 and os.pread(self._fd, 1, found.st_size - 1) != b"\n"
        return found

    def _rotate(self) -> bool:
        """Move the file to `NAME.1`, older ones one number up; the one past `keep` falls away. False: it cannot move.

        A crash between two renames leaves a gap in the numbers, which the next rotation fills: nothing is lost.
        """
        free = 1
        while free < self._keep and Path(f"{self.path}.{free}").exists():
            free += 1
        try:
            for number in range(free, 1, -1):
                Path(f"{self.path}.{number - 1}").replace(f"{self.path}.{number}")
            Path(self.path).replace(f"{self.path}.1")
        except OSError as error:
            self.cannot_rotate = error  # a file that grows too long is better than lost lines
            return False
        self.cannot_rotate = None
        return True

    def _close_file(self) -> None:
        fd, self._fd = self._fd, None
        _close(fd)

    # --- the slot ---------------------------------------------------------------------------------------------------

    def _hold_slot(self) -> None:
        """Keep the slot we hold, or take the lowest free one: `access.jsonl`, `access-1.jsonl`, …"""
        if self._lock_fd is not None:
            lock = _stat(_lock_path(self.path))
            if lock is not None and os.path.samestat(lock, os.fstat(self._lock_fd)):
                return
            held, self._lock_fd = self._lock_fd, None
            _close(held)  # its directory was removed: the name is anyone's now
        Path(self._wanted).parent.mkdir(parents=True, exist_ok=True)
        for number in range(MAX_SLOTS):
            path = _slot_path(self._wanted, number)
            lock_fd = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock_fd)
                continue
            except OSError:
                os.close(lock_fd)
                raise
            self._lock_fd, self.path = lock_fd, path
            return
        raise OSError(errno.EUSERS, f"all {MAX_SLOTS} files of this name belong to other processes", self._wanted)


def _slot_path(path: str, number: int) -> str:
    if number == 0:
        return path
    root, ext = os.path.splitext(path)  # noqa: PTH122 - pathlib would normalise the path we were given
    return f"{root}-{number}{ext}"


def _lock_path(path: str) -> str:
    """Hidden, so that no glob for logs and no `NAME.*` finds it."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.lock")  # noqa: PTH118 - as above


def _cut(lines: bytes, start: int, limit: int) -> int:
    """Where the lines from `start` on end that fit into `limit` bytes together; one at least."""
    return lines.rfind(b"\n", start, start + limit) + 1 or lines.find(b"\n", start) + 1


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - once a batch
    except FileNotFoundError:
        return None


def _close(fd: int | None) -> None:
    if fd is not None:
        with suppress(OSError):
            os.close(fd)
