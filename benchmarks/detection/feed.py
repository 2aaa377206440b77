"""What was simulated, given to the detectors: as columns straight into the judge, or as lines of an access log."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from benchmarks.detection.scoring import Episode
from benchmarks.detection.service import (
    DISCONNECT,
    EMPTY,
    GPU_BYTES,
    OUTCOMES,
    REJECTED,
    REJECTED_200,
    SERVER_ERROR,
    Floats,
    Requests,
)
from benchmarks.detection.week import HOSTS, START_S, Part
from logproc.alerts.alert import Alert
from logproc.alerts.buckets import Buckets
from logproc.alerts.gather import Gatherer
from logproc.alerts.judge import Judge
from logproc.alerts.server_lines import Line
from logproc.events import LEAST_TOKENS_FOR_SPEED, Events
from logproc.flags import Flagger
from logproc.kinds import Kinds
from logproc.record import HEARTBEAT, SERVER_STARTED
from logproc.settings import Thresholds

PATH: Final = "/v1/chat/completions"
STATUS: Final = {SERVER_ERROR: 500, REJECTED: 401, REJECTED_200: 200, DISCONNECT: 499}
FINISH: Final = {0: "stop", 1: "length", EMPTY: "stop"}
GPU: Final = "GPU-0"
_START_MS: Final = START_S * 1000


class Feed:
    """Gives the stretches of a week to a judge, and keeps its alerts.

    A `plain` log is one that another tool wrote: time, model, status, tokens and duration of each request, no more.
    """

    def __init__(self, *, plain: bool = False) -> None:
        thresholds = Thresholds()
        self.alerts: list[Alert] = []
        self._plain = plain
        self._judge = Judge(thresholds)
        self._gatherer = Gatherer(thresholds)
        self._flagger = Flagger(thresholds)
        self._kinds = Kinds()
        self._numbers: dict[str, np.ndarray[Any, np.dtype[np.int32]]] = {}

    def take(self, end: float, parts: dict[str, Part]) -> None:
        """Judge one stretch of time, which ends `end` seconds after the week began."""
        buckets, lines = Buckets(self._gatherer.columns), []
        for model, part in parts.items():
            events = self._events(model, part.requests)
            self._gatherer.add(events, self._kinds, self._flagger.bits(events, self._kinds), buckets)
            if not self._plain:
                lines += list(server_lines(model, part))
        self._judge.take(buckets, sorted(lines, key=lambda each: each.second))
        # What ends a moment before the stretch does may be written a moment after it.
        self.alerts += self._judge.advance(START_S + int(end) - 1)

    def _events(self, model: str, requests: Requests) -> Events:
        """The events of requests as they would be read from their lines: times in whole and thousandths of a ms."""
        kind = self._kind_numbers(model)[requests.outcome * 2 + requests.stream]
        time_ms = (_START_MS + np.floor(requests.finish * 1000)).astype(np.int64)
        duration, ttft = _ms(requests.finish - requests.arrival), _ms(requests.ttft)
        decode = _ms(requests.decode)
        many = requests.stream & (requests.completion >= LEAST_TOKENS_FOR_SPEED)
        with np.errstate(invalid="ignore", divide="ignore"):
            tpot = np.where(many, np.maximum(duration - ttft, 0.0) / (requests.completion - 1), np.nan)
        events = Events(
            kind=kind,
            time_ms=time_ms,
            second=time_ms // 1000,
            duration_ms=duration,
            prompt_tokens=requests.prompt,
            completion_tokens=requests.completion,
            cached_tokens=requests.cached,
            reasoning_tokens=None,
            max_tokens=None,
            tool_calls=None,
            ttft_ms=ttft,
            stall_max_ms=_ms(requests.stall),
            queue_ms=_ms(requests.queue),
            prefill_ms=_ms(requests.prefill),
            decode_ms=decode,
            tpot_ms=tpot,
        )
        if not self._plain:
            return events
        return replace(
            events, cached_tokens=None, ttft_ms=None, stall_max_ms=None, queue_ms=None, prefill_ms=None,
            decode_ms=None, tpot_ms=None,
        )  # fmt: skip

    def _kind_numbers(self, model: str) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The number of the kind of each outcome, not streamed and streamed."""
        found = self._numbers.get(model)
        if found is None:
            keys = [_key(model, outcome, stream) for outcome in range(len(OUTCOMES)) for stream in (False, True)]
            if self._plain:
                nothing = dict.fromkeys(("outcome", "operation", "finish_reason", "stream"))
                keys = [key | nothing for key in keys]
            found = np.array([self._kinds.number({"event": "request"} | key) for key in keys], np.int32)
            self._kinds.twins = np.array([kind.empty_twin for kind in self._kinds.list], np.int32)
            self._kinds.streams = np.array([kind.stream for kind in self._kinds.list], np.bool_)
            self._numbers[model] = found
        return found


