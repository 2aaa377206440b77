"""`measure.db`: the numbers of all tables and the cursors, saved together and loaded again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import structlog

from logproc.alerts.alert import Alert
from logproc.alerts.judge import Judge
from logproc.alerts.record import SCHEMA as ALERTS
from logproc.measure.bucket_journal import BUCKETS, CLEAREST, STRETCHES, BucketJournal
from logproc.measure.servers import Server, Servers
from logproc.measure.table import Table
from logproc.measure.totals import Totals
from logproc.state import Database, load_cursors, save_cursors
from logproc.tailing.block import Cursor

log = structlog.get_logger("logproc.measure")

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS metrics (name TEXT PRIMARY KEY, edges TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
    metric TEXT NOT NULL, row INTEGER NOT NULL, labels TEXT NOT NULL, cells BLOB NOT NULL, PRIMARY KEY (metric, row)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS servers (host TEXT, pid TEXT, server BLOB NOT NULL, PRIMARY KEY (host, pid))
STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""
MIGRATIONS: Final = (BUCKETS + ALERTS, CLEAREST, STRETCHES)
_NEW_SERIES: Final = "INSERT OR REPLACE INTO series (cells, metric, row, labels) VALUES (?, ?, ?, ?)"
_KNOWN_SERIES: Final = """
    INSERT INTO series (metric, row, labels, cells)
    SELECT :metric, value, '', substr(:cells, 1 + :width * key, :width) FROM json_each(:rows) WHERE true
    ON CONFLICT (metric, row) DO UPDATE SET cells = excluded.cells
"""
"""All changed rows of a table, which are there, in one step. At each step SQLite lets other threads go first, and many
steps would wait as many times for one that makes a page of metrics.
"""
_PUT_FACT: Final = (
    "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_PUT_SERVER: Final = (
    "INSERT INTO servers (host, pid, server) VALUES (?, ?, ?) "
    "ON CONFLICT (host, pid) DO UPDATE SET server = excluded.server"
)


class Journal:
    """The database of `measure`.

    Raises:
        StateLockedError, StateBrokenError: see `state.Database`.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, schema=SCHEMA + BUCKETS + ALERTS + CLEAREST + STRETCHES, migrations=MIGRATIONS)
        self._connection = self._database.connection
        self._buckets = BucketJournal()
        self._facts: dict[str, bytes] = {}
        """As they are stored."""

    def load(self, totals: Totals, servers: Servers, judge: Judge) -> None:
        """Fill the totals with what was committed. A histogram whose edges changed starts anew, and that is said.

        Raises:
            StateBrokenError: the file cannot be read.
        """
        with self._database.refusing():
            self._load(totals, servers, judge)

    def _load(self, totals: Totals, servers: Servers, judge: Judge) -> None:
        stored_edges = dict(self._connection.execute("SELECT name, edges FROM metrics"))
        for name, table in totals.tables.items():
            edges = json.dumps(table.metric.edges)
            if stored_edges.get(name) != edges:
                with self._database.transaction() as connection:
                    if name in stored_edges:
                        log.warning("the bucket edges were changed: this histogram starts anew", metric=name)
                        connection.execute("DELETE FROM series WHERE metric = ?", (name,))
                    connection.execute("INSERT OR REPLACE INTO metrics (name, edges) VALUES (?, ?)", (name, edges))
            self._load_table(table)
        facts = dict(self._connection.execute("SELECT name, value FROM facts"))
        for name, bins in (("duration_bins", totals.duration_bins), ("ttft_bins", totals.ttft_bins)):
            if name in facts:
                bins[:] = np.frombuffer(facts[name], np.int64)
        if "longest_ms" in facts:
            totals.longest_ms = json.loads(facts["longest_ms"])
        totals.newest_s = json.loads(facts.get("newest_s", b"{}"))
        self._buckets.load(self._connection, facts, judge)
        totals.gatherer.know(judge.history.first)
        for host, pid, blob in self._connection.execute("SELECT host, pid, server FROM servers"):
            servers.all[host, pid] = msgspec.msgpack.decode(blob, type=Server)

    def _load_table(self, table: Table) -> None:
        query = "SELECT row, labels, cells FROM series WHERE metric = ? ORDER BY row"
        for row, labels, cells in self._connection.execute(query, (table.metric.name,)):
            place = table.admit(tuple(json.loads(labels)))
            assert place == row, "rows are stored without gaps"
            table.cells[row] = np.frombuffer(cells, np.int64)
        table.stored()

    def cursors(self) -> list[Cursor]:
        """How far every file is done."""
        return load_cursors(self._connection)

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever committed here: the very first start of this state directory."""
        return "started" not in dict(self._connection.execute("SELECT name, value FROM facts WHERE name = 'started'"))

    @property
    def rejected_length(self) -> int:
        """The committed length of `rejected/measure.jsonl`, bytes."""
        row = self._connection.execute("SELECT value FROM facts WHERE name = 'rejected_length'").fetchone()
        return int(row[0]) if row else 0

    def correct_rejected_length(self, length: int) -> None:
        """At the start: the file is shorter than known. Raises StateBrokenError."""
        with self._database.refusing(), self._database.transaction() as connection:
            connection.execute(_PUT_FACT, ("rejected_length", str(length).encode()))

    def save(
        self,
        totals: Totals,
        servers: Servers,
        cursors: Iterable[Cursor],
        rejected_length: int,
        dropped: Iterable[int] = (),
        *,
        judge: Judge,
        entries: Iterable[Alert] = (),
    ) -> None:
        """Everything that changed, and the cursors, in one transaction. Raises sqlite3.Error: then nothing is saved."""
        with self._database.transaction() as connection:
            for name, table in totals.tables.items():
                known, new = table.dirty()
                if known:
                    cells = table.cells[known]
                    width = cells[0].nbytes
                    changed = {"metric": name, "rows": json.dumps(known), "cells": cells.tobytes(), "width": width}
                    connection.execute(_KNOWN_SERIES, changed)
                if new:
                    labels = [(table.cells[row].tobytes(), name, row, json.dumps(table.labels[row])) for row in new]
                    connection.executemany(_NEW_SERIES, labels)
            facts = self._save_facts(connection, totals, rejected_length)
            self._buckets.save(connection, judge, entries)
            heard = servers.dirty & servers.all.keys()
            connection.executemany(_PUT_SERVER, [(*key, msgspec.msgpack.encode(servers.all[key])) for key in heard])
            connection.executemany("DELETE FROM servers WHERE host = ? AND pid = ?", servers.dirty - heard)
            save_cursors(connection, cursors, dropped)
        self._facts |= facts
        self._buckets.saved(judge)

    def _save_facts(self, connection: sqlite3.Connection, totals: Totals, rejected_length: int) -> dict[str, bytes]:
        """Write the facts that differ from what is stored; these."""
        facts = {
            "started": b"1",
            "rejected_length": str(rejected_length).encode(),
            "duration_bins": totals.duration_bins.tobytes(),
            "ttft_bins": totals.ttft_bins.tobytes(),
            "longest_ms": json.dumps(totals.longest_ms).encode(),
            "newest_s": json.dumps(totals.newest_s).encode(),
        }
        changed = {name: value for name, value in facts.items() if self._facts.get(name) != value}
        connection.executemany(_PUT_FACT, changed.items())
        return changed

    def close(self) -> None:
        """Let another process have it."""
        self._database.close()
