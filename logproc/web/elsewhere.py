"""How far a consumer is that runs in another process: told from what it has committed and from the files themselves."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from logproc.state import load_cursors, open_reader
from logproc.tailing.block import Cursor

PACKED = (".gz", ".zst")


class Elsewhere:
    """Reads like `consumer.Progress`. `database` is the other consumer's, `ours` that of the one in this process.

    A file that we know and the other one does not is behind as a whole. The waiting time is counted from the first
    time that somebody asked and found it behind, with nothing committed since.
    """

    problem: str | None = None
    has_caught_up = True
    unreadable: Final[Mapping[str, str]] = {}

    def __init__(self, database: Path, ours: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._ours = ours
        self._clock = clock
        self._since: float | None = None
        self._offsets: dict[tuple[int, int], int] = {}

    @property
    def exists(self) -> bool:
        """Whether there ever was such a consumer."""
        return self._database.exists()

    def last_written(self) -> int:
        """When its database was last written, ns: another value means that there is something new."""
        written = 0
        for path in (self._database, Path(f"{self._database}-wal")):
            with suppress(OSError):
                written = max(written, path.stat().st_mtime_ns)
        return written

    @property
    def lag_bytes(self) -> int:
        """Bytes that are there and that it has not committed."""
        theirs, ours = _cursors(self._database), _cursors(self._ours)
        offsets = {(cursor.device, cursor.inode): cursor.offset for cursor in theirs}
        behind = sum(_size(cursor) - cursor.offset for cursor in theirs if _size(cursor) > cursor.offset)
        behind += sum(_size(cursor) for cursor in ours if (cursor.device, cursor.inode) not in offsets)
        if not behind:
            self._since = None
        elif self._since is None or offsets != self._offsets:
            self._since = self._clock()
        self._offsets = offsets
        return behind

    @property
    def lag_seconds(self) -> float:
        """How long the oldest byte not yet committed has waited; 0 when there is none."""
        behind = self.lag_bytes
        return self._clock() - self._since if behind and self._since is not None else 0.0


def _cursors(path: Path) -> list[Cursor]:
    try:
        connection = open_reader(path)
        if connection is None:
            return []
        try:
            return load_cursors(connection)
        finally:
            connection.close()
    except sqlite3.Error:
        return []  # it is being made, or is broken: its own process says so


def _size(cursor: Cursor) -> int:
    """The size of a plain file that is still the one the cursor speaks of; else what is done of it."""
    try:
        found = Path(cursor.path).stat()
    except OSError:
        return cursor.offset
    same = (found.st_dev, found.st_ino) == (cursor.device, cursor.inode)
    return found.st_size if same and not cursor.path.endswith(PACKED) else cursor.offset
