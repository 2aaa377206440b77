"""The rows of `notify.db` that hold what each channel has still to take: deliveries, messages under way, health, pace.

Every function works inside its caller's transaction.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from logproc.notify.pace import LONGEST_PAUSE_S, PATIENCE_S, Bucket

NOTIFICATIONS: Final = "logproc_notifications"
"""Counts attempts to send a message, by their outcome."""
DELIVERIES: Final = "logproc_deliveries"
"""Counts entries that a channel was to be told of, by what became of them."""
ESCALATIONS: Final = "logproc_escalations"
"""Counts alerts that a channel was told of because nobody saw to them."""

State = Literal["waiting", "sending", "delivered", "silenced", "rejected", "passed_on", "gone"]
"""`passed_on`: another channel took it over. `gone`: its channel is no longer in the settings."""

SCHEMA: Final = """
CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, is_group INTEGER NOT NULL,
    entry_id TEXT NOT NULL, entry BLOB NOT NULL, size INTEGER NOT NULL, is_firing INTEGER NOT NULL,
    rank INTEGER NOT NULL, channel TEXT NOT NULL, tried TEXT NOT NULL, occasion TEXT NOT NULL,
    state TEXT NOT NULL, message TEXT, created_ms INTEGER NOT NULL, ended_ms INTEGER
) STRICT;
CREATE INDEX deliveries_open ON deliveries (channel) WHERE state IN ('waiting', 'sending');
CREATE INDEX deliveries_by_subject ON deliveries (subject, seq);
CREATE INDEX deliveries_ended ON deliveries (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE TABLE channels (
    name TEXT PRIMARY KEY, failures INTEGER NOT NULL, failing_since_ms INTEGER, pause_until_ms INTEGER NOT NULL,
    is_dead INTEGER NOT NULL, problem TEXT NOT NULL, last_success_ms INTEGER
) STRICT;
CREATE TABLE buckets (key TEXT PRIMARY KEY, tokens REAL NOT NULL, at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE counters (
    name TEXT NOT NULL, channel TEXT NOT NULL, result TEXT NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (name, channel, result)
) STRICT, WITHOUT ROWID;
"""
"""A message under way is the deliveries in state `sending`: their `message` is its id. A channel has one at a time."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry that one channel has to take."""

    id: str
    """The same for the same entry, channel and occasion: whatever is planned twice is there once."""
    subject: str
    is_group: bool
    entry_id: str
    entry: bytes
    """JSON: an `Alert`, or the webhook body of a relayed group."""
    is_firing: bool
    rank: int
    """How urgent; more is more."""
    channel: str
    occasion: str = ""
    tried: tuple[str, ...] = ()
    """The channels that it was passed on from."""
    created_ms: int = 0
    message: str | None = None
    size: int = 1
    """How many alerts there are in it."""


def delivery_id(entry_id: str, channel: str, occasion: str) -> str:
    """The id of a delivery, 16 hex digits."""
    return digest(entry_id, channel, occasion)


def message_id(deliveries: Iterable[Delivery]) -> str:
    """The id of a message, 16 hex digits: the same whenever it tells the same."""
    return digest(*sorted(delivery.id for delivery in deliveries))


def digest(*parts: str) -> str:
    """16 hex digits that stand for these texts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def add(connection: sqlite3.Connection, delivery: Delivery, state: State = "waiting") -> bool:
    """Queue a delivery; False when it is there already. What was kept back before is queued after all."""
    done = connection.execute(
        "INSERT INTO deliveries (id, subject, is_group, entry_id, entry, size, is_firing, rank, channel, tried, "
        "occasion, state, created_ms, ended_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET state = excluded.state, created_ms = excluded.created_ms, ended_ms = NULL, "
        "message = NULL "
        "WHERE state IN ('silenced', 'gone', 'passed_on') AND excluded.state = 'waiting'",
        (
            delivery.id,
            delivery.subject,
            delivery.is_group,
            delivery.entry_id,
            delivery.entry,
            delivery.size,
            delivery.is_firing,
            delivery.rank,
            delivery.channel,
            "\n".join(delivery.tried),
            delivery.occasion,
            state,
            delivery.created_ms,
            None if state == "waiting" else delivery.created_ms,
        ),
    )
    return done.rowcount > 0


def opened(connection: sqlite3.Connection, channel: str, limit: int = 5000) -> list[Delivery]:
    """What a channel has not taken yet, the most urgent first; those with a `message` are under way."""
    rows = connection.execute(
        "SELECT id, subject, is_group, entry_id, entry, is_firing, rank, channel, occasion, tried, created_ms, "
        "message, size FROM deliveries WHERE channel = ? AND state IN ('waiting', 'sending') "
        "ORDER BY message IS NULL, rank DESC, seq LIMIT ?",
        (channel, limit),
    )
    return [
        Delivery(each, subject, bool(is_group), entry_id, entry, bool(is_firing), rank, name, occasion,
                 tuple(filter(None, tried.split("\n"))), created_ms, message, size)
        for each, subject, is_group, entry_id, entry, is_firing, rank, name, occasion, tried, created_ms, message, size
        in rows
    ]  # fmt: skip


def mark(
    connection: sqlite3.Connection,
    deliveries: Iterable[Delivery],
    state: State,
    now_ms: int,
    message: str | None = None,
) -> None:
    """Move deliveries to another state."""
    ended_ms = None if state in ("waiting", "sending") else now_ms
    connection.executemany(
        "UPDATE deliveries SET state = ?, message = ?, ended_ms = ? WHERE id = ?",
        [(state, message, ended_ms, delivery.id) for delivery in deliveries],
    )


def mark_tried(connection: sqlite3.Connection, delivery: Delivery, state: State, now_ms: int) -> None:
    """Move what was passed on and became this delivery to another state too: so it may be planned anew."""
    connection.executemany(
        "UPDATE deliveries SET state = ?, ended_ms = ? WHERE id = ? AND state = 'passed_on'",
        [(state, now_ms, delivery_id(delivery.entry_id, name, delivery.occasion)) for name in delivery.tried],
    )


def has_heard(connection: sqlite3.Connection, subject: str, channel: str) -> bool:
    """Whether a channel was told, truly, that something of this subject fires."""
    row = connection.execute(
        "SELECT 1 FROM deliveries WHERE subject = ? AND channel = ? AND is_firing "
        "AND state IN ('delivered', 'sending') LIMIT 1",
        (subject, channel),
    )
    return row.fetchone() is not None


def was_rejected(connection: sqlite3.Connection, delivery_id: str) -> bool:
    """Whether its channel will never take this delivery."""
    row = connection.execute("SELECT 1 FROM deliveries WHERE id = ? AND state = 'rejected'", (delivery_id,))
    return row.fetchone() is not None


def was_silenced(connection: sqlite3.Connection, subject: str, channel: str) -> bool:
    """Whether what a channel was last to be told of this subject was kept back."""
    row = connection.execute(
        "SELECT state FROM deliveries WHERE subject = ? AND channel = ? ORDER BY seq DESC LIMIT 1", (subject, channel)
    ).fetchone()
    return row is not None and row[0] == "silenced"


# --- how a channel is ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """How a channel has answered of late. Times are ms since 1970."""

    failures: int = 0
    """In a row."""
    failing_since_ms: int | None = None
    pause_until_ms: int = 0
    is_dead: bool = False
    problem: str = ""
    last_success_ms: int | None = None

    def is_paused(self, now_ms: int) -> bool:
        """Whether nothing may be sent now. A pause that ends later than any can was made before the clock went back."""
        return now_ms < self.pause_until_ms <= now_ms + round(LONGEST_PAUSE_S * 1000)

    def is_out(self, now_ms: int) -> bool:
        """Whether there is no hope of it soon: what waits may go to its fallback."""
        return self.is_dead or (self.failing_since_ms is not None and now_ms >= self._patience_ends_ms)

    @property
    def _patience_ends_ms(self) -> int:
        return (self.failing_since_ms or 0) + round(PATIENCE_S * 1000)

    def until_ms(self, now_ms: int) -> int:
        """When to look at it again: at the end of its pause, or when it counts as out, whichever comes first."""
        ends = self._patience_ends_ms if self.failing_since_ms is not None else 0
        return min(self.pause_until_ms, ends) if ends > now_ms else self.pause_until_ms

    def failed(self, now_ms: int, wait_s: float, problem: str, *, is_dead: bool = False) -> Health:
        """After one more failure; nothing is sent for `wait_s` seconds."""
        return Health(
            self.failures + 1,
            now_ms if self.failing_since_ms is None else self.failing_since_ms,
            now_ms + round(min(wait_s, LONGEST_PAUSE_S) * 1000),
            is_dead,
            problem,
            self.last_success_ms,
        )


def health(connection: sqlite3.Connection, channel: str) -> Health:
    """How a channel is."""
    row = connection.execute(
        "SELECT failures, failing_since_ms, pause_until_ms, is_dead, problem, last_success_ms FROM channels "
        "WHERE name = ?",
        (channel,),
    ).fetchone()
    if row is None:
        return Health()
    failures, since, pause, is_dead, problem, success = row
    return Health(failures, since, pause, bool(is_dead), problem, success)


def save_health(connection: sqlite3.Connection, channel: str, is_now: Health) -> None:
    """Keep how a channel is."""
    connection.execute(
        "INSERT OR REPLACE INTO channels (name, failures, failing_since_ms, pause_until_ms, is_dead, problem, "
        "last_success_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            channel,
            is_now.failures,
            is_now.failing_since_ms,
            is_now.pause_until_ms,
            is_now.is_dead,
            is_now.problem,
            is_now.last_success_ms,
        ),
    )


def bucket(connection: sqlite3.Connection, key: str, burst: float, now_ms: int) -> Bucket:
    """The tokens under a key; full when it was never used."""
    row = connection.execute("SELECT tokens, at_ms FROM buckets WHERE key = ?", (key,)).fetchone()
    return Bucket(*row) if row else Bucket(burst, now_ms)


def save_bucket(connection: sqlite3.Connection, key: str, is_now: Bucket) -> None:
    """Keep the tokens under a key."""
    connection.execute(
        "INSERT OR REPLACE INTO buckets (key, tokens, at_ms) VALUES (?, ?, ?)", (key, is_now.tokens, is_now.at_ms)
    )


def count(connection: sqlite3.Connection, name: str, channel: str, result: str, by: int = 1) -> None:
    """Add to a counter."""
    connection.execute(
        "INSERT INTO counters (name, channel, result, value) VALUES (?, ?, ?, ?) ON CONFLICT (name, channel, result) "
        "DO UPDATE SET value = value + excluded.value",
        (name, channel, result, by),
    )


def counters(connection: sqlite3.Connection) -> Sequence[tuple[str, str, str, int]]:
    """Every counter: name, channel, result, value."""
    return connection.execute("SELECT name, channel, result, value FROM counters").fetchall()


def lengths(connection: sqlite3.Connection) -> dict[str, tuple[int, int | None]]:
    """By channel how many deliveries it has not taken yet, and since when the oldest waits (ms since 1970)."""
    rows = connection.execute(
        "SELECT channel, count(*), min(created_ms) FROM deliveries "
        "WHERE state IN ('waiting', 'sending') GROUP BY channel"
    )
    return {channel: (length, oldest_ms) for channel, length, oldest_ms in rows}
