"""`notify.db`: what is to be told to which channel; every move is one transaction, so that a kill never loses any."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from logproc.alerts.alert import Alert, entry_id
from logproc.decode import time_ms
from logproc.notify import queue, subjects
from logproc.notify.channel import Limits
from logproc.notify.plan import ESCALATION, RANK, Known, Need, needs
from logproc.notify.queue import Delivery, Health
from logproc.settings import Alerts
from logproc.state import Database

SCHEMA: Final = f"""
CREATE TABLE position (only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, entry_id TEXT NOT NULL) STRICT;
CREATE TABLE relayed (subject TEXT PRIMARY KEY, state TEXT NOT NULL, time_ms INTEGER NOT NULL) STRICT;
{subjects.SCHEMA} {queue.SCHEMA}
"""

DAY_MS: Final = 86_400_000
KEEP_MS: Final = 30 * DAY_MS
"""How long what is over is remembered."""
STALE_MS: Final = 7 * DAY_MS
"""Nobody is told of an entry that is so old, should `measure.db` ever begin anew."""
FULL: Final = 10_000
"""Deliveries that wait: beyond that the relay takes no more."""

_FAR_MS: Final = 1 << 47
"""A time without bound: entries are our own."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """What the queue has to know of a channel."""

    limits: Limits
    fallback: str | None = None
    refresh_s: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How one channel stands."""

    waiting: tuple[int, int | None]
    """How many deliveries it has not taken yet, and since when the oldest waits (ms since 1970)."""
    health: Health


