"""Documents on this machine: one SQLite file a UTC day, written by one process, read by any number."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from logproc.ids import id_times
from logproc.record import DAY_MS
from logproc.stores import rollups
from logproc.stores.documents import Documents
from logproc.stores.sqlite_schema import (
    APPLICATION_ID,
    NOTE_CHANGE,
    NOTE_UNCOUNTED,
    REQUESTS,
    SERVERS,
    SPAN_MS,
    VERSION,
    Table,
)
from logproc.stores.store import Settled, StoreUnavailableError, Written

MOST_OPEN_FILES: Final = 32
"""A log whose lines leap about in time touches many days; so many stay open."""

MOST_TEXTS: Final = 20_000
"""Texts that one file numbers; later ones stand in the rows themselves."""

LONGEST_TEXT: Final = 256
"""A longer text (characters) hardly repeats: it stands in the row itself."""

SERVERS_FILE: Final = "servers.db"
_DAY_FILE: Final = re.compile(r"\d{4}-\d\d-\d\d\.db")


def day_path(folder: Path, day: int) -> Path:
    """The file of a day, counted since 1970."""
    return folder / f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}.db"


def day_files(folder: Path) -> list[tuple[int, Path]]:
    """Every day that has a file, counted since 1970, oldest first."""
    found = []
    for path in folder.glob("????-??-??.db"):
        if _DAY_FILE.fullmatch(path.name):
            with contextlib.suppress(ValueError):
                when = datetime.strptime(path.stem, "%Y-%m-%d").replace(tzinfo=UTC)
                found.append((int(when.timestamp()) // 86_400, path))
    return sorted(found)


class SqliteStore:
    """Writes documents into `folder`. Whoever has one holds the lock of `index.db`: there is no other writer.

    `keep_days` full days before today are kept, older ones are dropped whole, and only their minutes remain (see
    `rollups.py`); `now_ms` is the wall clock.
    """

    name = "sqlite"
    commit_every_s = 1.0
    rest_s = 0.0

    def __init__(self, folder: Path, keep_days: int, now_ms: Callable[[], int]) -> None:
        self._folder = folder
        self._keep_days = keep_days
        self._now_ms = now_ms
        self._files: OrderedDict[Path, _File] = OrderedDict()
        self._unsettled: set[Path] = set()
        self._dropped_before: int | None = None
        self._closed_before = 0
        self._round: int | None = None
        self.uncounted = 0

    def resume(self, round_number: int, uncounted: int) -> None:
        """Go on in a round; each file knows what was stored there in it, for it was committed with the documents."""
        self.uncounted = uncounted
        for path in (*(path for _, path in day_files(self._folder)), self._folder / SERVERS_FILE):
            if path.exists():
                with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
                    rows = connection.execute("SELECT stored FROM uncounted WHERE round = ?", (round_number,))
                    self.uncounted += sum(stored for (stored,) in rows)
        self._round = round_number

    def next_round(self, round_number: int) -> None:
        """What is stored from now on belongs to this round. Without a round nothing is noted."""
        self._round = round_number

    def write(self, requests: Sequence[Documents], servers: Sequence[Documents]) -> Written:
        """Keep these documents; those that are there already are counted, not written again.

        All are committed, or (a file of several failing at the very end excepted) none; a repeat is harmless.

        Raises:
            StoreUnavailableError: a file is broken, or the disk full.
        """
        first_day = self._drop_before(self._now_ms() // DAY_MS - self._keep_days)
        given = expired = 0
        touched: list[_File] = []
        try:
            for path, table, documents in self._by_file(requests, servers):
                if documents.times_ms[0] < first_day * DAY_MS:
                    expired += len(documents)
                    continue
                with self._blamed_on(path):
                    file = self._file(path, table)
                    if file not in touched:
                        file.begin()
                        touched.append(file)
                    file.insert(documents)
                given += len(documents)
            while touched:
                with self._blamed_on(touched[-1].path):
                    self.uncounted += touched[-1].commit(self._round)
                self._unsettled.add(touched.pop().path)
        finally:
            for file in touched:
                self._forget(file.path)
        while len(self._files) > MOST_OPEN_FILES:
            self._forget(next(iter(self._files)))
        stored = min(given, self.uncounted)
        self.uncounted -= stored
        return Written(stored, given - stored, expired)

    def settle(self) -> Settled:
        """Return when everything written so far would survive a power cut; `write` has told everything else.

        Raises:
            StoreUnavailableError: the disk does not take it.
        """
        while self._unsettled:
            path = next(iter(self._unsettled))
            with (
                self._blamed_on(path),
                contextlib.suppress(FileNotFoundError),
            ):  # its log was taken in, or the day is over
                _sync(Path(f"{path}-wal"))
            self._unsettled.discard(path)
        return Settled()

    def close(self) -> None:
        """Close every file."""
        for path in list(self._files):
            self._forget(path)

    def _by_file(
        self, requests: Sequence[Documents], servers: Sequence[Documents]
    ) -> Iterator[tuple[Path, Table, Documents]]:
        """Documents by the file they belong to; those of one day that is over long since come alone."""
        for documents in requests:
            days = documents.times_ms // DAY_MS
            first, last = int(days.min()), int(days.max())
            if first == last:
                yield day_path(self._folder, first), REQUESTS, documents
                continue
            for day in np.unique(days).tolist():
                yield day_path(self._folder, day), REQUESTS, documents.take(np.flatnonzero(days == day).tolist())
        for documents in servers:
            days = documents.times_ms // DAY_MS
            for day in np.unique(days).tolist():
                yield (
                    self._folder / SERVERS_FILE,
                    SERVERS,
                    documents.take(np.flatnonzero(days == day).tolist()),
                )

    def _file(self, path: Path, table: Table) -> _File:
        file = self._files.get(path)
        if file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._files[path] = _File(path, table)
        self._files.move_to_end(path)
        return file

    def _forget(self, path: Path) -> None:
        """Close a file; what it has not committed is undone."""
        file = self._files.pop(path, None)
        if file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()

    @contextmanager
    def _blamed_on(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._forget(path)
            raise StoreUnavailableError(f"{path}: {error}. {_advice(path, error)}") from error

    def _drop_before(self, first_day: int) -> int:
        """Roll up the days before `first_day`, and delete their files, once a day; the first day that is open."""
        if self._dropped_before == first_day:
            return max(first_day, self._closed_before)
        if self._folder.is_dir():
            with self._blamed_on(self._folder / rollups.ROLLUPS_FILE):
                self._closed_before = rollups.closed_before(self._folder)
        for day, path in day_files(self._folder):
            if day < max(first_day, self._closed_before):
                with self._blamed_on(path):
                    self._forget(path)
                    rollups.close_day(self._folder, day, path)
                    self._closed_before = max(self._closed_before, day + 1)
                    # The file itself goes last: a stop in between leaves no log of changes without its file.
                    for each in (Path(f"{path}-wal"), Path(f"{path}-shm"), path):
                        each.unlink(missing_ok=True)
        servers = self._folder / SERVERS_FILE
        if servers.exists():
            with self._blamed_on(servers):
                self._file(servers, SERVERS).drop_before(first_day * DAY_MS)
        self._dropped_before = first_day
        return max(first_day, self._closed_before)


def _advice(path: Path, error: Exception) -> str:
    text = str(error)
    if "full" in text or "No space" in text:
        return "Make room on the disk; nothing is lost meanwhile."
    if "not a database" in text or "malformed" in text or "another program" in text:
        return f"Move it away (mv {path} {path}.broken); other days are not touched, nothing is lost meanwhile."
    return "It is tried again until it works; nothing is lost meanwhile."


class _File:
    """One file, open for writing."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path
        self._table = table
        is_new = not path.exists()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise
        if is_new:
            _sync(path.parent)

    def _prepare(self) -> None:
        run = self._connection.execute
        (application,) = run("PRAGMA application_id").fetchone()
        (version,) = run("PRAGMA user_version").fetchone()
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != APPLICATION_ID:
            raise sqlite3.DatabaseError("it was written by another program")
        if version > VERSION:
            raise sqlite3.DatabaseError(f"it was written by a newer logproc (version {version}, not {VERSION})")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")  # `settle` makes sure
        if version < VERSION:
            self._connection.executescript(
                f"BEGIN; {self._table.schema()} PRAGMA application_id={APPLICATION_ID};"
                f" PRAGMA user_version={VERSION}; COMMIT;"
            )
        self._numbers = _Numbers(self._connection)
        (skew,) = run("SELECT max(ms) FROM skew").fetchone()
        self._skew_ms: int = skew or 0
        self._added = 0
        self._spans: set[int] = set()

    def begin(self) -> None:
        """Begin a transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._added = 0
        self._spans.clear()

    def insert(self, documents: Documents) -> None:
        """Add what is not there yet."""
        names, columns = ["id", "time_ms"], [documents.ids, documents.times_ms.tolist()]
        for field in self._table.fields:
            values = documents.columns.get(field.column)
            if values is not None:
                names.append(field.column)
                columns.append(list(map(self._numbers.__getitem__, values)) if field.is_numbered else values)
        self._numbers.save()
        self._note_skew(documents)
        before = self._connection.total_changes
        self._connection.executemany(self._table.insert(names), zip(*columns, strict=True))
        added = self._connection.total_changes - before
        if added:
            self._spans.update(np.unique(documents.times_ms // SPAN_MS).tolist())
        self._added += added

    def _note_skew(self, documents: Documents) -> None:
        """Remember the farthest that an id's time lies from its document's: a range of time is a range of ids."""
        prefixes = np.frombuffer(b"".join(documents.ids), np.uint8).reshape(len(documents), 16)[:, :6]
        skew = int(np.abs(id_times(prefixes) - documents.times_ms).max())
        if skew > self._skew_ms:
            self._connection.execute("INSERT INTO skew (ms) VALUES (?)", (skew,))
            self._skew_ms = skew

    def commit(self, round_number: int | None) -> int:
        """End the transaction, and note with it what was added, when, and in which round; how many documents it was."""
        self._connection.executemany(NOTE_CHANGE, [(span,) for span in self._spans])
        if self._added and round_number is not None:
            self._connection.execute(NOTE_UNCOUNTED, (round_number, self._added))
        self._connection.execute("COMMIT")
        return self._added

    def drop_before(self, time_ms: int) -> None:
        """Delete what is older."""
        self._connection.execute(f"DELETE FROM {self._table.stored} WHERE time_ms < ?", (time_ms,))  # noqa: S608

    def close(self) -> None:
        """Close the file, undoing what is not committed."""
        self._connection.close()


class _Numbers(dict[str | None, Any]):
    """Text → its number in this file; a text that gets no number stands for itself."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection.execute("SELECT text, number FROM texts"))
        self._connection = connection
        self._count = len(self)
        self._new: list[tuple[int, str]] = []
        self[None] = None

    def __missing__(self, text: str) -> int | str:
        if self._count >= MOST_TEXTS or len(text) > LONGEST_TEXT:
            return text
        number = self[text] = self._count
        self._count += 1
        self._new.append((number, text))
        return number

    def save(self) -> None:
        """Write the new numbers inside the transaction; should that fail, the file must be opened anew."""
        if self._new:
            self._connection.executemany("INSERT INTO texts (number, text) VALUES (?, ?)", self._new)
            self._new = []


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