def episodes(alerts: Iterable[Alert], seconds: float) -> list[Episode]:
    """The alerts of ours that fired, from firing to resolved; one that never ends lasts to the end of the week."""
    begun: dict[str, Alert] = {}
    ended: dict[str, float] = {}
    for alert in alerts:
        if alert.state == "firing":
            begun.setdefault(alert.id, alert)
        elif alert.state == "resolved":
            ended[alert.id] = _second(alert.time)
    return [
        Episode(_second(a.time), ended.get(a.id, seconds), a.kind, a.model, a.host, a.cause) for a in begun.values()
    ]


def server_lines(model: str, part: Part) -> Iterator[Line]:
    """What the server said, as the judge takes it."""
    beats, host = part.heartbeats, HOSTS[model]
    first = 4000 + part.started_before
    pids = [first + sum(up <= time for up, _ in part.started) for time in beats.time.tolist()]
    for time, pid, running, waiting, kv, gpu in zip(
        beats.time.tolist(), pids, beats.running.tolist(), beats.waiting.tolist(), beats.kv_usage.tolist(),
        beats.gpu_bytes.tolist(), strict=True,
    ):  # fmt: skip
        second = START_S + int(time)
        gpus = ((GPU, int(gpu), GPU_BYTES),)
        yield Line(second, HEARTBEAT, host, str(pid), None, None, running, waiting, round(kv, 4), gpus)
    for place, (time, startup_s) in enumerate(part.started):
        yield Line(START_S + int(time), SERVER_STARTED, host, str(first + 1 + place), model, startup_s)


def log_lines(parts: dict[str, Part]) -> list[bytes]:
    """The lines of an access log that say the same, in order of time."""
    lines: list[tuple[float, dict[str, Any]]] = []
    for model, part in parts.items():
        lines += _request_lines(model, part.requests)
        for line in server_lines(model, part):
            lines.append((line.second - START_S, _server_line(line)))
    lines.sort(key=lambda each: each[0])
    return [json.dumps(line, separators=(",", ":")).encode() + b"\n" for _, line in lines]


def _request_lines(model: str, requests: Requests) -> Iterator[tuple[float, dict[str, Any]]]:
    columns: Sequence[tuple[str, list[float]]] = [
        ("duration_ms", _ms(requests.finish - requests.arrival).tolist()),
        ("prompt_tokens", requests.prompt.tolist()),
        ("completion_tokens", requests.completion.tolist()),
        ("cached_tokens", requests.cached.tolist()),
        ("ttft_ms", _ms(requests.ttft).tolist()),
        ("stall_max_ms", _ms(requests.stall).tolist()),
        ("queue_ms", _ms(requests.queue).tolist()),
        ("prefill_ms", _ms(requests.prefill).tolist()),
        ("decode_ms", _ms(requests.decode).tolist()),
    ]
    for place, (finish, outcome, stream) in enumerate(
        zip(requests.finish.tolist(), requests.outcome.tolist(), requests.stream.tolist(), strict=True)
    ):
        line: dict[str, Any] = {"time": _time(_START_MS + int(finish * 1000))} | _key(model, outcome, stream)
        for name, values in columns:
            value = values[place]
            known = not math.isnan(value)
            if name.endswith("tokens"):
                line[name] = int(value) if known else None
            elif known:
                line[name] = value
        yield finish, line | {"host": HOSTS[model]}


def _key(model: str, outcome: int, stream: bool) -> dict[str, Any]:
    """What decides the kind of a line."""
    name = "rejected" if outcome == REJECTED_200 else OUTCOMES[outcome]
    finish = FINISH.get(outcome)
    known = {"method": "POST", "path": PATH, "status": STATUS.get(outcome, 200), "outcome": name, "stream": stream}
    return known | {"model": model, "operation": "chat", "finish_reason": finish}


def _server_line(line: Line) -> dict[str, Any]:
    found: dict[str, Any] = {"time": _time(line.second * 1000), "event": line.event, "host": line.host}
    found |= {"pid": int(line.pid)}
    if line.event == SERVER_STARTED:
        return found | {"model": line.model, "startup_s": line.startup_s}
    engine = {"engine": 0, "running": line.running, "waiting": line.waiting, "kv_cache_usage": line.kv}
    gpus = [{"gpu": gpu, "memory_used_bytes": used, "memory_total_bytes": total} for gpu, used, total in line.gpus]
    return found | {"in_flight": (line.running or 0) + (line.waiting or 0), "engines": [engine], "gpus": gpus}


def _ms(seconds: Floats) -> Floats:
    found: Floats = np.round(seconds * 1000, 3)
    return found


def _time(milliseconds: int) -> str:
    when = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def _second(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() - START_S
