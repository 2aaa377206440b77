"""`rejected/measure.jsonl`: every line that is no record, with its reason; as exact as the counters."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from logproc.decode import Rejection

RAW_LIMIT: Final = 4096
FILE_LIMIT: Final = 64 << 20
KEEP: Final = 3


class RejectedFile:
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

    def add(self, source: str, rejected: list[Rejection], now_ms: int) -> None:
        """Keep lines to be written with the next commit."""
        time = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for each in rejected:
            entry = {
                "time": time,
                "file": source,
                "offset": each.offset,
                "length": each.length,
                "reason": each.reason,
                "detail": each.detail,
                "raw": each.raw[:RAW_LIMIT].decode("utf-8", "replace"),
            }
            self._pending.append(msgspec.json.encode(entry) + b"\n")

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
