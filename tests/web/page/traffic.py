"""Access lines as a busy server writes them, seeded: an hour with a queue that builds up, then broken streams."""

from __future__ import annotations

import base64
import json
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

MINUTE_MS = 60_000
MODELS = ("qwen3-32b", "llama-4-8b")
HOST = "gpu-box-1"
PID = 4711
GPUS = ("GPU-5a1c", "GPU-77fe")
_GIB = 1 << 30


def time_text(ms: int) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_id(rng: random.Random, ms: int) -> str:
    """An id as `serve` makes it."""
    return base64.urlsafe_b64encode(ms.to_bytes(6, "big") + rng.randbytes(10)).rstrip(b"=").decode()


def request(rng: random.Random, ms: int, *, queue_s: float = 0.0, broken: float = 0.003) -> dict[str, Any]:
    """One request that finished at `ms`; `queue_s` is how long the queue is now, `broken` how likely streams end."""
    model = MODELS[0] if rng.random() < 0.8 else MODELS[1]
    prompt = min(30_000, int(rng.lognormvariate(6.6, 0.9)) + 8)
    wanted = min(1000, int(rng.lognormvariate(4.4, 0.7)) + 2)
    queue = rng.expovariate(1 / 4.0) + (queue_s * 1000 * rng.uniform(0.6, 1.3) if queue_s else 0.0)
    prefill = 18 + prompt * 0.06 * rng.uniform(0.9, 1.2)
    outcome, status = "ok", 200
    finish: str | None = "stop"
    luck = rng.random()
    if luck < broken:
        outcome, finish = "stream_error", None
        wanted = max(1, wanted // 3)
    elif luck < broken + 0.006:
        outcome, status, finish = "rejected", 429, None
    elif luck < broken + 0.012:
        outcome, status, finish = "client_disconnect", 499, None
        wanted = max(1, wanted // 2)
    elif luck < broken + 0.020:
        outcome, finish = "truncated", "length"
    elif luck < broken + 0.023:
        outcome, wanted = "empty", 1
    line: dict[str, Any] = {
        "time": time_text(ms),
        "id": event_id(rng, ms),
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": status,
        "prompt_tokens": prompt,
        "completion_tokens": wanted,
        "outcome": outcome,
        "request_id": f"req-{rng.randrange(1 << 40):010x}",
        "model": model,
        "operation": "chat",
        "stream": True,
        "client": f"10.0.0.{rng.randrange(1, 9)}",
        "user_id": rng.choice(("ada", "grace", "linus", "margaret", "notebook", "batch-7")),
        "api_key_id": rng.choice(("9f86d081884c", "2c26b46b68ff", "fcde2b2edba5")),
        "user_agent": rng.choice(("openai-python/2.7", "curl/8.9", "langchain/1.2")),
        "host": HOST,
        "pid": PID,
        "service": "vllm",
    }
    if outcome == "rejected":
        return {
            **line,
            "prompt_tokens": None,
            "completion_tokens": None,
            "duration_ms": 2.1,
            "error_type": "overloaded",
        }
    tpot = rng.uniform(11, 16)
    stall = 2600 * rng.uniform(1, 1.6) if rng.random() < 0.004 else tpot * rng.uniform(2, 6)
    decode = wanted * tpot + (stall if stall > 1000 else 0)
    client = rng.expovariate(1 / 8.0)
    line |= {
        "duration_ms": round(queue + prefill + decode + client, 1),
        "ttft_ms": round(queue + prefill + rng.uniform(2, 6), 1),
        "stall_max_ms": round(stall, 1),
        "queue_ms": round(queue, 1),
        "prefill_ms": round(prefill, 1),
        "decode_ms": round(decode, 1),
        "tpot_ms": round(tpot, 2),
        "cached_tokens": int(prompt * rng.random() * 0.5),
        "max_tokens": 1000,
    }
    if finish is not None:
        line["finish_reason"] = finish
    else:
        line["error_type"] = "EngineError" if outcome == "stream_error" else "client"
    return line


def started(ms: int) -> dict[str, Any]:
    """The line of a server that has just started."""
    return {"time": time_text(ms), "event": "server_started", "host": HOST, "pid": PID, "service": "vllm",
            "version": "0.32.0", "model": MODELS[0], "startup_s": 48.2}  # fmt: skip


def heartbeat(rng: random.Random, ms: int, queue_s: float = 0.0) -> dict[str, Any]:
    """What the server says of itself each ten seconds."""
    busy = min(1.0, 0.35 + queue_s / 6)
    gpus = [
        {"gpu": gpu, "memory_used_bytes": int(71.5 * _GIB), "memory_total_bytes": 80 * _GIB,
         "utilization": round(min(1.0, busy + rng.uniform(0.05, 0.2)), 2), "temperature_c": 61.0, "power_w": 410.0}
        for gpu in GPUS
    ]  # fmt: skip
    engine: dict[str, Any] = {
        "engine": "0",
        "running": 6 + int(20 * busy),
        "waiting": int(queue_s * 9),
        "kv_cache_usage": round(busy * 0.8, 3),
    }
    return {"time": time_text(ms), "event": "heartbeat", "host": HOST, "pid": PID, "service": "vllm",
            "in_flight": engine["running"] + engine["waiting"], "oldest_in_flight_ms": 900.0 + 1000 * queue_s,
            "lines_lost": 0, "engines": [engine], "gpus": gpus}  # fmt: skip


def hour(end_ms: int, *, minutes: int = 60, per_second: float = 3.0, seed: int = 11) -> Iterator[dict[str, Any]]:
    """The lines of the time before `end_ms`, oldest first.

    A quarter before the end a queue builds up for seven minutes; half an hour before it, streams break for three.
    """
    rng = random.Random(seed)
    ms = end_ms - minutes * MINUTE_MS
    yield started(ms)
    beat = ms
    while True:
        wave = 1 + 0.35 * math.sin(ms / (11 * MINUTE_MS))
        ms += max(1, int(rng.expovariate(per_second * wave) * 1000))
        if ms >= end_ms:
            return
        before = (end_ms - ms) / MINUTE_MS
        queue_s = max(0.0, 5.5 * math.sin((15 - before) / 7 * math.pi)) if 8 < before < 15 else 0.0
        while beat + 10_000 <= ms:
            beat += 10_000
            yield heartbeat(rng, beat, queue_s)
        yield request(rng, ms, queue_s=queue_s, broken=0.25 if 30 < before < 33 else 0.003)


def written(lines: Iterator[dict[str, Any]]) -> bytes:
    """As a file holds them."""
    return b"".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for line in lines)
