"""What the access log costs a server: CPU a request and a streamed chunk, beside the same app without it.

python benchmarks/serve_overhead.py                      # a table, in about two minutes
python benchmarks/serve_overhead.py --json               # the same for programs
python benchmarks/serve_overhead.py --memory 1000000     # and the growth of memory over a million requests

The app runs in this process and answers as vLLM does, without sockets or a model. CPU time is that of the whole
process, so the writing thread is in it. Each round measures the app bare and with the log in turns; a cost is the
median difference of the rounds, with its quartiles. The log goes to a real file, and no line of it may be lost.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console
from rich.table import Table

from serve.access_log import AccessLogMiddleware
from serve.log_writer import LogWriter
from serve.process_log import ProcessLog
from serve.settings import Settings
from serve.timings import TIMINGS, timings_of

App = Callable[[Any, Any, Any], Awaitable[None]]

BURST = 300
"""Requests between two pauses in which the writing thread catches up, so that its queue never overflows."""
BODY_PART = 256_000
"""As uvicorn with uvloop and httptools, which vLLM brings, hands a body of 1 MB on: in five parts."""
HEADERS = [
    (b"host", b"gpu-1.example.org:8000"),
    (b"user-agent", b"OpenAI/Python 1.93.0"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer sk-0123456789abcdef0123456789abcdef"),
    (b"x-forwarded-for", b"10.1.2.3"),
]
ROUTE = SimpleNamespace(path="/v1/chat/completions", endpoint=None)
COMMON = '"created":1795217604,"model":"tiny"'
USAGE = '"usage":{"prompt_tokens":256,"total_tokens":384,"completion_tokens":128,"prompt_tokens_details":null}'
ANSWER = (
    '{"id":"%s","object":"chat.completion",' + COMMON + ',"choices":[{"index":0,"message":{"role":"assistant",'
    '"content":"'
    + "A quick brown fox. "
    * 30
    + '","refusal":null,"annotations":null,"audio":null,"function_call":null,'
    '"reasoning":null},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}],'
    '"service_tier":null,"system_fingerprint":"vllm-0.32.0",' + USAGE + ',"prompt_logprobs":null}'
)
CHUNK = (
    'data: {"id":"%s","object":"chat.completion.chunk",' + COMMON + ',"choices":[{"index":0,"delta":{%s},'
    '"logprobs":null,"finish_reason":%s,"token_ids":null}]}\n\n'
)
LAST = 'data: {"id":"%s","object":"chat.completion.chunk",' + COMMON + ',"choices":[],' + USAGE + "}\n\n"


@dataclass(frozen=True)
class Scenario:
    """One kind of request; `chunks` 0 is a JSON answer."""

    name: str
    prompt_bytes: int = 1024
    chunks: int = 0
    engine: bool = False
    requests: int = 3000


SCENARIOS = (
    Scenario("JSON answer, 1 KB prompt"),
    Scenario("JSON answer, 1 KB prompt, engine timings", engine=True),
    Scenario("JSON answer, 1 MB prompt", prompt_bytes=1 << 20, requests=1500),
    Scenario("stream of 100 chunks", chunks=100, requests=600),
    Scenario("stream of 1,100 chunks", chunks=1100, requests=120),
)
SHORT, LONG = SCENARIOS[3], SCENARIOS[4]


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU, medians over the rounds; `ratio` is with the log to without."""

    name: str
    bare_us: float
    added_us: float
    added_us_quartiles: tuple[float, float]
    ratio: float


def make_app(scenario: Scenario) -> App:
    """An app that reads the body and answers; it has the engine's words put in where the scenario says so."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        parts = []
        while True:
            message = await receive()
            parts.append(message["body"])
            if not message["more_body"]:
                break
        b"".join(parts)
        scope["route"] = ROUTE
        scope["endpoint"] = app
        response_id = f"chatcmpl-{random.getrandbits(64):016x}"
        if scenario.engine:
            finished = FinishedRequest("stop", response_id)  # vLLM makes it anyway
            if "logproc" in scope:
                TIMINGS.put(response_id, timings_of(finished))
        if scenario.chunks:
            await stream(send, response_id, scenario.chunks)
        else:
            body = (ANSWER % response_id).encode()
            head = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": body})

    return app


async def stream(send: Any, response_id: str, chunks: int) -> None:
    """The chunks of one answer as vLLM sends them, the usage at its end."""
    head = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    events = [CHUNK % (response_id, '"role":"assistant","content":""', "null")]
    for event in events:
        await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
    for number in range(chunks):
        event = CHUNK % (response_id, f'"content":" word{number}"', "null")
        await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
    for event in (CHUNK % (response_id, '"content":""', '"stop"'), LAST % response_id, "data: [DONE]\n\n"):
        await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass
class FinishedRequest:
    """A double of vLLM's `FinishedRequestStats`, with times that fit into the moment that a request takes here."""

    finish_reason: str
    request_id: str
    e2e_latency: float = 5.1e-6
    num_prompt_tokens: int = 256
    num_preemptions: int = 0
    num_generation_tokens: int = 128
    max_tokens_param: int = 1000
    queued_time: float = 1.1e-6
    prefill_time: float = 1.2e-6
    inference_time: float = 3.5e-6
    decode_time: float = 2.3e-6
    mean_time_per_output_token: float = 1.0e-6
    is_corrupted: bool = False
    num_cached_tokens: int = 0


