"""The consumer `index`: blocks → documents → store; its cursors move only after the store has acknowledged."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from logproc.clock import now_ms
from logproc.consumer import NotYetError, PausedError
from logproc.exact_file import ExactFile
from logproc.settings import Settings
from logproc.state import Database, StateBrokenError, load_cursors, open_reader, save_cursors
from logproc.stores.document_reader import DocumentReader
from logproc.stores.documents import time_text
from logproc.stores.store import Refused, Store, StoreBusyError, StoreUnavailableError, Written
from logproc.stores.stores import open_store
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
_REJECTED_LENGTH: Final = ("rejected_length", "", "")
"""No metrics, but kept with the counters: how they, the documents in the store and the file of the rejected ones belong
together after a stop."""
_Samples = list[tuple[Mapping[str, str], float]]


class Index:
    """Owns `index.db`, `documents/` and `rejected/index.jsonl` in the state directory.

    A stop at any moment loses nothing and stores nothing twice: lines that were stored after the last commit are read
    again, and their ids are there already. The store knows how many that were, so they are counted as stored all the
    same.

    Raises:
        StateLockedError, StateBrokenError: see `state.Database`.
        ClientMissingError, SecretError: see `elasticsearch_client.Connection`.
    """

    name = "index"

    def __init__(
        self, settings: Settings, state: Path, store: Store | None = None, clock: Callable[[], int] = now_ms
    ) -> None:
        self._database = Database(state / "index.db", schema=SCHEMA)
        self._store = store = store or open_store(settings, state, clock)
        self.commit_every_s, self.rest_s = store.commit_every_s, store.rest_s
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
        self._rejected = self._open_rejected(state / "rejected" / "index.jsonl")
        # Rounds are numbered on from the clock, so that no number comes again should `index.db` begin anew.
        self._counters[_ROUND] = self._counters[_ROUND] or clock()
        store.resume(self._counters[_ROUND], self._counters[_UNCOUNTED])

    def _open_rejected(self, path: Path) -> ExactFile:
        known = self._counters[_REJECTED_LENGTH]
        try:
            file = ExactFile(path, known)
        except OSError as error:
            raise StateBrokenError(f"cannot open {path}: {error.strerror}") from error
        if file.length != known:
            with self._database.refusing(), self._database.transaction() as connection:
                self._save(connection, [(_REJECTED_LENGTH, file.length)])
        return file

    def cursors(self) -> list[Cursor]:
        """Where to go on."""
        return load_cursors(self._database.connection)

    def take(self, block: Block) -> None:
        """Hand the documents of one block to the store.

        Raises:
            PausedError, NotYetError: the store cannot take them now; nothing of the block was counted.
        """
        found = self._reader.read(block, self._clock())
        try:
            written = self._store.write(found.requests, found.servers)
        except StoreUnavailableError as error:
            raise PausedError(str(error)) from error
        except StoreBusyError as error:
            raise NotYetError from error
        self._counters["logproc_lines", "", "ok"] += found.good_lines
        self._counters["logproc_lines", "", "rejected"] += found.rejected_lines
        self._counters["logproc_lines", "", "unrelated"] += block.unrelated
        self._counters["logproc_bytes", "", ""] += block.end - block.start
        self._count(written)

    def advance(self, upto_ms: int) -> bool:  # noqa: ARG002 - documents do not go by log time
        """There is never anything to commit for that alone."""
        return False

    def commit(
        self,
        cursors: Sequence[Cursor],
        events: Mapping[str, int],  # noqa: ARG002 - `measure` tells them
        dropped: Sequence[int] = (),
    ) -> None:
        """Make sure of the documents, then write the cursors and the counters in one transaction.

        Raises:
            PausedError, NotYetError: the store or `index.db` cannot be written; nothing was committed.
        """
        try:
            settled = self._store.settle()
            self._count(settled.written)
            self._keep(settled.refused)
            length = self._rejected.write()
            counters = {
                **self._counters,
                _ROUND: self._counters[_ROUND] + 1,
                _UNCOUNTED: self._store.uncounted,
                _REJECTED_LENGTH: length,
            }
            with self._database.transaction() as connection:
                self._save(connection, counters.items())
                save_cursors(connection, cursors, dropped)
            self._rejected.committed()
            if self._rejected.is_full:
                self._rejected.rotate()
                with self._database.transaction() as connection:
                    self._save(connection, [(_REJECTED_LENGTH, 0)])
        except StoreUnavailableError as error:
            raise PausedError(str(error)) from error
        except StoreBusyError as error:
            raise NotYetError from error
        except OSError as error:
            raise PausedError(f"cannot write {self._rejected.path}: {error}") from error
        except sqlite3.Error as error:
            raise PausedError(f"cannot write {self._database.path}: {error}") from error
        self._counters[_ROUND] += 1
        self._store.next_round(self._counters[_ROUND])
        self.is_new = False

    def _count(self, written: Written) -> None:
        for result, count in written._asdict().items():
            self._counters["logproc_documents", self._store.name, result] += count

    def _keep(self, refused: Iterable[Refused]) -> None:
        time = time_text(self._clock())
        for each in refused:
            entry = {
                "time": time,
                "event_id": each.event_id,
                "error_type": each.error_type,
                "detail": each.detail,
                "document": msgspec.Raw(each.document),
            }
            self._rejected.append(msgspec.json.encode(entry))

    def _save(self, connection: sqlite3.Connection, counters: Iterable[tuple[_Key, int]]) -> None:
        connection.executemany(
            "INSERT OR REPLACE INTO counters (name, store, result, value) VALUES (?, ?, ?, ?)",
            [(*key, value) for key, value in counters],
        )

    def close(self) -> None:
        """Let go of the store and the database."""
        self._store.close()
        self._rejected.close()
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
