"""Writes an access log of any length for benchmarks and tests: seeded, so the same arguments give the same bytes.

python benchmarks/make_log.py 1000000 /tmp/million.jsonl            # a dozen fields a line, as other tools write
python benchmarks/make_log.py 1000000 /tmp/million.jsonl --full     # every field that `serve` writes, heartbeats too
python benchmarks/make_log.py 1000000 /tmp/million.jsonl --bad 500  # every 500th line broken in some way
"""

from __future__ import annotations

import argparse
import base64
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

MODELS = ("qwen3-32b", "llama-4-8b", "tiny")
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages")
STATUSES = (200,) * 470 + (400,) * 6 + (401, 404, 422) + (429,) * 10 + (499,) * 5 + (500,) * 3 + (503,) * 2
BROKEN = (
    b'{"time": "2026-01-01T00:00:00.000Z", "method": "POST", "pa\n',
    b"[1, 2, 3]\n",
    b'{"time":"2026-01-01T00:00:00.000Z","method":"POST","path":"/v1/completions","status":200}\n',
    b'{"time":"2026-01-01T00:00:00.000Z","method":"POST","path":"/v1/completions","status":"200","prompt_tokens":1,'
    b'"completion_tokens":1,"duration_ms":5}\n',
    b'{"time":"2026-01-01T00:00:00.000Z","method":"POST","path":"/v1/\xff","status":200,"prompt_tokens":1,'
    b'"completion_tokens":1,"duration_ms":5}\n',
    b"\0\0\0\0\0\0\0\0\n",
    b'{"time":"2026-01-01T00:00:00.000Z","method":"POST","path":"/v1/completions","status":200,"prompt_tokens":-1,'
    b'"completion_tokens":1,"duration_ms":5}\n',
    b'{"time":"2026-01-01T00:00:00.000Z","method":"POST","path":"/v1/completions","status":200,"prompt_tokens":1,'
    b'"completion_tokens":1,"duration_ms":NaN}\n',
)


def lines(
    count: int, *, full: bool = False, bad: int = 0, seed: int = 7, start_ms: int = 1_767_225_600_000
) -> Iterator[bytes]:
    """`count` lines with their newlines, 20 ms of log time apart; every `bad`th is broken."""
    rng = random.Random(seed)
    now_ms = start_ms
    for number in range(count):
        now_ms += rng.randint(1, 39)
        if bad and number % bad == bad - 1:
            yield BROKEN[(number // bad) % len(BROKEN)]
        elif full and number % 500 == 499:
            yield _heartbeat(rng, now_ms)
        else:
            yield _request(rng, now_ms, full)


def _time(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _id(rng: random.Random, now_ms: int) -> str:
    return base64.urlsafe_b64encode(now_ms.to_bytes(6, "big") + rng.randbytes(10)).rstrip(b"=").decode()


def _request(rng: random.Random, now_ms: int, full: bool) -> bytes:
    status, path, model = rng.choice(STATUSES), rng.choice(PATHS), rng.choice(MODELS)
    good = status == 200
    stream = rng.random() < 0.7 and "embed" not in path
    prompt = int(rng.lognormvariate(6, 1)) if good else None
    completion = (0 if "embed" in path else int(rng.lognormvariate(5, 1)) * (rng.random() > 0.01)) if good else None
    duration = round(rng.lognormvariate(6.8, 0.9), 3)
    finish = None if not good or "embed" in path else ("length" if rng.random() < 0.05 else "stop")
    line: dict[str, object] = {"time": _time(now_ms)}
    if full:
        line["id"] = _id(rng, now_ms)
    line |= {"method": "POST", "path": path, "status": status, "prompt_tokens": prompt, "completion_tokens": completion}
    line |= {"duration_ms": duration}
    if full:
        outcome = (
            "ok" if good else "client_disconnect" if status == 499 else "server_error" if status == 500 else "rejected"
        )
        if good and finish == "length":
            outcome = "truncated"
        elif good and completion == 0 and "embed" not in path:
            outcome = "empty"
        line |= {
            "outcome": outcome,
            "request_id": rng.randbytes(16).hex(),
            "response_id": f"chatcmpl-{rng.randbytes(8).hex()}",
        }
    line |= {"model": model, "stream": stream}
    if finish:
        line["finish_reason"] = finish
    if good and stream:
        line["ttft_ms"] = round(duration * rng.uniform(0.05, 0.4), 3)
    if full and good:
        line |= {"queue_ms": round(duration * 0.05, 3), "prefill_ms": round(duration * 0.1, 3)}
        line |= {"decode_ms": round(duration * 0.8, 3), "cached_tokens": rng.randint(0, prompt or 0)}
        line |= {"stall_max_ms": round(rng.expovariate(1 / 60), 3)} if stream else {}
    if full:
        line |= {
            "client": f"10.0.0.{rng.randint(1, 40)}",
            "api_key_id": f"{rng.randint(1, 9):012x}",
            "user_agent": "openai/2.1",
        }
        line |= {"host": "gpu-1", "pid": 4242, "service": "vllm"}
    else:
        line |= {"client": f"10.0.0.{rng.randint(1, 40)}"}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _heartbeat(rng: random.Random, now_ms: int) -> bytes:
    line = {
        "time": _time(now_ms),
        "event": "heartbeat",
        "host": "gpu-1",
        "pid": 4242,
        "service": "vllm",
        "in_flight": rng.randint(0, 50),
        "oldest_in_flight_ms": round(rng.expovariate(1 / 3000), 3),
        "lines_lost": 0,
        "engines": [
            {"engine": 0, "running": rng.randint(0, 40), "waiting": 0, "kv_cache_usage": round(rng.random(), 4)}
        ],
        "gpus": [],
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--bad", type=int, default=0)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with given.file.open("wb") as out:
        out.writelines(lines(given.count, full=given.full, bad=given.bad, seed=given.seed))
