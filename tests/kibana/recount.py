"""What each chart must show, counted from the lines of the log in plain Python; no code of logproc."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

INTERVAL_MS = 2000
NS = 1_000_000
LENGTHS = (0, 16, 64, 256, 1024, 4096, 16384, 65536)
GENERATION = {"chat", "text_completion"}

Line = dict[str, Any]

MORE: list[dict[str, Any]] = [
    # What the recorded log has none of: another model, other clients, failures behind a 200, long and slow requests.
    {"outcome": "stream_error", "error_type": "InternalServerError", "error_code": 500, "completion_tokens": 12},
    {"outcome": "stream_error", "error_type": "EngineDeadError", "client": "10.0.0.8", "finish_reason": None},
    {"outcome": "server_error", "status": 500, "model": None, "ttft_ms": None, "stall_max_ms": None},
    {"outcome": "rejected", "status": 200, "model": None, "ttft_ms": None, "stall_max_ms": None, "tpot_ms": None},
    {"outcome": "rejected", "status": 503, "model": None, "ttft_ms": None, "stall_max_ms": None, "tpot_ms": None},
    {"duration_ms": 4200.5, "queue_ms": 3000.25, "ttft_ms": 3100.0, "prompt_tokens": 5000, "cached_tokens": 2048},
    {"duration_ms": 9000.0, "decode_ms": 8000.0, "stall_max_ms": 2600.0, "completion_tokens": 120, "tpot_ms": 66.0},
    {"duration_ms": 3500.0, "prefill_ms": 2900.0, "ttft_ms": 2950.0, "prompt_tokens": 70000, "completion_tokens": 300},
    {"outcome": "reasoning_only", "reasoning_tokens": 40},
    {"outcome": "empty", "completion_tokens": 1, "max_tokens": 1},
    {"outcome": "empty", "completion_tokens": 1, "max_tokens": 40},
]
_COMMON = {
    "method": "POST",
    "path": "/v1/chat/completions",
    "status": 200,
    "prompt_tokens": 300,
    "completion_tokens": 20,
    "duration_ms": 700.0,
    "outcome": "ok",
    "model": "big",
    "operation": "chat",
    "stream": True,
    "finish_reason": "stop",
    "ttft_ms": 90.0,
    "stall_max_ms": 40.0,
    "queue_ms": 5.0,
    "prefill_ms": 60.0,
    "decode_ms": 500.0,
    "tpot_ms": 25.0,
    "cached_tokens": 16,
    "client": "10.0.0.7",
    "user_id": "ann",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "host": "gpu-2",
    "pid": 7,
    "service": "vllm",
}
_HEARTBEATS = [
    [
        {"engine": 0, "running": 3, "waiting": 5, "kv_cache_usage": 0.5},
        {"engine": 1, "running": 8, "kv_cache_usage": 0.97},
    ],
    [{"engine": 0, "running": 2, "waiting": 0, "kv_cache_usage": 0.25}],
]


def log_of(recorded: Path) -> list[bytes]:
    """The recorded log, and after it lines of what it has none of."""
    lines = recorded.read_bytes().splitlines()
    for place, changes in enumerate(MORE):
        time = f"2026-11-21T11:01:{15 + place // 2}.{100 + place}Z"
        line = {"time": time, "request_id": f"more-{place}", **_COMMON, **changes}
        if line["outcome"] in {"server_error", "rejected"}:
            line |= dict.fromkeys(("prompt_tokens", "completion_tokens"))
            line |= dict.fromkeys(("queue_ms", "prefill_ms", "decode_ms", "tpot_ms", "cached_tokens", "finish_reason"))
        optional = {"prompt_tokens", "completion_tokens"}
        lines.append(json.dumps({k: v for k, v in line.items() if v is not None or k in optional}).encode())
    for place, engines in enumerate(_HEARTBEATS):
        beat = {"time": f"2026-11-21T11:01:{16 + 4 * place}.000Z", "event": "heartbeat", "host": "gpu-2", "pid": 7}
        lines.append(json.dumps({**beat, "service": "vllm", "in_flight": 4, "engines": engines, "gpus": []}).encode())
    return lines


@dataclass
class Percentile:
    """Any number between the neighbours of the one that has this many percent below it."""

    values: list[float]
    percent: float

    def __eq__(self, other: object) -> bool:
        if not self.values:
            return other is None
        ordered = sorted(self.values)
        place = self.percent / 100 * (len(ordered) - 1)
        low, high = ordered[max(0, int(place) - 1)], ordered[min(len(ordered) - 1, int(place) + 2)]
        return isinstance(other, int | float) and low * 0.999 <= other <= high * 1.001

    __hash__ = None  # type: ignore[assignment]


class Lines:
    """Some request lines, and the numbers of them that charts show."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.all = list(lines)

    def __len__(self) -> int:
        return len(self.all)

    def where(self, condition: Callable[[Line], bool]) -> Lines:
        return Lines(filter(condition, self.all))

    def by(self, key: Callable[[Line], Any]) -> dict[Any, Lines]:
        groups: dict[Any, list[Line]] = {}
        for line in self.all:
            keys = key(line)
            for each in keys if isinstance(keys, list) else [keys]:
                if each is not None:
                    groups.setdefault(each, []).append(line)
        return {each: Lines(found) for each, found in groups.items()}

    def known(self, name: str) -> list[float]:
        return [line[name] for line in self.all if line.get(name) is not None]

    def sum(self, name: str) -> float:
        return sum(self.known(name))

    def ns(self, name: str) -> float:
        return sum(round(value * NS) for value in self.known(name))

    def percentile(self, name: str, percent: float) -> Percentile:
        return Percentile([value * NS for value in self.known(name)], percent)


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def time_of(line: Line) -> int:
    milliseconds = round(datetime.fromisoformat(line["time"]).timestamp() * 1000)
    return milliseconds // INTERVAL_MS * INTERVAL_MS


