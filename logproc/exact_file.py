"""A file of JSON lines that is as exact as the database beside it: what is not committed there is not here either."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

FILE_LIMIT: Final = 64 << 20
KEEP: Final = 3


class ExactFile:
    """Appended before the commit, its length committed with the cursor, cut back to that length at start.

    At FILE_LIMIT bytes it is rotated, and KEEP older files remain. `committed` is the length that the database knows;
    where `length` is another one after the start, that is to be committed before anything is added.
    """

    def __init__(self, path: Path, committed: int) -> None:
        self.path = path
        self._pending: list[bytes] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        # A file shorter than known was just rotated, or someone emptied it: go on at its end.
        self._committed = min(committed, os.fstat(self._fd).st_size)
        self._length = self._committed
        os.ftruncate(self._fd, self._committed)

    @property
    def length(self) -> int:
        """Its committed length, bytes."""
        return self._committed

    def append(self, line: bytes) -> None:
        """Keep a line (JSON, without its newline) to be written with the next commit."""
        self._pending.append(line + b"\n")

    def write(self) -> int:
        """Append what was added (again, if the last commit failed); returns the length to commit. Raises OSError."""
        data = b"".join(self._pending)
        os.ftruncate(self._fd, self._committed)
        view, at = memoryview(data), self._committed
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        self._length = at
        return at

    def committed(self) -> None:
        """The database knows the length that `write` returned."""
        self._committed = self._length
        self._pending.clear()

    @property
    def is_full(self) -> bool:
        """Whether it is time to rotate."""
        return self._committed >= FILE_LIMIT

    def rotate(self) -> None:
        """Begin a new file. The caller commits length 0 before it adds anything.

        Raises:
            OSError: the file in use is still there, if under another name; it may be tried again.
        """
        fresh = self.path.with_name(f"{self.path.name}.new")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            for number in range(KEEP - 1, -1, -1):
                older = self._numbered(number)
                if older.exists():
                    older.replace(self._numbered(number + 1))
            fresh.replace(self.path)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd
        self._committed = self._length = 0

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)
