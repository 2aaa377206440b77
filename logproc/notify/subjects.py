"""What `notify.db` knows of each alert and relayed group, the silences and the acknowledgements.

Every function works inside its caller's transaction.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from logproc.alerts.alert import Alert, Severity, entry_id
from logproc.notify.plan import Known, Silence, Told

SCHEMA: Final = """
CREATE TABLE subjects (
    id TEXT PRIMARY KEY, is_firing INTEGER NOT NULL, entry_id TEXT NOT NULL, entry BLOB NOT NULL,
    acknowledged TEXT, acknowledged_by TEXT, acknowledged_ms INTEGER, changed_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX subjects_firing ON subjects (is_firing) WHERE is_firing;
CREATE TABLE silences (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, model TEXT, until_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    by TEXT NOT NULL, comment TEXT NOT NULL
) STRICT;
"""
"""`subjects` are our own alerts, each with its newest entry."""

_decode: Final = msgspec.json.Decoder(Alert).decode


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who said of an alert that it is being seen to, and when (ms since 1970)."""

    severity: Severity
    by: str
    time_ms: int


def put(connection: sqlite3.Connection, alert: Alert, now_ms: int) -> None:
    """Keep the newest entry of an alert."""
    connection.execute(
        "INSERT INTO subjects (id, is_firing, entry_id, entry, changed_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO "
        "UPDATE SET is_firing = excluded.is_firing, entry_id = excluded.entry_id, entry = excluded.entry, "
        "changed_ms = excluded.changed_ms",
        (alert.id, alert.state == "firing", entry_id(alert), msgspec.json.encode(alert), now_ms),
    )


def known(connection: sqlite3.Connection, alert_id: str) -> Known | None:
    """One alert, and what its channels have been told."""
    found = _known(connection, "id = ?", (alert_id,))
    return found[0] if found else None


def firing(connection: sqlite3.Connection) -> list[Known]:
    """Every alert that fires, and what its channels have been told."""
    return _known(connection, "is_firing", ())


def _known(connection: sqlite3.Connection, where: str, values: tuple[str, ...]) -> list[Known]:
    told: defaultdict[str, dict[str, Told]] = defaultdict(dict)
    for subject, channel, entry, is_firing, time_ms, waits in connection.execute(
        "SELECT subject, channel, entry_id, is_firing, created_ms, state IN ('waiting', 'sending') FROM deliveries "  # noqa: S608
        f"WHERE subject IN (SELECT id FROM subjects WHERE {where}) AND state NOT IN ('silenced', 'gone') ORDER BY seq",
        values,
    ):
        before = told[subject].get(channel)
        told[subject][channel] = Told(
            entry, bool(is_firing), before.first_ms if before else time_ms, time_ms, bool(waits)
        )
    rows = connection.execute(
        f"SELECT id, entry_id, entry, acknowledged FROM subjects WHERE {where} ORDER BY rowid",  # noqa: S608 - ours
        values,
    )
    return [Known(_decode(entry), entry_id, told[each], acknowledged) for each, entry_id, entry, acknowledged in rows]


def acknowledge(connection: sqlite3.Connection, alert_id: str, by: str, now_ms: int) -> Alert | None:
    """Note that somebody sees to a firing alert, as grave as it is now; None when no such alert fires."""
    found = known(connection, alert_id)
    if found is None or found.alert.state != "firing":
        return None
    connection.execute(
        "UPDATE subjects SET acknowledged = ?, acknowledged_by = ?, acknowledged_ms = ? WHERE id = ?",
        (found.alert.severity, by, now_ms, alert_id),
    )
    return found.alert


def acknowledgements(connection: sqlite3.Connection, alert_ids: Iterable[str]) -> dict[str, Acknowledgement]:
    """By alert; those that nobody has acknowledged are left out."""
    ids = list(alert_ids)
    rows = connection.execute(
        "SELECT id, acknowledged, acknowledged_by, acknowledged_ms FROM subjects "  # noqa: S608 - only marks
        f"WHERE acknowledged IS NOT NULL AND id IN ({', '.join('?' * len(ids))})",
        ids,
    )
    return {each: Acknowledgement(severity, by, time_ms) for each, severity, by, time_ms in rows}


def silence(
    connection: sqlite3.Connection, kind: str, model: str | None, until_ms: int, by: str, comment: str, now_ms: int
) -> Silence:
    """Begin a silence, and give it an id."""
    made = Silence(secrets.token_hex(4), kind, until_ms, model, now_ms, by, comment)
    connection.execute(
        "INSERT INTO silences (id, kind, model, until_ms, created_ms, by, comment) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (made.id, kind, model, until_ms, now_ms, by, comment),
    )
    return made


def end_silence(connection: sqlite3.Connection, silence_id: str, now_ms: int) -> bool:
    """End a silence now; False when there is no such silence, or it is over."""
    done = connection.execute(
        "UPDATE silences SET until_ms = ? WHERE id = ? AND until_ms > ?", (now_ms, silence_id, now_ms)
    )
    return done.rowcount > 0


def silences(connection: sqlite3.Connection, now_ms: int) -> list[Silence]:
    """Those that are in force, the newest first."""
    rows = connection.execute(
        "SELECT id, kind, until_ms, model, created_ms, by, comment FROM silences WHERE until_ms > ? "
        "ORDER BY rowid DESC",
        (now_ms,),
    )
    return [Silence(*row) for row in rows]