def length_of(name: str) -> Callable[[Line], float | None]:
    return lambda line: None if line.get(name) is None else float(max(e for e in LENGTHS if e <= line[name]))


def is_error(line: Line) -> bool:
    rejected = line["outcome"] == "rejected" and line["status"] < 300
    return line["status"] >= 500 or line["outcome"] in {"server_error", "stream_error"} or rejected


def is_empty(line: Line) -> bool:
    allowed = line.get("max_tokens") is None or line["max_tokens"] > 1
    return (
        line["outcome"] == "empty" and line["completion_tokens"] is not None and allowed and not line.get("tool_calls")
    )


def is_answered(line: Line) -> bool:
    answered = line["status"] < 300 and line["outcome"] in {"ok", "empty", "truncated", "reasoning_only"}
    return line.get("operation") in GENERATION and answered


def is_timed(line: Line) -> bool:
    return all(line.get(f"{part}_ms") is not None for part in ("queue", "prefill", "decode"))


def not_rejected(line: Line) -> bool:
    return bool(line["outcome"] != "rejected")


def _errors(some: Lines) -> float | None:
    return ratio(len(some.where(is_error)), len(some.where(lambda line: not 400 <= line["status"] < 500)))


def _empty(some: Lines) -> float | None:
    return ratio(len(some.where(is_empty)), len(some.where(is_answered)))


def _tokens(some: Lines) -> float:
    return some.sum("prompt_tokens") + some.sum("completion_tokens")


def _times(some: Lines, name: str, *percents: int) -> dict[str, Percentile]:
    return {f"p{percent}": some.percentile(name, percent) for percent in percents}


def _stall(some: Lines) -> float | None:
    return ratio(
        some.ns("stall_max_ms"), some.where(lambda line: line.get("stall_max_ms") is not None).ns("duration_ms")
    )


def _model_cost(some: Lines) -> dict[str, Any]:
    return {
        "requests": len(some),
        "input": some.sum("prompt_tokens"),
        "output": some.sum("completion_tokens"),
        "tokens": _tokens(some),
        "each": _tokens(some) / len(some),
        "cached": ratio(some.sum("cached_tokens"), some.sum("prompt_tokens")),
    }


def _statuses(some: Lines) -> dict[str, Any]:
    return {
        "requests": len(some),
        "ok": len(some.where(lambda line: line["status"] < 400)),
        "4xx": len(some.where(lambda line: 400 <= line["status"] < 500)),
        "5xx": len(some.where(lambda line: line["status"] >= 500)),
    }


def _why(some: Lines) -> dict[str, Any]:
    timed = some.where(is_timed)
    prompts = some.known("prompt_tokens")
    return {
        "requests": len(some),
        **_times(some, "duration_ms", 50, 99),
        "ttft": some.percentile("ttft_ms", 95),
        **{part: ratio(some.ns(f"{part}_ms"), timed.ns("duration_ms")) for part in ("queue", "prefill", "decode")},
        "stall": _stall(some),
        "prompt": sum(prompts) / len(prompts) if prompts else None,
    }


