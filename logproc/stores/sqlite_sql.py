"""SQL over the documents of several days, which can read and do nothing else."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from logproc.ids import id_text
from logproc.stores.archive import Question
from logproc.stores.sqlite import SERVERS_FILE
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.sqlite_reading import address
from logproc.stores.sqlite_schema import REQUESTS, SERVERS, Table
from logproc.stores.store import StoreUnavailableError

_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)


class TooManyDaysError(Exception):
    """SQLite cannot look into so many files at once; the message says how many it can."""


def open_sql(archive: SqliteArchive, question: Question) -> sqlite3.Connection:
    """A connection in which `requests` and `servers` are the documents of the question's range of time.

    It can only read. Beside SQLite's own functions there are `event_id(id)` (text) and the aggregate
    `percentile(value, percent)`.

    Raises:
        TooManyDaysError: the range has too many days.
        StoreUnavailableError: a day's file cannot be read.
    """
    connection = sqlite3.connect(":memory:", uri=True, isolation_level=None)
    paths = archive.files(question)
    servers = archive.folder / SERVERS_FILE
    most = connection.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED) - 1
    if len(paths) > most:
        connection.close()
        raise TooManyDaysError(f"--sql can look into {most} days at once, and this range has {len(paths)}")
    try:
        connection.create_function("event_id", 1, _event_id, deterministic=True)
        connection.create_aggregate("percentile", 2, cast(Any, _Percentile))
        _attach(connection, REQUESTS, paths, question)
        _attach(connection, SERVERS, [servers] if servers.exists() else [], question)
        connection.execute("PRAGMA query_only=1")
        connection.set_progress_handler(lambda: 0, 100_000)  # Python looks for signals there: Ctrl-C ends it
        connection.set_authorizer(_authorize)
    except BaseException:
        connection.close()
        raise
    return connection


def _attach(connection: sqlite3.Connection, table: Table, paths: Sequence[Path], question: Question) -> None:
    parts = []
    bounds = [
        f"time_ms {sign} {moment:d}"
        for sign, moment in ((">=", question.since_ms), ("<", question.until_ms))
        if moment is not None
    ]
    where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
    for number, path in enumerate(paths):
        name = f"{table.name}_{number}"
        try:
            connection.execute(f"ATTACH ? AS {name}", (address(path),))
            (tables,) = connection.execute(f"SELECT count(*) FROM {name}.sqlite_master").fetchone()  # noqa: S608
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{path} cannot be read: {error}.") from error
        if tables:
            parts.append(f"SELECT * FROM {name}.{table.name}{where}")  # noqa: S608 - names of our own
    nothing = "SELECT " + ", ".join(f"NULL AS {field.column}" for field in table.fields) + " WHERE 0"
    connection.execute(f"CREATE TEMP VIEW {table.name} AS {' UNION ALL '.join(parts or [nothing])}")


def _authorize(action: int, *_: Any) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _event_id(value: Any) -> str | None:
    return id_text(value) if isinstance(value, bytes) else None


class _Percentile:
    """The aggregate `percentile(value, percent)`: the least value that so many percent do not exceed."""

    def __init__(self) -> None:
        self._values = array("d")
        self._percent = 50.0

    def step(self, value: float | None, percent: float) -> None:
        if value is not None:
            self._values.append(value)
        self._percent = percent

    def finalize(self) -> float | None:
        if not self._values:
            return None
        percent = min(max(self._percent, 0.0), 100.0)
        return float(np.percentile(np.frombuffer(self._values), percent, method="inverted_cdf"))