class Deliveries:
    """Owns `notify.db`. From any thread. `queued` is called after each commit that may have given somebody work.

    Raises:
        StateLockedError, StateBrokenError: see `state.Database`.
        sqlite3.Error: from every method, when the file cannot be read or written; nothing was changed then.
    """

    def __init__(
        self,
        path: Path,
        alerts: Alerts,
        outlets: Mapping[str, Outlet],
        *,
        queued: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = Database(path, schema=SCHEMA)
        self._alerts = alerts
        self.outlets = outlets
        self._refresh_s = {name: each.refresh_s for name, each in outlets.items() if each.refresh_s is not None}
        self._queued = queued
        self._lock = threading.RLock()
        with self._database.refusing():
            # What was answered 200 to Alertmanager must survive a power cut too.
            self._database.connection.execute("PRAGMA synchronous=FULL")

    # --- for everybody ---------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, tell: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction. `tell`: somebody may have work now."""
        with self._lock, self._database.transaction() as connection:
            yield connection
        if tell:
            self._queued()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The committed state, unchanged for as long as it is looked at."""
        with self._lock:
            yield self._database.connection

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    # --- from measure's alerts to deliveries -----------------------------------------------------------------------

    def position(self) -> tuple[int, str] | None:
        """The number of the last entry that was planned, and its id; None on the very first start."""
        with self.reading() as connection:
            row: tuple[int, str] | None = connection.execute("SELECT seq, entry_id FROM position").fetchone()
            return row

    def begin(self, entries: Iterable[tuple[int, Alert]], now_ms: int) -> None:
        """The very first start: what is over is not told; what still fires will be."""
        newest: dict[str, Alert] = {}
        seq, last = 0, ""
        for seq, alert in entries:  # noqa: B007 - the last one counts
            newest[alert.id] = alert
            last = entry_id(alert)
        with self.writing() as connection:
            for alert in newest.values():
                if alert.state == "firing":
                    subjects.put(connection, alert, now_ms)
            self._move(connection, seq, last)

    def take(self, entries: Sequence[tuple[int, Alert]], now_ms: int) -> None:
        """Plan these entries, which follow the position, and move it."""
        if not entries:
            return
        with self.writing() as connection:
            silences = subjects.silences(connection, now_ms)
            for _, alert in entries:
                if alert.state == "pending":
                    continue
                if now_ms - time_ms(alert.time, _FAR_MS) > STALE_MS:
                    alert = msgspec.structs.replace(alert, behind=True)  # noqa: PLW2901 - the same, but not told
                subjects.put(connection, alert, now_ms)
                known = subjects.known(connection, alert.id)
                assert known is not None
                for need in needs(known, self._alerts, silences, now_ms, self._refresh_s):
                    self._add(connection, known, need, now_ms)
            seq, newest = entries[-1]
            self._move(connection, seq, entry_id(newest))

    def rewind(self) -> None:
        """Begin with the first entry again: `measure.db` is another one. Nothing is planned twice."""
        with self.writing() as connection:
            self._move(connection, 0, "")

    def plan_again(self, now_ms: int) -> None:
        """What is due because time has passed: repetitions, escalations, what a silence kept back."""
        with self._lock:
            connection = self._database.connection
            silences = subjects.silences(connection, now_ms)
            due = [
                (known, need)
                for known in subjects.firing(connection)
                for need in needs(known, self._alerts, silences, now_ms, self._refresh_s)
                if not need.is_silenced
            ]
            if due:
                with self.writing() as connection:
                    for known, need in due:
                        self._add(connection, known, need, now_ms)

    def _move(self, connection: sqlite3.Connection, seq: int, entry: str) -> None:
        connection.execute("INSERT OR REPLACE INTO position (only, seq, entry_id) VALUES (1, ?, ?)", (seq, entry))

    def _add(self, connection: sqlite3.Connection, known: Known, need: Need, now_ms: int) -> None:
        delivery = Delivery(
            id=queue.delivery_id(known.entry_id, need.channel, need.occasion),
            subject=known.alert.id,
            is_group=False,
            entry_id=known.entry_id,
            entry=msgspec.json.encode(known.alert),
            is_firing=known.alert.state == "firing",
            rank=RANK[known.alert.severity],
            channel=need.channel,
            occasion=need.occasion,
            created_ms=now_ms,
        )
        if not queue.add(connection, delivery, "silenced" if need.is_silenced else "waiting"):
            return
        if need.is_silenced:
            queue.count(connection, queue.DELIVERIES, need.channel, "silenced")
        elif need.occasion == ESCALATION:
            queue.count(connection, queue.ESCALATIONS, need.channel, "")

    # --- what is over, and how it stands ---------------------------------------------------------------------------

    def tidy(self, now_ms: int) -> None:
        """Forget what has been over for long, and what waits for channels that are no longer in the settings."""
        names = list(self.outlets)
        marks = ", ".join("?" * len(names))
        with self.writing() as connection:
            gone = connection.execute(
                f"SELECT channel, count(*) FROM deliveries WHERE state IN ('waiting', 'sending') "  # noqa: S608 - only marks
                f"AND channel NOT IN ({marks}) GROUP BY channel",
                names,
            ).fetchall()
            for channel, number in gone:
                connection.execute(
                    "UPDATE deliveries SET state = 'gone', ended_ms = ? WHERE channel = ? "
                    "AND state IN ('waiting', 'sending')",
                    (now_ms, channel),
                )
                queue.count(connection, queue.DELIVERIES, channel, "gone", number)
            long_ago = now_ms - KEEP_MS
            connection.execute(
                "DELETE FROM deliveries WHERE ended_ms < ? "
                "AND subject NOT IN (SELECT id FROM subjects WHERE is_firing)",
                (long_ago,),
            )
            connection.execute("DELETE FROM subjects WHERE NOT is_firing AND changed_ms < ?", (long_ago,))
            connection.execute("DELETE FROM silences WHERE until_ms < ?", (long_ago,))
            connection.execute("DELETE FROM relayed WHERE time_ms < ?", (now_ms - DAY_MS,))

    def standings(self) -> dict[str, Standing]:
        """How every channel of the settings stands."""
        with self.reading() as connection:
            waiting = queue.lengths(connection)
            return {
                name: Standing(waiting.get(name, (0, None)), queue.health(connection, name)) for name in self.outlets
            }

    def counters(self) -> Sequence[tuple[str, str, str, int]]:
        """Every counter: metric, channel, result, value."""
        with self.reading() as connection:
            return queue.counters(connection)
