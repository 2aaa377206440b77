"""Sends traffic to a real vLLM and keeps both sides: what the clients saw, and what the server wrote."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tests.e2e import traffic
from tests.e2e.seen import Seen, look
from tests.e2e.wait import wait_for
from tests.services.vllm import VllmServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.e2e.traffic import Call

PROMPT_SUM = "vllm:request_prompt_tokens_sum"
GENERATION_SUM = "vllm:request_generation_tokens_sum"
FINISHED = "vllm:request_prompt_tokens_count"


@dataclass(frozen=True)
class Witness:
    """Both sides of one run. `vllm_sums` is what vLLM counted for `counted`: prompt and completion tokens."""

    began: float
    ended: float
    counted: list[tuple[Call, Seen]]
    mixed: list[tuple[Call, Seen]]
    log: Path
    lines: list[dict[str, Any]]
    vllm_sums: tuple[int, int]

    @property
    def calls(self) -> list[tuple[Call, Seen]]:
        """Everything that was sent."""
        return self.counted + self.mixed

    @property
    def line_sums(self) -> tuple[int, int]:
        """Prompt and completion tokens of the lines of all finished generations among `counted`."""
        lines = [self.line_of(call) for call, _ in self.counted if call.kind in traffic.ONE_ANSWER]
        return sum(line["prompt_tokens"] for line in lines), sum(line["completion_tokens"] for line in lines)

    def line_of(self, call: Call) -> dict[str, Any]:
        """The line with the id of that request."""
        return self._by_id[call.request.request_id]

    @cached_property
    def _by_id(self) -> dict[str, dict[str, Any]]:
        return {line["request_id"]: line for line in self.request_lines}

    @property
    def request_lines(self) -> list[dict[str, Any]]:
        """The lines of requests, without those of the server."""
        return [line for line in self.lines if "event" not in line]


def read_lines(log: Path) -> list[dict[str, Any]]:
    """Every line of an access log, by plain json."""
    return [json.loads(line) for line in log.read_bytes().splitlines()]


def serve_and_watch(folder: Path, *, counted: Sequence[str], mixed: Sequence[str], parallel: int, seed: int) -> Witness:
    """Start a server, send it one request for each kind in `counted` and then in `mixed`, stop it, and read its log.

    vLLM's own sums are read in between, so `counted` must be of kinds in COUNTED_ONCE. The server lives until its
    first heartbeat at least.
    """
    began = time.time()
    with VllmServer(folder) as vllm:
        first = _send(vllm, counted, "counted", parallel, seed)
        sums = _sums(vllm, sum(kind in traffic.ONE_ANSWER for kind in counted))
        second = _send(vllm, mixed, "mixed", parallel, seed)
        asyncio.run(wait_for(lambda: b'"heartbeat"' in vllm.access_log.read_bytes()))
    return Witness(began, time.time(), first, second, vllm.access_log, read_lines(vllm.access_log), sums)


def _send(vllm: VllmServer, kinds: Sequence[str], prefix: str, parallel: int, seed: int) -> list[tuple[Call, Seen]]:
    shuffled = random.Random(seed).sample(kinds, len(kinds))
    calls = traffic.make_calls(shuffled, prefix, seed)
    answers = asyncio.run(traffic.send_all(vllm.port, calls, parallel))
    return [(call, look(call, answer)) for call, answer in answers]


def _sums(vllm: VllmServer, finished: int) -> tuple[int, int]:
    """What vLLM has counted, once it has counted all that finished."""
    asyncio.run(wait_for(lambda: vllm.metric(FINISHED) >= finished))
    return int(vllm.metric(PROMPT_SUM)), int(vllm.metric(GENERATION_SUM))