def _parts_of_time(some: Lines) -> dict[str, Any]:
    parts = {part: some.ns(f"{part}_ms") for part in ("queue", "prefill", "decode")}
    return parts | {"rest": some.ns("duration_ms") - sum(parts.values())}


def _engines(name: str, *numbers: Callable[[list[float]], float]) -> Callable[[Lines], list[float | None]]:
    def of(some: Lines) -> list[float | None]:
        loads = [
            engine[name] for line in some.all for engine in line.get("engines", []) if engine.get(name) is not None
        ]
        return [number(loads) if loads else None for number in numbers]

    return of


def _average(values: list[float]) -> float:
    return sum(values) / len(values)


def _grouped(some: Lines, key: Callable[[Line], Any], row: Callable[[Lines], Any]) -> dict[tuple[Any, ...], Any]:
    return {(name,): row(group) for name, group in some.by(key).items()}


def _grouped_over_time(
    some: Lines, key: Callable[[Line], Any], row: Callable[[Lines], Any]
) -> dict[tuple[Any, ...], Any]:
    return {(name, time): row(part) for name, group in some.by(key).items() for time, part in group.by(time_of).items()}


def charts(requests: Lines, servers: Lines) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Title → what the chart must show, in the form of `asking.Rows`."""
    answered = requests.where(not_rejected)
    timed = requests.where(is_timed)

    def model(line: Line) -> Any:
        return line.get("model")

    def outcome(line: Line) -> Any:
        return line["outcome"]

    def cache(some: Lines) -> dict[str, Any]:
        highest, average = _engines("kv_cache_usage", max, _average)(some)
        return {"highest": highest, "average": average}

    def load(some: Lines) -> dict[str, Any]:
        return {"running": _engines("running", max)(some)[0], "waiting": _engines("waiting", max)(some)[0]}

    return {
        "Requests": {(): {"requests": len(requests)}},
        "Errors": {(): {"errors": _errors(requests)}},
        "Empty answers": {(): {"empty": _empty(requests)}},
        "P99 duration": {(): {"p99": answered.percentile("duration_ms", 99)}},
        "P95 time to first token": {(): {"ttft": requests.percentile("ttft_ms", 95)}},
        "Tokens read and written": {(): {"tokens": _tokens(requests)}},
        "Requests by outcome": _grouped_over_time(requests, outcome, lambda some: {"requests": len(some)}),
        "Duration": _grouped(answered, time_of, lambda some: _times(some, "duration_ms", 50, 95, 99)),
        "Time to first token": _grouped(requests, time_of, lambda some: _times(some, "ttft_ms", 50, 95, 99)),
        "Errors and empty answers": _grouped(
            requests, time_of, lambda some: {"errors": _errors(some), "empty": _empty(some)}
        ),
        "Tokens": _grouped(
            requests,
            time_of,
            lambda some: {"input": some.sum("prompt_tokens"), "output": some.sum("completion_tokens")},
        ),
        "Output tokens by model": _grouped_over_time(
            requests, model, lambda some: {"output": some.sum("completion_tokens")}
        ),
        "Cost in tokens": _grouped(requests, model, _model_cost),
        "Outcome beside status": _grouped(requests, outcome, _statuses),
        "Where the time went": _grouped(timed, time_of, _parts_of_time),
        "Queue, prefill and decode": _grouped(
            requests,
            time_of,
            lambda some: {part: some.percentile(f"{part}_ms", 95) for part in ("queue", "prefill", "decode")},
        ),
        "Longest stall of a stream": _grouped(
            requests, time_of, lambda some: _times(some, "stall_max_ms", 50, 95, 99) | {"share": _stall(some)}
        ),
        "Time per output token": _grouped(requests, time_of, lambda some: _times(some, "tpot_ms", 50, 95)),
        "Time to first token by length of the prompt": _grouped(
            requests.where(lambda line: line.get("ttft_ms") is not None),
            length_of("prompt_tokens"),
            lambda some: _times(some, "ttft_ms", 50, 95),
        ),
        "Duration by length of the answer": _grouped(
            requests, length_of("completion_tokens"), lambda some: _times(some, "duration_ms", 50, 95)
        ),
        "KV cache in use": _grouped(servers, time_of, cache),
        "Requests in the engines": _grouped(servers, time_of, load),
        "By model": _grouped(answered, model, _why),
        "By client": _grouped(answered, lambda line: line.get("client"), _why),
    }
