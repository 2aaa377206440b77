"""The independent recount: plain json, one line at a time, no code of logproc; everything else is compared with it."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
}


@dataclass
class Recount:
    lines: int = 0
    rejected: int = 0
    requests: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    tokens: Counter[tuple[str, str]] = field(default_factory=Counter)
    finish: Counter[tuple[str, str]] = field(default_factory=Counter)
    durations: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    ttft: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    queue: dict[str, list[float]] = field(default_factory=dict)
    prefill: dict[str, list[float]] = field(default_factory=dict)
    decode: dict[str, list[float]] = field(default_factory=dict)
    per_token: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    cached: Counter[str] = field(default_factory=Counter)

    def bucket_counts(self, values: Iterable[float], edges: list[float]) -> list[int]:
        """Cumulative counts per edge (seconds) of values (ms)."""
        counts = [0] * (len(edges) + 1)
        for value in values:
            counts[bisect_left([edge * 1000 for edge in edges], value)] += 1
        return [sum(counts[: place + 1]) for place in range(len(counts))]


def recount(raw: Iterable[bytes]) -> Recount:
    """Count whole lines (with or without their newline)."""
    total = Recount()
    for line in raw:
        if not line.strip():
            continue
        record = _parse(line)
        if record is None:
            total.rejected += 1
            continue
        total.lines += 1
        if record.get("event", "request") == "request":
            _count(total, record)
    return total


def _parse(line: bytes) -> dict[str, Any] | None:
    if b"\0" in line or len(line.rstrip(b"\n")) > 1 << 20:
        return None
    try:
        record = json.loads(line.decode("utf-8"), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("time"), str):
        return None
    if record.get("event", "request") != "request":
        return record
    for name, kinds in (("method", str), ("path", str), ("status", int), ("duration_ms", (int, float))):
        if not isinstance(record.get(name), kinds) or isinstance(record[name], bool):
            return None
    for name in ("prompt_tokens", "completion_tokens"):
        if name not in record or not isinstance(record[name], int | None) or (record[name] or 0) < 0:
            return None
    return record if record["duration_ms"] >= 0 and 100 <= record["status"] <= 599 else None


def _outcome(record: dict[str, Any], operation: str) -> str:
    if "outcome" in record:
        told: str = record["outcome"]
        return told
    status = record["status"]
    if status == 499:
        return "client_disconnect"
    if status == 503 or 400 <= status < 500:
        return "rejected"
    if status >= 500 or record.get("finish_reason") in ("abort", "error"):
        return "server_error"
    if record.get("finish_reason") == "length":
        return "truncated"
    if status // 100 == 2 and record["completion_tokens"] == 0 and operation in ("chat", "text_completion"):
        return "empty"
    return "ok"


def _count(total: Recount, record: dict[str, Any]) -> None:
    model = record.get("model") or "unknown"
    operation = record.get("operation") or OPERATIONS.get(record["path"], "unknown")
    outcome = _outcome(record, operation)
    total.requests[model, operation, str(record["status"]), outcome] += 1
    for name in ("prompt", "completion"):
        total.tokens[model, name] += record[f"{name}_tokens"] or 0
    if record.get("finish_reason"):
        total.finish[model, record["finish_reason"]] += 1
    if outcome != "rejected":
        total.durations.setdefault((model, operation), []).append(record["duration_ms"])
    if record.get("ttft_ms") is not None and record.get("stream") is not False:
        total.ttft.setdefault((model, operation), []).append(record["ttft_ms"])
    for name in ("queue", "prefill", "decode"):
        if record.get(f"{name}_ms") is not None:
            getattr(total, name).setdefault(model, []).append(record[f"{name}_ms"])
    per_token = record.get("tpot_ms")
    tokens = record["completion_tokens"] or 0
    if per_token is None and record.get("stream") is True and tokens >= 16 and record.get("ttft_ms") is not None:
        per_token = max(record["duration_ms"] - record["ttft_ms"], 0.0) / (tokens - 1)
    if per_token is not None:
        total.per_token.setdefault((model, operation), []).append(per_token)
    if record.get("cached_tokens") is not None:
        total.cached[model] += record["cached_tokens"]
