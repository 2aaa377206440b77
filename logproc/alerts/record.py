"""Where the alerts are on record: a table of `measure.db`, written by `measure` alone, read by everyone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from logproc.alerts.alert import Alert
from logproc.state import open_reader

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS alerts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, time TEXT NOT NULL, entry BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS alerts_by_id ON alerts (id);
CREATE INDEX IF NOT EXISTS alerts_by_time ON alerts (time);
"""
"""`seq` numbers the entries in the order in which they were committed; `entry` is JSON."""

_decode: Final = msgspec.json.Decoder(Alert).decode


def append(connection: sqlite3.Connection, entries: Iterable[Alert]) -> None:
    """Add entries, inside the caller's transaction."""
    connection.executemany(
        "INSERT INTO alerts (id, time, entry) VALUES (?, ?, ?)",
        [(each.id, each.time, msgspec.json.encode(each)) for each in entries],
    )


def after(path: Path, seq: int, limit: int = 1000) -> list[tuple[int, Alert]]:
    """The committed entries of a `measure.db` that come after `seq`, oldest first, each with its own `seq`.

    From any thread or process; empty when there is no such file yet.

    Raises:
        sqlite3.Error: the file cannot be read now.
    """
    connection = open_reader(path)
    if connection is None:
        return []
    try:
        rows = connection.execute("SELECT seq, entry FROM alerts WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
        return [(number, _decode(entry)) for number, entry in rows]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # written by a version without alerts, not yet opened by this one
            return []
        raise
    finally:
        connection.close()


def newest(path: Path) -> int:
    """The highest `seq` that is committed; 0 where there is none.

    Raises:
        sqlite3.Error: the file cannot be read now.
    """
    connection = open_reader(path)
    if connection is None:
        return 0
    try:
        (seq,) = connection.execute("SELECT ifnull(max(seq), 0) FROM alerts").fetchone()
        return int(seq)
    finally:
        connection.close()
