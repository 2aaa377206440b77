"""The consumer `index`: blocks → documents → store; its cursors move only after the store has acknowledged."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from logproc.consumer import PausedError
from logproc.settings import Settings, SqliteStore
from logproc.state import Database, load_cursors, open_reader, save_cursors
from logproc.stores import sqlite
from logproc.stores.document_reader import DocumentReader
from logproc.stores.store import Store, StoreUnavailableError
from logproc.tailing.block import Block, Cursor

SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS counters (
        name TEXT NOT NULL, store TEXT NOT NULL, result TEXT NOT NULL, value INTEGER NOT NULL,
        PRIMARY KEY (name, store, result)
    ) STRICT, WITHOUT ROWID;
"""

_Key = tuple[str, str, str]
_ROUND: Final = ("round", "", "")
_UNCOUNTED: Final = ("uncounted", "", "")
"""No metrics, but kept with the counters: how they and the documents in the store belong together after a stop."""
_Samples = list[tuple[Mapping[str, str], float]]


def now_ms() -> int:
    """The wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


class Index:
    """Owns `index.db` and `documents/` in the state directory.

    A stop at any moment loses nothing and stores nothing twice: lines that were stored after the last commit are read
    again, and their ids are there already. The store knows how many that were, so they are counted as stored all the
    same.

    Raises:
        StateLockedError, StateBrokenError: see `state.Database`.
    """

    name = "index"
    commit_every_s = 1.0

    def __init__(
        self, settings: Settings, state: Path, store: Store | None = None, clock: Callable[[], int] = now_ms
    ) -> None:
        self._database = Database(state / "index.db", schema=SCHEMA)
        if store is None:
            assert isinstance(settings.store, SqliteStore)
            store = sqlite.SqliteStore(state / "documents", settings.store.keep_days, clock)
        self._store = store
        self._reader = DocumentReader(settings.service, settings.thresholds)
        self._clock = clock
        self._counters: Counter[_Key] = Counter()
        with self._database.refusing():
            rows = self._database.connection.execute("SELECT name, store, result, value FROM counters").fetchall()
        self.is_new = not rows
        for name, kind, result in _declared(store.name):
            self._counters[name, kind, result] = 0
        for name, kind, result, value in rows:
            self._counters[name, kind, result] = value
        # Rounds are numbered on from the clock, so that no number comes again should `index.db` begin anew.
        self._counters[_ROUND] = self._counters[_ROUND] or clock()
        store.resume(self._counters[_ROUND], self._counters[_UNCOUNTED])

    def cursors(self) -> list[Cursor]:
        """Where to go on."""
        return load_cursors(self._database.connection)

    def take(self, block: Block) -> None:
        """Hand the documents of one block to the store.

        Raises:
            PausedError: the store cannot take them now; nothing of the block was counted.
        """
        found = self._reader.read(block, self._clock())
        try:
            written = self._store.write(found.requests, found.servers)
        except StoreUnavailableError as error:
            raise PausedError(str(error)) from error
        self._counters["logproc_lines", "", "ok"] += found.good_lines
        self._counters["logproc_lines", "", "rejected"] += found.rejected_lines
        self._counters["logproc_lines", "", "unrelated"] += block.unrelated
        self._counters["logproc_bytes", "", ""] += block.end - block.start
        for result, count in written._asdict().items():
            self._counters["logproc_documents", self._store.name, result] += count

    def commit(
        self,
        cursors: Sequence[Cursor],
        events: Mapping[str, int],  # noqa: ARG002 - `measure` tells them
        dropped: Sequence[int] = (),
    ) -> None:
        """Make sure of the documents, then write the cursors and the counters in one transaction.

        Raises:
            PausedError: the store or `index.db` cannot be written; nothing was committed.
        """
        try:
            self._store.settle()
            counters = {**self._counters, _ROUND: self._counters[_ROUND] + 1, _UNCOUNTED: self._store.uncounted}
            with self._database.transaction() as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO counters (name, store, result, value) VALUES (?, ?, ?, ?)",
                    [(*key, value) for key, value in counters.items()],
                )
                save_cursors(connection, cursors, dropped)
        except StoreUnavailableError as error:
            raise PausedError(str(error)) from error
        except sqlite3.Error as error:
            raise PausedError(f"cannot write {self._database.path}: {error}") from error
        self._counters[_ROUND] += 1
        self._store.next_round(self._counters[_ROUND])
        self.is_new = False

    def close(self) -> None:
        """Let go of the store and the database."""
        self._store.close()
        self._database.close()


def _declared(store: str) -> list[_Key]:
    """Every counter there is, so that the first event of each is seen as an increase."""
    return [
        *(("logproc_lines", "", result) for result in ("ok", "rejected", "unrelated")),
        ("logproc_bytes", "", ""),
        *(("logproc_documents", store, result) for result in ("stored", "duplicate", "rejected", "expired")),
    ]


def read_counters(path: Path) -> dict[str, _Samples]:
    """The committed counters of an `index.db`, from any process, by their metric's name without `_total`.

    Empty when there is no such file, or it cannot be read now.
    """
    found: dict[str, _Samples] = {}
    try:
        connection = open_reader(path)
        if connection is None:
            return found
        try:
            rows = connection.execute(
                "SELECT name, store, result, value FROM counters WHERE name LIKE 'logproc%'"
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return found
    for name, store, result, value in rows:
        labels = {"store": store} if store else {"consumer": "index"}
        if result:
            labels["result"] = result
        found.setdefault(name, []).append((labels, value))
    return found
