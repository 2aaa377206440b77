"""`rollups.db`: the minutes of each day whose documents were dropped; a day is in its own file or here, never both."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from logproc.record import DAY_MS
from logproc.stores.archive import Question
from logproc.stores.rollup import Rollup, packed, put_together, unpacked
from logproc.stores.sqlite_reading import NotOursError, has_documents, open_to_read
from logproc.stores.sqlite_tally import rollup

ROLLUPS_FILE: Final = "rollups.db"
APPLICATION_ID: Final = 0x6C6F6772  # "logr"
VERSION: Final = 1

_SCHEMA: Final = f"""
    BEGIN;
    CREATE TABLE IF NOT EXISTS days (
        day INTEGER PRIMARY KEY, requests INTEGER NOT NULL, whole BLOB NOT NULL, minutes BLOB NOT NULL
    ) STRICT;
    PRAGMA application_id={APPLICATION_ID};
    PRAGMA user_version={VERSION};
    COMMIT;
"""

log = logging.getLogger(__name__)


def closed_before(folder: Path) -> int:
    """The day (counted since 1970) before which every day is over: its minutes are kept, and nothing is added to it.

    A file of such a day that is still there no longer counts. Raises sqlite3.Error.
    """
    with contextlib.closing(_open_to_read(folder)) as connection:
        (newest,) = connection.execute("SELECT max(day) FROM days").fetchone()
    return 0 if newest is None else newest + 1


def read(folder: Path, question: Question, *, by_minute: bool) -> Iterator[Rollup]:
    """The days of the question's range of time that are kept as minutes, oldest first; nothing else of it is looked at.

    Of a day that lies wholly in the range all minutes come put together, unless `by_minute`. Raises sqlite3.Error.
    """
    since, until = question.since_ms or 0, question.until_ms
    query = """
        SELECT iif(:by_minute OR day * :length < :since OR (day + 1) * :length > ifnull(:until, 9e18), minutes, whole)
        FROM days WHERE (day + 1) * :length > :since AND day * :length < ifnull(:until, 9e18) ORDER BY day
    """
    given = {"by_minute": by_minute, "since": since, "until": until, "length": DAY_MS}
    with contextlib.closing(_open_to_read(folder)) as connection:
        for (data,) in connection.execute(query, given):
            yield unpacked(data)


def extent(folder: Path) -> tuple[int, int] | None:
    """The oldest and the newest day that is kept as minutes; None when there is none. Raises sqlite3.Error."""
    with contextlib.closing(_open_to_read(folder)) as connection:
        oldest, newest = connection.execute("SELECT min(day), max(day) FROM days").fetchone()
    return None if oldest is None else (oldest, newest)


def close_day(folder: Path, day: int, path: Path) -> None:
    """Keep the minutes of a day whose file is about to be dropped; returns when that would survive a power cut.

    After that the file counts no more, whether it is still there or not, so that a stop at any moment leaves the day
    either whole or rolled up. A file that cannot be understood is moved aside: no minutes can be made of it.

    Raises:
        sqlite3.Error, OSError: not now.
    """
    with contextlib.closing(sqlite3.connect(folder / ROLLUPS_FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise sqlite3.DatabaseError(f"{ROLLUPS_FILE} was written by a newer logproc")
        if version < VERSION:
            connection.executescript(_SCHEMA)
        if connection.execute("SELECT 1 FROM days WHERE day = ?", (day,)).fetchone():
            return
        try:
            made = _rollup_of(path, day)
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, NotOursError) as error:
            aside = path.with_name(f"{path.name}.broken")
            log.warning("%s cannot be read (%s): no minutes of it are kept, and it is moved to %s", path, error, aside)
            path.replace(aside)
            return
        if made is not None:
            connection.execute(
                "INSERT INTO days (day, requests, whole, minutes) VALUES (?, ?, ?, ?)",
                (day, int(made.counts[:, 0].sum()), packed(put_together(made)), packed(made)),
            )


def _rollup_of(path: Path, day: int) -> Rollup | None:
    with closing(open_to_read(path)) as connection:
        return rollup(connection, day, Question()) if has_documents(path, connection) else None


def _open_to_read(folder: Path) -> sqlite3.Connection:
    """A connection to what is there; to an empty database where there is nothing yet."""
    path = folder / ROLLUPS_FILE
    connection = open_to_read(path) if path.exists() else sqlite3.connect(":memory:", isolation_level=None)
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'days'").fetchone():
        connection.close()
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.executescript(_SCHEMA)
    return connection
