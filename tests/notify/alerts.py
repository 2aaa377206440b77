"""Alerts and channels for the tests of delivery."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from logproc.alerts import record
from logproc.alerts.alert import Alert, alert_id
from logproc.notify.channel import Answer, Delivered, Limits, Mail, Message, Outcome, Request
from logproc.settings import Settings
from logproc.state import Database
from logproc.stores.documents import time_text

NOW_MS = 1_795_000_000_000


def alert(number: int = 0, state: str = "firing", *, at_ms: int = NOW_MS, **fields: Any) -> Alert:
    """An entry of the alert of that number."""
    since = fields.pop("since", time_text(NOW_MS - 60_000))
    kind, model = fields.pop("kind", "latency_p99"), fields.pop("model", f"m{number}")
    return msgspec.convert(
        {
            "id": alert_id(kind, {"model": model}, since),
            "kind": kind,
            "severity": fields.pop("severity", "warning"),
            "state": state,
            "time": time_text(at_ms),
            "since": since,
            "model": model,
            "value": 4.1,
            "bound": 3.0,
            "n": 812,
            "text": {"en": f"Slow {number}.", "zh": f"慢 {number}。"},
            **fields,
        },
        Alert,
    )


def settings(routes: dict[str, Any], channels: Iterable[str] = ("a", "b", "c"), **alerts: Any) -> Settings:
    """Settings with these routes; every channel is a webhook to nowhere."""
    return Settings.model_validate(
        {
            "logs": {"paths": ["-"]},
            "alerts": {"routes": routes, **alerts},
            "notifiers": {name: {"kind": "webhook", "url": "http://127.0.0.1:9/"} for name in channels},
        }
    )


class Record:
    """A `measure.db` that holds nothing but alerts, and its one writer."""

    def __init__(self, state: Path) -> None:
        self.path = state / "measure.db"
        self._database = Database(self.path, schema=record.SCHEMA)

    def add(self, *entries: Alert) -> None:
        with self._database.transaction() as connection:
            record.append(connection, entries)

    def close(self) -> None:
        self._database.close()


class FakeChannel:
    """Takes every message, or does what `answers` says; keeps what it took."""

    refresh_s: float | None = None

    def __init__(
        self, name: str, answers: Callable[[Message], Outcome] = lambda _: Delivered(), limits: Limits | None = None
    ) -> None:
        self.name = name
        self.limits = limits or Limits(per_s=1.0, burst=20, key=name, digest_size=50)
        self.answers = answers
        self.taken: list[Message] = []
        self.tried: list[Message] = []

    def render(self, message: Message, now: float, *, brief: bool = False) -> Request:
        return Request("http://127.0.0.1:9/", msgspec.json.encode(message), {})

    def send(self, request: Request | Mail, timeout_s: float) -> Answer:
        assert isinstance(request, Request)
        return Answer(200, {}, request.body)

    def judge(self, answer: Answer) -> Outcome:
        message = msgspec.json.decode(answer.body, type=Message)
        self.tried.append(message)
        outcome = self.answers(message)
        if isinstance(outcome, Delivered):
            self.taken.append(message)
        return outcome


def told(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """Model and state of every alert in these messages."""
    return [(str(each.model), each.state) for message in messages for each in message.alerts]


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Look into a database."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