async def drive(app: App, scenario: Scenario, requests: int, *, logged: bool) -> None:
    """Send `requests` requests one after another."""
    size = scenario.prompt_bytes
    parts = [b"x" * min(BODY_PART, size - start) for start in range(0, size, BODY_PART)]
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    waiting: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop()

    async def send(message: Any) -> None:
        pass

    for _ in range(requests):
        waiting[:] = reversed(messages)
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "root_path": "",
            "headers": list(HEADERS),
            "client": ("10.0.0.7", 41234),
            "server": ("10.0.0.1", 8000),
            "state": {},
        }
        if logged:
            scope["logproc"] = True  # for the app: the engine's plugin is there too
        await app(scope, receive, send)


class Bench:
    """The app with and without the log, whose lines go to a file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.writer = LogWriter(str(folder / "access.jsonl"), max_bytes=32 << 20, keep=1)
        settings = Settings(path=str(folder / "access.jsonl"), hash_key_file=str(folder / "access.key"))
        self.log = ProcessLog(settings, writer=self.writer)
        self.loop = asyncio.new_event_loop()

    def cpu_us(self, scenario: Scenario, requests: int, *, logged: bool) -> float:
        """Microseconds of this process's CPU a request."""
        app = make_app(scenario)
        if logged:
            app = AccessLogMiddleware(app, log=self.log)
        before = time.process_time()
        for start in range(0, requests, BURST):
            burst = drive(app, scenario, min(BURST, requests - start), logged=logged)
            self.loop.run_until_complete(burst)
            self._settle()
        return (time.process_time() - before) / requests * 1e6

    def _settle(self) -> None:
        """Wait, without CPU, until the writing thread has nothing left; also where there is no log, to be alike."""
        time.sleep(0.025)
        while self.writer._waiting:
            time.sleep(0.025)

    def rounds(self, scenario: Scenario, rounds: int) -> list[tuple[float, float]]:
        """(bare, with the log) of each round, after a warm-up; which comes first alternates."""
        for logged in (False, True):
            self.cpu_us(scenario, scenario.requests // 5, logged=logged)
        pairs = []
        for number in range(rounds):
            gc.collect()
            cost = {}
            for logged in (False, True) if number % 2 else (True, False):
                cost[logged] = self.cpu_us(scenario, scenario.requests, logged=logged)
            pairs.append((cost[False], cost[True]))
        return pairs

    def memory_growth(self, requests: int) -> tuple[int, int]:
        """Bytes of resident memory after a tenth of `requests` mixed requests, and after all of them."""
        kinds = (SCENARIOS[1], Scenario("short stream", chunks=20, engine=True))
        sizes = []
        for count in (requests // 10, requests - requests // 10):
            for start in range(0, count, BURST):
                kind = kinds[start // BURST % 2]
                app = AccessLogMiddleware(make_app(kind), log=self.log)
                self.loop.run_until_complete(drive(app, kind, min(BURST, count - start), logged=True))
                while len(self.writer._waiting) > 2 * BURST:
                    time.sleep(0.005)
            self._settle()
            sizes.append(resident_bytes())
        return sizes[0], sizes[1]


def cost_of(name: str, pairs: list[tuple[float, float]]) -> Cost:
    """Medians and quartiles of the rounds."""
    added = [logged - bare for bare, logged in pairs]
    low, _, high = statistics.quantiles(added, n=4)
    return Cost(
        name,
        round(statistics.median(bare for bare, _ in pairs), 3),
        round(statistics.median(added), 3),
        (round(low, 3), round(high, 3)),
        round(statistics.median(logged / bare for bare, logged in pairs), 3),
    )


def per_chunk(short: list[tuple[float, float]], long: list[tuple[float, float]]) -> Cost:
    """The cost of one more chunk: the slope between the two lengths of stream."""
    more = LONG.chunks - SHORT.chunks
    slopes = [((b[0] - a[0]) / more, (b[1] - a[1]) / more) for a, b in zip(short, long, strict=True)]
    return cost_of("each streamed chunk", slopes)


def resident_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of each measurement (15)")
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="also: memory over N requests")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"python": sys.version.split()[0], "rounds": arguments.rounds}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        pairs = {scenario.name: bench.rounds(scenario, arguments.rounds) for scenario in SCENARIOS}
        costs = [cost_of(name, rounds) for name, rounds in pairs.items()]
        costs.append(per_chunk(pairs[SHORT.name], pairs[LONG.name]))
        result["costs"] = [asdict(cost) for cost in costs]
        if arguments.memory:
            first, last = bench.memory_growth(arguments.memory)
            result["memory"] = {"requests": arguments.memory, "bytes_after_a_tenth": first, "bytes_at_the_end": last}
        result["lines_lost"] = bench.writer.lost
        bench.log.stop("done")
    if arguments.json:
        print(json.dumps(result))
    else:
        show(costs, result)
    sys.exit(1 if result["lines_lost"] else 0)


def show(costs: list[Cost], result: dict[str, Any]) -> None:
    table = Table(title="CPU of the server, µs (medians; quartiles of the rounds)")
    table.add_column("what")
    for heading in ("bare", "the log adds", "quartiles", "ratio"):
        table.add_column(heading, justify="right")
    for cost in costs:
        low, high = cost.added_us_quartiles
        table.add_row(
            cost.name, f"{cost.bare_us:.2f}", f"{cost.added_us:.2f}", f"{low:.2f}-{high:.2f}", f"{cost.ratio:.2f}"
        )
    console = Console()
    console.print(table)
    if memory := result.get("memory"):
        grown = (memory["bytes_at_the_end"] - memory["bytes_after_a_tenth"]) / 1024
        console.print(f"memory over {memory['requests']:,} requests: {grown:+,.0f} KiB after the first tenth")
    console.print(f"lines lost: {result['lines_lost']}")


if __name__ == "__main__":
    main()
