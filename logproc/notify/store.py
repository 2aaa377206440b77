"""Alerts as documents in Elasticsearch: every entry once, also those that nobody is told of.

SQLite needs no such thing: with it the committed alerts in `measure.db` are the record that is searched.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import structlog

from logproc.alerts import record
from logproc.alerts.alert import Alert, entry_id
from logproc.decode import time_ms
from logproc.notify.deliveries import Deliveries
from logproc.record import DAY_MS
from logproc.settings import ElasticsearchStore
from logproc.stores.alert_documents import alert_document
from logproc.stores.elasticsearch_client import Connection
from logproc.stores.elasticsearch_guard import TemplateGuard
from logproc.stores.elasticsearch_names import Names, first_days
from logproc.stores.elasticsearch_sink import Bulk, Sink
from logproc.stores.store import StoreBusyError, StoreUnavailableError

log = structlog.get_logger("logproc.notify")

MOST: Final = 500
"""Entries a round."""
POLL_S: Final = 1.0

SCHEMA: Final = "CREATE TABLE IF NOT EXISTS documents (seq INTEGER NOT NULL, entry_id TEXT NOT NULL) STRICT"
"""One row in `notify.db`: the entry up to which Elasticsearch has acknowledged all."""

_FAR_MS: Final = 1 << 47
_encode: Final = msgspec.json.Encoder().encode


def bulks(entries: Iterable[Alert], settings: ElasticsearchStore, service: str, now: int) -> Iterator[Bulk]:
    """One request for each index; entries older than the retention (`now`: ms since 1970) are left out."""
    oldest = (now // DAY_MS - settings.keep_days) * DAY_MS
    parts: dict[str, list[bytes]] = {}
    names = Names(settings.index)
    for entry in entries:
        moment = time_ms(entry.time, _FAR_MS)
        if moment < oldest:
            continue
        (day,) = first_days(np.array([moment], np.int64), settings.period).tolist()
        action: dict[str, Any] = {"create": {"_id": entry_id(entry)}}
        document = alert_document(entry, service)
        parts.setdefault(names.concrete("alerts", day), []).append(b"%b\n%b\n" % (_encode(action), _encode(document)))
    for index, lines in parts.items():
        yield Bulk("alerts", index, b"".join(lines), len(lines))


class AlertDocuments:
    """Reads committed alerts and has them stored, in a thread of its own; a dead store holds up nothing else.

    Raises:
        ClientMissingError, SecretError: see `elasticsearch_client.Connection`. The server need not be there yet.
        sqlite3.Error: `notify.db` cannot be written.
    """

    def __init__(
        self,
        settings: ElasticsearchStore,
        service: str,
        measure_db: Path,
        deliveries: Deliveries,
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._service = service
        self._measure_db = measure_db
        self._deliveries = deliveries
        self._now_ms = now_ms
        self._connection = Connection(settings)
        names = Names(settings.index)
        self._sink = Sink(self._connection, TemplateGuard(self._connection, names, settings.period), 1)
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify documents", daemon=True)
        self.problem: str | None = None
        """Why it cannot go on just now."""
        with deliveries.writing(tell=False) as connection:
            connection.execute(SCHEMA)

    def start(self) -> None:
        """Begin to store."""
        self._thread.start()

    def wake(self) -> None:
        """There may be new alerts."""
        self._awake.set()

    def finish(self, patience_s: float = 10.0) -> None:
        """Wait until everything committed so far is stored, or cannot be."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and self.problem is None and self._rest():
            self.wake()
            self._stopping.wait(0.02)

    def stop(self, patience_s: float = 2.0) -> None:
        """End the thread; what is not acknowledged is stored after the next start."""
        self._stopping.set()
        self._awake.set()
        self._sink.close()
        if self._thread.ident is not None:
            self._thread.join(patience_s)
        self._connection.close()

    def position(self) -> int:
        """The number of the last entry that is stored; 0 when there is none, or when `measure.db` began anew."""
        with self._deliveries.reading() as connection:
            row = connection.execute("SELECT seq, entry_id FROM documents").fetchone()
        if row is None:
            return 0
        found = record.after(self._measure_db, row[0] - 1, 1)
        is_other = found and found[0][0] == row[0] and entry_id(found[0][1]) != row[1]
        return 0 if is_other or not found else int(row[0])

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                stored = self._round()
            except (StoreUnavailableError, StoreBusyError, sqlite3.Error) as error:
                self._say(str(error) or "busy")
                self._stopping.wait(POLL_S)
                continue
            self._say(None)
            if not stored:
                self._awake.wait(POLL_S)

    def _rest(self, most: int = 1) -> list[tuple[int, Alert]]:
        """The next entries that are not stored yet."""
        return record.after(self._measure_db, self.position(), most)

    def _round(self) -> bool:
        """Store the next entries; False when there were none."""
        entries = self._rest(MOST)
        if not entries:
            return False
        for bulk in bulks([entry for _, entry in entries], self._settings, self._service, self._now_ms()):
            self._sink.add(bulk)
        self._settle()
        seq, last = entries[-1]
        with self._deliveries.writing(tell=False) as connection:
            connection.execute("DELETE FROM documents")
            connection.execute("INSERT INTO documents (seq, entry_id) VALUES (?, ?)", (seq, entry_id(last)))
        return True

    def _settle(self) -> None:
        """Return when everything is acknowledged. Raises StoreUnavailableError when we are to stop before."""
        while True:
            try:
                settled = self._sink.settled()
            except StoreBusyError:
                pass
            except StoreUnavailableError as error:
                self._say(str(error))
            else:
                for each in settled.refused:
                    log.warning("Elasticsearch refuses an alert's document", id=each.event_id, why=each.error_type)
                return
            if self._stopping.is_set():
                raise StoreUnavailableError("stopped")

    def _say(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem and not self._stopping.is_set():
            log.warning("alerts cannot be stored as documents; they are told all the same", problem=problem)
        elif problem is None and self.problem is not None:
            log.info("alerts are stored as documents again")
        self.problem = problem
