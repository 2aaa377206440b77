"""The buckets counted again, slowly: one line after the other, in plain Python, from the raw fields."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from logproc.settings import Levels, ModelThresholds, SlowForSize, Thresholds

Line = Mapping[str, Any]
Recount = dict[tuple[str, int], Counter[str]]
"""By model and second the columns that are not 0."""

TEXT = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}


def recount(lines: Iterable[Line], seconds: Iterable[int], thresholds: Thresholds) -> Recount:
    """The buckets of good request lines; `seconds` are those of their times."""
    found: Recount = {}
    for line, second in zip(lines, seconds, strict=True):
        _count(line, thresholds, found.setdefault((line.get("model") or "unknown", second), Counter()))
    return {key: Counter({name: count for name, count in row.items() if count}) for key, row in found.items()}


def _outcome(line: Line, operation: str) -> str:
    if line.get("outcome"):
        return str(line["outcome"])
    status, finish = line["status"], line.get("finish_reason")
    if status == 499:
        return "client_disconnect"
    if 400 <= status < 500 or status == 503:
        return "rejected"
    if status >= 500 or finish in ("abort", "error"):
        return "server_error"
    if finish == "length":
        return "truncated"
    is_empty = line["completion_tokens"] == 0 and operation in ("chat", "text_completion") and status // 100 == 2
    return "empty" if is_empty else "ok"


def _count(line: Line, thresholds: Thresholds, row: Counter[str]) -> None:
    operation = line.get("operation") or TEXT.get(line["path"], "unknown")
    status, outcome, stream = line["status"], _outcome(line, operation), line.get("stream") is not False
    is_2xx, duration, ttft = status // 100 == 2, line["duration_ms"], line.get("ttft_ms")
    prompt, completion, cached = line["prompt_tokens"], line["completion_tokens"], line.get("cached_tokens")
    timed = outcome != "rejected"
    parts: list[Any] = [line.get(f"{name}_ms") for name in ("queue", "prefill", "decode")]
    per_token = line.get("tpot_ms")
    if per_token is None and ttft is not None and stream and completion is not None and completion >= 16:
        per_token = max(duration - ttft, 0.0) / (completion - 1)

    row["requests"] += 1
    row["timed"] += timed
    row["first_tokens"] += ttft is not None
    row["speeds"] += per_token is not None
    answerable = not 400 <= status < 500
    server_error, rejected_200 = status >= 500 or outcome == "server_error", outcome == "rejected" and is_2xx
    row["answerable"] += answerable
    row["errors"] += answerable and (server_error or outcome == "stream_error" or rejected_200)
    row["stream_errors"] += outcome == "stream_error"
    row["server_errors"] += server_error
    row["rejected_200"] += rejected_200
    row["disconnects"] += outcome == "client_disconnect"
    texts = operation in ("chat", "text_completion")
    generation = texts and is_2xx and outcome in ("ok", "empty", "truncated", "reasoning_only")
    flagged_empty = (
        outcome == "empty"
        and completion is not None
        and not (line.get("max_tokens") is not None and line["max_tokens"] <= 1)
        and not (line.get("tool_calls") or 0) > 0
    )
    row["generations"] += generation
    row["empties"] += generation and flagged_empty
    own = thresholds.models.get(line.get("model") or "unknown")
    stall, bound = line.get("stall_max_ms"), _levels(thresholds, own, "stall_s").lowest
    row["stalled"] += timed and stall is not None and bound is not None and stall > bound * 1000

    slow = _slow(line, thresholds, own, timed, stream, per_token, row)
    for prefix, counts, timed_here in (("", True, timed), ("slow_", slow, True)):
        if not counts:
            continue
        if prefix:
            row["slow_requests"] += 1
        row[f"{prefix}duration_us"] += _us(duration) if timed_here else 0
        row[f"{prefix}prompts"] += prompt is not None
        row[f"{prefix}prompt_tokens"] += prompt or 0
        row[f"{prefix}completions"] += completion is not None
        row[f"{prefix}completion_tokens"] += completion or 0
        row[f"{prefix}cached_tokens"] += cached or 0
        row[f"{prefix}cacheable_tokens"] += prompt if cached is not None and prompt is not None else 0
        row[f"{prefix}ttft_us"] += _us(ttft or 0.0)
        row[f"{prefix}stall_us"] += _us(stall or 0.0)
        if None not in parts:
            row[f"{prefix}engine"] += 1
            row[f"{prefix}engine_duration_us"] += _us(duration)
            for name, part in zip(("queue", "prefill", "decode"), parts, strict=True):
                row[f"{prefix}{name}_us"] += _us(part)

    for name, value in (("duration", duration), ("completion", completion)):
        if timed and not flagged_empty and value:
            logarithm = round(math.log(value) * 1000)
            row[f"log_{name}s"] += 1
            row[f"log_{name}"] += logarithm
            row[f"log_{name}_2"] += logarithm * logarithm
    if timed:
        row[f"duration:{_bin(duration)}"] += 1
    if ttft is not None:
        row[f"ttft:{_bin(ttft)}"] += 1


def _slow(
    line: Line,
    thresholds: Thresholds,
    own: ModelThresholds | None,
    timed: bool,
    stream: bool,
    per_token: float | None,
    row: Counter[str],
) -> bool:
    """Count what is over each level; whether anything is."""
    size = own.slow_for_size if own and "slow_for_size" in own.model_fields_set else thresholds.slow_for_size
    size = size or SlowForSize.model_construct(ttft_base_s=0.0, ttft_per_1k_prompt_s=0.0, s_per_token=0.0)
    completion = line["completion_tokens"]
    uncached = max((line["prompt_tokens"] or 0) - (line.get("cached_tokens") or 0), 0)
    first = size.ttft_base_s * 1000 + size.ttft_per_1k_prompt_s * uncached
    whole = first + size.s_per_token * 1000 * (completion or 0)
    duration, ttft = line["duration_ms"], line.get("ttft_ms")
    slow = False
    for name in ("duration_s", "duration_p95_s", "ttft_s"):
        value, usual = (ttft if stream else None, first) if name == "ttft_s" else (duration, whole)
        for severity in ("warning", "critical", "disaster"):
            level = getattr(_levels(thresholds, own, name), severity)
            if timed and level is not None and value is not None and value > level * 1000:
                row[f"{name}:{severity}:any_size"] += 1
                too_slow = completion is not None and value > usual
                row[f"{name}:{severity}"] += too_slow
                slow |= too_slow
    for severity in ("warning", "critical", "disaster"):
        level = getattr(_levels(thresholds, own, "tokens_per_second"), severity)
        if timed and level and per_token is not None and per_token > 1000 / level:
            row[f"tokens_per_second:{severity}"] += 1
            slow = True
    return slow


def _levels(thresholds: Thresholds, own: ModelThresholds | None, name: str) -> Levels:
    found: Levels = getattr(own, name, None) or getattr(thresholds, name)
    return found


def _us(milliseconds: float) -> int:
    return min(round(milliseconds * 1000), 1 << 41)


def _bin(milliseconds: float) -> int:
    """26 bins, the first from 4 ms on, each reaching 1.6 times as far as the one before."""
    place = math.floor((math.log(max(milliseconds, 1.0)) - math.log(4)) * 26 / math.log(1.6**26))
    return min(max(place, 0), 25)
