"""Alertmanager's API v2: alerts as it wants them, told again and again while they fire."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from logproc.alerts.alert import SEVERITIES, Alert
from logproc.notify.channel import Answer, Delivered, ExternalAlert, Limits, Message, Outcome, Rejected, Request
from logproc.notify.hook import Hook, as_json, by_status, excerpt, unanswered
from logproc.notify.text import Shape, Style, shortened, values_of

PER_S: Final = 5.0
BURST: Final = 20
DIGEST_SIZE: Final = 200
REFRESH_S: Final = 60.0
HOLD_S: Final = 900.0
"""A firing alert ends by itself so long after it was last told: logproc has died, or cannot reach it."""
TEST_S: Final = 60.0
TEST_NAME: Final = "logproc_test"
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Alertmanager(Hook):
    """One Alertmanager. It tells alerts apart by their labels alone, so a repeat changes nothing."""

    refresh_s = REFRESH_S

    def __init__(self, name: str, url: str, limits: Limits, style: Style, *, service: str, token: str = "") -> None:
        base = url.rstrip("/")
        posted = base if base.endswith("/api/v2/alerts") else f"{base}/api/v2/alerts"
        super().__init__(name, posted, limits, style, token=token)
        self._service = service

    def render(self, message: Message, now: float, *, brief: bool = False) -> Request:
        """Every alert with its labels, and its texts as annotations (`brief`: without)."""
        until = _rfc3339(now + (TEST_S if message.reason == "test" else HOLD_S))
        alerts = [made for each in message.alerts for made in self._own(each, until, message.reason == "test")]
        alerts += [_others(each, until) for each in message.external]
        if brief:
            alerts = [{**each, "annotations": {}} for each in alerts]
        return self.request(as_json(alerts))

    def judge(self, answer: Answer) -> Outcome:
        """By the status. At a 400 the good alerts of the batch were stored: it is not to be sent again as it is."""
        if outcome := unanswered(answer):
            return outcome
        if answer.status == 200:
            return Delivered()
        if answer.status in {400, 422}:
            return Rejected(f"HTTP {answer.status}: {excerpt(answer.body)}; the good ones of the batch were stored")
        return by_status(answer)

    def _own(self, alert: Alert, until: str, is_test: bool) -> list[dict[str, Any]]:
        """The alert under its severity; under every other one it has ended, as severity is one of its labels."""
        name = TEST_NAME if is_test else alert.kind
        values = values_of(alert, Shape(shown=1), self.style)
        texts = {"summary": values["title"], "description": values["text"]}
        texts |= {name: values[name] for name in ("value", "bound", "cause", "shares", "n", "examples", "id")}
        annotations = {name: shortened(value, 1000) for name, value in texts.items() if value}
        is_over = alert.state == "resolved"
        return [
            {
                "labels": {"alertname": name, "severity": severity, "service": self._service, **alert.labels},
                "annotations": annotations if severity == alert.severity else {},
                "startsAt": alert.since,
                "endsAt": until if severity == alert.severity and not is_over else alert.until or alert.time,
            }
            for severity in SEVERITIES
        ]


def _others(alert: ExternalAlert, until: str) -> dict[str, Any]:
    labels = {name: value for name, value in alert.labels.items() if _LABEL.fullmatch(name) and value}
    made: dict[str, Any] = {
        "labels": labels or {"alertname": "unknown"},
        "annotations": {name: value for name, value in alert.annotations.items() if _LABEL.fullmatch(name)},
        "endsAt": alert.ends_at if alert.status == "resolved" else until,
        "generatorURL": alert.generator_url,
    }
    return {**made, **({"startsAt": alert.starts_at} if alert.starts_at else {})}


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
