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
CLOCKS_S: Final = 30.0
"""So far our clock may be ahead of Alertmanager's, and what we say has ended must not seem to go on."""
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
        hold_s = TEST_S if message.reason == "test" else HOLD_S
        alerts = [made for each in message.alerts for made in self._own(each, now, hold_s, message.reason == "test")]
        alerts += [_others(each, now, hold_s) for each in message.external]
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

    def _own(self, alert: Alert, now: float, hold_s: float, is_test: bool) -> list[dict[str, Any]]:
        """The alert under its severity; under every other one it has ended, as severity is one of its labels."""
        name = TEST_NAME if is_test else alert.kind
        values = values_of(alert, Shape(shown=1), self.style)
        texts = {"summary": values["title"], "description": values["text"]}
        texts |= {name: values[name] for name in ("value", "bound", "cause", "shares", "n", "examples", "id")}
        annotations = {name: shortened(value, 1000) for name, value in texts.items() if value}
        since, changed = _seconds(alert.since, now), _seconds(alert.until or alert.time, now)
        made = []
        for severity in SEVERITIES:
            if severity != alert.severity:
                times = _times(since, min(changed, now - CLOCKS_S))
            elif alert.state == "resolved":
                times = _times(since, min(changed, now))
            else:
                times = _times(since, now + hold_s)
            labels = {"alertname": name, "severity": severity, "service": self._service, **alert.labels}
            told = annotations if severity == alert.severity else {}
            made.append({"labels": labels, "annotations": told, **times})
        return made


def _others(alert: ExternalAlert, now: float, hold_s: float) -> dict[str, Any]:
    labels = {name: value for name, value in alert.labels.items() if _LABEL.fullmatch(name) and value}
    ends = min(_seconds(alert.ends_at, now), now) if alert.status == "resolved" else now + hold_s
    return {
        "labels": labels or {"alertname": "unknown"},
        "annotations": {name: value for name, value in alert.annotations.items() if _LABEL.fullmatch(name)},
        **_times(_seconds(alert.starts_at, now), ends),
        "generatorURL": alert.generator_url,
    }


def _times(since: float, ends: float) -> dict[str, str]:
    """Alertmanager refuses a whole batch for one end that lies before its start: the end is right."""
    return {"startsAt": _rfc3339(min(since, ends)), "endsAt": _rfc3339(ends)}


def _seconds(time: str, otherwise: float) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return otherwise


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
