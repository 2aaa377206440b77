"""Which alerts the demo ends with."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from logproc.alerts.alert import Alert, State
from logproc.alerts.record import SCHEMA, append
from logproc.demo.alerts import Alerts


def entry(name: str, state: State) -> Alert:
    return Alert(
        id=name, kind="latency_p95", severity="warning", state=state, time="2026-11-21T10:01:00Z",
        since="2026-11-21T10:00:00Z",
    )  # fmt: skip


def test_an_alert_that_passed_before_it_fired_is_shown_but_not_among_those_of_the_end(tmp_path: Path) -> None:
    database = tmp_path / "measure.db"
    alerts = Alerts(database)
    assert (alerts.read(), alerts.fired) == ([], [])
    began = [entry("passed", "pending"), entry("fired", "pending"), entry("fired", "firing"), entry("waits", "pending")]
    ended = [entry("passed", "resolved"), entry("fired", "resolved")]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(SCHEMA)
        append(connection, began)
    assert alerts.read() == began
    with closing(sqlite3.connect(database)) as connection, connection:
        append(connection, ended)
    assert alerts.read() == ended
    assert [each.state for each in alerts.newest.values()] == ["resolved", "resolved", "pending"]
    assert alerts.fired == [entry("fired", "resolved")]
