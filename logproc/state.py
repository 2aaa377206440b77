"""A consumer's own database: one SQLite file, one writer, refused with a clear message when it is not ours."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from logproc.tailing.block import Cursor

APPLICATION_ID: Final = 0x6C6F6770  # "logp"

CURSORS: Final = "CREATE TABLE IF NOT EXISTS cursors (key INTEGER PRIMARY KEY, cursor BLOB NOT NULL) STRICT;"
"""Every consumer's database has this table; it is written in the same transaction as what the consumer made."""


class StateLockedError(Exception):
    """Another process writes this database."""


class StateBrokenError(Exception):
    """The file is no database of ours, or cannot be read."""


class Database:
    """A SQLite file in WAL mode that only this process writes.

    `schema` makes a new one. Each of `migrations` is a script that brings one version to the next, the first of them
    version 1 to version 2, so that the newest version is one more than there are migrations.

    Raises:
        StateLockedError: another process holds it; the message names its pid.
        StateBrokenError: the file is damaged, foreign, or of a newer version; it is never replaced silently.
    """

    def __init__(self, path: Path, *, schema: str, migrations: Sequence[str] = ()) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StateBrokenError(f"cannot open {path}: {error.strerror}. Check `state` in the settings.") from error
        self._take_lock()
        try:
            self.connection = self._open(schema + CURSORS, migrations)
        except BaseException:
            os.close(self._lock)
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            raise StateLockedError(
                f"{self.path} is in use by process {holder}. Stop it, or give this one another `state` directory."
            ) from None
        with suppress(OSError):  # on a full disk the lock holds all the same, and only its holder's pid is missing
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _open(self, schema: str, migrations: Sequence[str]) -> sqlite3.Connection:
        with self.refusing():
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection, schema, migrations)
            except BaseException:
                connection.close()
                raise
            return connection

    def _prepare(self, connection: sqlite3.Connection, schema: str, migrations: Sequence[str]) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        newest = 1 + len(migrations)
        if tables and application != APPLICATION_ID:
            raise StateBrokenError(f"{self.path} is no state file of logproc. {self._way_out()}")
        if found > newest:
            raise StateBrokenError(
                f"{self.path} was written by a newer logproc (version {found}, this one knows {newest}). "
                f"Install that version again. {self._way_out()}"
            )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if found < newest:
            steps = migrations[found - 1 :] if found else [schema]
            marks = f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={newest};"
            connection.executescript(f"BEGIN IMMEDIATE; {' '.join(steps)} {marks} COMMIT;")

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Say of what SQLite cannot read or write at the start why it is refused, and what helps.

        Raises:
            StateBrokenError: in place of sqlite3.Error.
        """
        try:
            yield
        except sqlite3.OperationalError as error:  # the file may be well: the disk, the permissions, the memory
            raise StateBrokenError(
                f"{self.path} cannot be opened: {error}. Nothing was changed. Is the disk full, or not writable?"
            ) from error
        except sqlite3.Error as error:
            raise StateBrokenError(f"{self.path} cannot be read: {error}. {self._way_out()}") from error

    def _way_out(self) -> str:
        return f"To begin anew, move it away: mv {self.path} {self.path}.old (counters then start at 0)."

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file and let another process have it."""
        self.connection.close()
        os.close(self._lock)


def open_reader(path: Path) -> sqlite3.Connection | None:
    """A read-only connection to a consumer's database, from any thread or process; None when there is no such file."""
    if not path.exists():
        return None
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False, isolation_level=None
    )
    connection.execute("PRAGMA query_only=1")
    return connection


def save_cursors(connection: sqlite3.Connection, cursors: Iterable[Cursor], dropped: Iterable[int] = ()) -> None:
    """Write cursors, and forget the dropped ones, inside the caller's transaction."""
    connection.executemany("DELETE FROM cursors WHERE key = ?", [(key,) for key in dropped])
    connection.executemany(
        "INSERT INTO cursors (key, cursor) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET cursor = excluded.cursor",
        [(cursor.key, msgspec.msgpack.encode(cursor)) for cursor in cursors],
    )


def load_cursors(connection: sqlite3.Connection) -> list[Cursor]:
    """Every cursor of this database, by key."""
    rows = connection.execute("SELECT cursor FROM cursors ORDER BY key")
    return [msgspec.msgpack.decode(blob, type=Cursor) for (blob,) in rows]
