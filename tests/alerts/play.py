"""Small made logs, and the alerts that are found in them: no process, no clock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from logproc.alerts.alert import Alert
from logproc.alerts.judge import Judge
from logproc.measure.servers import Servers
from logproc.measure.tally import tally
from logproc.measure.totals import Totals
from logproc.record import make_line_id
from logproc.settings import Settings
from tests.lines import block

BEGIN = 1_774_864_800
"""2026-03-30T10:00:00Z"""
MINUTE, HOUR, DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Said:
    """One line of a log, and its second since BEGIN."""

    second: float
    line: dict[str, Any]

    @property
    def raw(self) -> bytes:
        return json.dumps({"time": at(self.second), **self.line}).encode() + b"\n"


Log = list[Said]

GOOD: dict[str, Any] = {
    "method": "POST",
    "path": "/v1/chat/completions",
    "status": 200,
    "outcome": "ok",
    "stream": True,
    "model": "m",
    "prompt_tokens": 500,
    "completion_tokens": 100,
    "cached_tokens": 100,
    "duration_ms": 1000.0,
    "ttft_ms": 200.0,
    "queue_ms": 10.0,
    "prefill_ms": 180.0,
    "decode_ms": 800.0,
    "tpot_ms": 8.0,
    "client": "10.0.0.1",
}
"""What a healthy server answers."""

SLOW: dict[str, Any] = {"duration_ms": 9000.0, "ttft_ms": 8200.0, "queue_ms": 8010.0}
FAILED: dict[str, Any] = {"status": 500, "outcome": "server_error", "completion_tokens": None}


def at(second: float) -> str:
    """RFC 3339 of a second since BEGIN."""
    when = datetime.fromtimestamp(BEGIN + second, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{round(when.microsecond / 1000):03d}Z"


def requests(start: int, end: int, every_s: float = 0.5, bad: int = 0, **fields: Any) -> Log:
    """Requests from one second to before another. `fields` are those of each `bad`-th, else of all."""
    found = []
    count = round((end - start) / every_s)
    for number in range(count):
        second = start + number * every_s
        is_bad = bool(fields) and (not bad or number % bad == bad - 1)
        line = {**GOOD, **fields} if is_bad else {**GOOD, "model": fields.get("model", GOOD["model"])}
        own = make_line_id(round((BEGIN + second) * 1000), number.to_bytes(10, "big"))
        found.append(Said(second, {"id": own, **line}))
    return found


def heartbeats(
    start: int, end: int, *, running: int = 4, waiting: int = 0, kv: float = 0.5, gpu: Iterator[int] | None = None
) -> Log:
    """What a server says every ten seconds."""
    found = []
    for second in range(start, end, 10):
        engine = {"engine": 0, "running": running, "waiting": waiting, "kv_cache_usage": kv}
        line: dict[str, Any] = {
            "event": "heartbeat",
            "host": "gpu-1",
            "pid": 7,
            "in_flight": running,
            "engines": [engine],
        }
        if gpu is not None:
            line["gpus"] = [{"gpu": "GPU-0", "memory_used_bytes": next(gpu), "memory_total_bytes": 80 << 30}]
        found.append(Said(second, line))
    return found


def server(second: int, event: str, **fields: Any) -> Log:
    """Another server line."""
    return [Said(second, {"event": event, "host": "gpu-1", "pid": 7, **fields})]


def settings(thresholds: dict[str, Any] | None = None) -> Settings:
    return Settings.model_validate({"logs": {"paths": ["-"]}, "thresholds": thresholds or {}})


def alerts(log: Iterable[Said], thresholds: dict[str, Any] | None = None, *, until: int | None = None) -> list[Alert]:
    """The entries that are found in a log, to its end or `until` a second."""
    said = sorted(log, key=lambda each: each.second)
    chosen = settings(thresholds)
    totals, judge = Totals(chosen), Judge(chosen.thresholds)
    now_ms = (BEGIN + 400 * DAY) * 1000
    tally(totals, Servers(), block(b"".join(each.raw for each in said)), lambda: now_ms, None)
    totals.fold()
    judge.take(*totals.take_buckets())
    return judge.advance(BEGIN + (int(said[-1].second) if until is None else until))


def lives(found: Iterable[Alert]) -> dict[str, list[str]]:
    """By kind (and model or host where there is one) the states that were told."""
    told: dict[str, list[str]] = {}
    for alert in found:
        name = " ".join(each for each in (alert.kind, alert.model, alert.host) if each)
        told.setdefault(name, []).append(alert.state)
    return told


def firing(found: Iterable[Alert], kind: str) -> Alert:
    """The first entry of a kind that fires."""
    return next(alert for alert in found if alert.kind == kind and alert.state == "firing")


def second_of(text: str | None) -> int:
    """The second since BEGIN of a time in an alert."""
    assert text is not None
    return int(datetime.fromisoformat(text).timestamp()) - BEGIN
