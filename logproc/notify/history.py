"""Current and past alerts as `measure` recorded them, joined with what `notify` knows: acknowledged, silenced, told."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from logproc.alerts.alert import Alert
from logproc.decode import time_ms
from logproc.notify import subjects
from logproc.notify.deliveries import Deliveries
from logproc.notify.plan import is_silenced
from logproc.state import open_reader
from logproc.stores.documents import time_text

_decode: Final = msgspec.json.Decoder(Alert).decode
_OF_A_LIFE: Final = ("time", "state", "severity", "value", "n", "cause", "text")
_FAR_MS: Final = 1 << 47


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which alerts are asked for. Empty or None means any; times are ms since 1970."""

    since_ms: int | None = None
    until_ms: int | None = None
    kinds: Collection[str] = ()
    models: Collection[str] = ()
    states: Collection[str] = ()

    def includes(self, alert: Alert) -> bool:
        """Whether an alert, by its newest entry, was there in the time asked for, and is one of those asked for."""
        if (self.kinds and alert.kind not in self.kinds) or (self.models and alert.model not in self.models):
            return False
        if self.states and alert.state not in self.states:
            return False
        if self.until_ms is not None and time_ms(alert.since, _FAR_MS) >= self.until_ms:
            return False
        ended = alert.until or alert.time if alert.state == "resolved" else None
        return self.since_ms is None or ended is None or time_ms(ended, _FAR_MS) >= self.since_ms


def alerts(
    measure_db: Path, deliveries: Deliveries, wanted: Wanted, now_ms: int, *, limit: int, before: int | None = None
) -> tuple[list[dict[str, Any]], int | None]:
    """At most `limit` alerts, each by its newest entry, the last changed first; and where to go on, as `before`.

    Raises:
        sqlite3.Error: a database cannot be read now.
    """
    found: list[tuple[int, Alert]] = []
    for seq, alert in _newest_first(measure_db, before):
        if wanted.includes(alert):
            found.append((seq, alert))
            if len(found) > limit:
                break
    shown = [alert for _, alert in found[:limit]]
    items = _joined(deliveries, shown, now_ms) if shown else []
    return items, found[limit - 1][0] if len(found) > limit else None


def life(measure_db: Path, deliveries: Deliveries, alert_id: str, now_ms: int) -> dict[str, Any] | None:
    """One alert as in the list, and its entries, oldest first; None when there never was one of this id.

    Raises:
        sqlite3.Error: a database cannot be read now.
    """
    connection = open_reader(measure_db)
    if connection is None:
        return None
    with closing(connection):
        rows = connection.execute("SELECT entry FROM alerts WHERE id = ? ORDER BY seq", (alert_id,)).fetchall()
    entries = [_decode(entry) for (entry,) in rows]
    if not entries:
        return None
    (alert,) = _joined(deliveries, entries[-1:], now_ms)
    return {"alert": alert, "entries": [{name: getattr(each, name) for name in _OF_A_LIFE} for each in entries]}


def _newest_first(measure_db: Path, before: int | None) -> Iterator[tuple[int, Alert]]:
    connection = open_reader(measure_db)
    if connection is None:
        return
    with closing(connection):
        rows = connection.execute(
            "SELECT seq, entry FROM alerts AS each WHERE seq < ? "
            "AND NOT EXISTS (SELECT 1 FROM alerts WHERE id = each.id AND seq > each.seq) ORDER BY seq DESC",
            (1 << 62 if before is None else before,),
        )
        for seq, entry in rows:
            yield seq, _decode(entry)


def _joined(deliveries: Deliveries, shown: list[Alert], now_ms: int) -> list[dict[str, Any]]:
    with deliveries.reading() as connection:
        silences = subjects.silences(connection, now_ms)
        acknowledged = subjects.acknowledgements(connection, [alert.id for alert in shown])
        told = {alert.id: _told(connection, alert.id) for alert in shown}
    items = []
    for alert in shown:
        seen_to = acknowledged.get(alert.id)
        items.append(
            {
                **msgspec.to_builtins(alert),
                "acknowledged": seen_to
                and {"by": seen_to.by, "severity": seen_to.severity, "time": time_text(seen_to.time_ms)},
                "silenced": alert.state == "firing" and is_silenced(alert.kind, alert.model, silences, now_ms),
                "told": told[alert.id],
            }
        )
    return items


def _told(connection: sqlite3.Connection, alert_id: str) -> dict[str, str]:
    """By channel what became of the last delivery."""
    rows = connection.execute("SELECT channel, state FROM deliveries WHERE subject = ? ORDER BY seq", (alert_id,))
    return dict(rows.fetchall())
