"""Sends traffic to a real vLLM and keeps both sides: what the clients saw, and what the server wrote."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.e2e import traffic
from tests.e2e.seen import Seen, look
from tests.services.vllm import VllmServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.traffic import Call

LAST_LINES_LIMIT_S = 20.0
PROMPT_SUM = "vllm:request_prompt_tokens_sum"
GENERATION_SUM = "vllm:request_generation_tokens_sum"
FINISHED = "vllm:request_prompt_tokens_count"


@dataclass(frozen=True)
class Witness:
    """Both sides of one run. `vllm_sums` is vLLM's own count of prompt and completion tokens, see `one_answer`."""

    began: float
    ended: float
    calls: list[tuple[Call, Seen]]
    log: Path
    lines: list[dict[str, Any]]
    vllm_sums: tuple[int, int]

    @property
    def one_answer(self) -> list[tuple[Call, Seen]]:
        """Finished generations of one prompt and one choice: all that `vllm_sums` counts, each once."""
        return [(call, seen) for call, seen in self.calls if call.kind in traffic.ONE_ANSWER]

    def line_of(self, call: Call) -> dict[str, Any]:
        """The line with the id of that request."""
        (line,) = (line for line in self.request_lines if line.get("request_id") == call.request.request_id)
        return line

    @property
    def request_lines(self) -> list[dict[str, Any]]:
        """The lines of requests, without those of the server."""
        return [line for line in self.lines if "event" not in line]


def read_lines(log: Path) -> list[dict[str, Any]]:
    """Every line of an access log, by plain json."""
    return [json.loads(line) for line in log.read_bytes().splitlines()]


def serve_and_watch(folder: Path, kinds: list[str], *, parallel: int, seed: int) -> Witness:
    """Start a server, send it one request for each of `kinds`, stop it, and read its log.

    Requests of several answers come last, after vLLM's sums were read: it counts their prompts once for each choice.
    """
    began = time.time()
    first = [kind for kind in kinds if kind not in traffic.SEVERAL_ANSWERS]
    last = [kind for kind in kinds if kind in traffic.SEVERAL_ANSWERS]
    random.Random(seed).shuffle(first)
    with VllmServer(folder) as vllm:
        calls = asyncio.run(traffic.send_all(vllm.port, traffic.make_calls(first, "first", seed), parallel))
        sums = _sums(vllm, sum(kind in traffic.ONE_ANSWER for kind in first))
        calls += asyncio.run(traffic.send_all(vllm.port, traffic.make_calls(last, "last", seed), parallel))
    seen = [(call, look(call, answer)) for call, answer in calls]
    return Witness(began, time.time(), seen, vllm.access_log, read_lines(vllm.access_log), sums)


def _sums(vllm: VllmServer, finished: int) -> tuple[int, int]:
    """What vLLM has counted, once it has counted all that finished."""
    deadline = time.monotonic() + LAST_LINES_LIMIT_S
    while vllm.metric(FINISHED) < finished and time.monotonic() < deadline:
        time.sleep(0.1)
    return int(vllm.metric(PROMPT_SUM)), int(vllm.metric(GENERATION_SUM))
