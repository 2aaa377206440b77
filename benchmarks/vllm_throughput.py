"""Whether the access log costs a real vLLM throughput: the same load on one server with the log and without it.

    python benchmarks/vllm_throughput.py               # three starts of a server, 40 pairs each: a quarter of an hour
    python benchmarks/vllm_throughput.py --pairs 3 --json

Needs vLLM for the CPU and its tiny model: `python tests/services/install_vllm.py` first.

The log of one running server is switched on and off (`in_vllm/switched_log.py`): two servers that are alike differ by
several percent, which is more than what is to be measured. A pair is a round with the log and one without, one right
after the other, and which is first alternates, so that whatever else the machine does meets both. The process that
serves HTTP has a core of its own, the engine and the load share the others: it halves the noise. A round is the same
requests in the same order: many small streams, their lengths mixed, a fixed number of them at once. It is timed from
the first request to the last answer. So the ratio of requests/s is also that of tokens/s. The tiny model computes next
to nothing and the server's own process is the narrow place: on a GPU it would hide most of what is measured here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import cpu_seconds
from tests.services import install_vllm
from tests.services.vllm import MODEL_NAME, VllmServer, descendants

CHECKOUT = Path(__file__).parents[1]
SHORTEST, LONGEST = 16, 64  # tokens of an answer
WARM_UP_REQUESTS = 300
END = b"0\r\n\r\n"
"""The last chunk of a chunked body. Every other one ends in the blank line of an event."""
RESAMPLES = 10_000
CORES = sorted(os.sched_getaffinity(0))


class SwitchedServer(VllmServer):
    """A server whose log can be switched on and off."""

    def _log_arguments(self) -> list[str]:
        return ["--middleware", "switched_log.SwitchedLog"]

    def _variables(self) -> dict[str, str]:
        return super()._variables() | {"PYTHONPATH": str(CHECKOUT / "benchmarks" / "in_vllm")}

    def settle(self) -> None:
        """Give the process that serves HTTP a core of its own; the engine and this process have the others."""
        first, *others = CORES
        if others:
            _move(os.getpid(), set(others))
            for pid in descendants(self.pid):
                _move(pid, set(others))
            _move(self.pid, {first})

    def switch(self, to: str) -> None:
        """`on` or `off`."""
        with urllib.request.urlopen(f"{self.base_url}/switch/{to}", timeout=30):
            pass


@dataclass(frozen=True)
class Load:
    """The requests of one round: as many streams at once as `parallel`, one after another on each connection."""

    lengths: tuple[int, ...]
    """Tokens of each answer."""
    parallel: int

    @property
    def tokens(self) -> int:
        """Tokens of all answers together."""
        return sum(self.lengths)


@dataclass(frozen=True)
class Round:
    """One round on one server."""

    seconds: float
    cpu_us: float
    """Of the process that serves HTTP, a request."""


@dataclass(frozen=True)
class Ratio:
    """With the log to without: the median over the pairs and its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


class Streams(asyncio.Protocol):
    """One connection that asks for one stream after another, and looks at nothing but where an answer ends."""

    def __init__(self, left: list[int], done: asyncio.Future[None]) -> None:
        self._left = left
        self._done = done
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        if not self._tail and not data.startswith(b"HTTP/1.1 200"):
            self._fail(RuntimeError(f"vLLM answered {data[:200]!r}"))
            return
        self._tail = (self._tail + data)[-len(END) :] if len(data) < len(END) else data[-len(END) :]
        if self._tail == END:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("vLLM closed a connection"))

    def _ask(self) -> None:
        self._tail = b""
        if self._left:
            self._transport.write(request(self._left.pop()))
        elif not self._done.done():
            self._done.set_result(None)
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


def request(tokens: int) -> bytes:
    """A chat request whose streamed answer has just so many tokens."""
    messages = [{"role": "user", "content": "Tell me about the quick brown fox."}]
    wanted = {"model": MODEL_NAME, "messages": messages, "max_tokens": tokens, "ignore_eos": True, "stream": True}
    body = json.dumps(wanted).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"content-type: application/json\r\n\r\n" + body


def make_load(requests: int, parallel: int) -> Load:
    """The same requests for the same numbers."""
    chance = random.Random(requests)
    return Load(tuple(chance.randint(SHORTEST, LONGEST) for _ in range(requests)), parallel)


async def send(load: Load, port: int) -> None:
    """Send all of the load and wait for the last answer.

    Raises:
        RuntimeError: the server answered anything but 200.
        ConnectionError: it closed a connection.
    """
    loop = asyncio.get_running_loop()
    left = list(load.lengths)
    ends = [loop.create_future() for _ in range(load.parallel)]
    for end in ends:
        await loop.create_connection(partial(Streams, left, end), "127.0.0.1", port)
    await asyncio.gather(*ends)


def _move(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setaffinity(int(thread.name), cores)


def play(load: Load, server: SwitchedServer, *, logged: bool) -> Round:
    """One round.

    Raises:
        RuntimeError: the server did not generate all of the tokens.
    """
    server.switch("on" if logged else "off")
    generated, cpu = server.metric("vllm:generation_tokens_total"), cpu_seconds(server.pid)
    start = time.perf_counter()
    asyncio.run(send(load, server.port))
    seconds = time.perf_counter() - start
    cpu = cpu_seconds(server.pid) - cpu
    generated = server.metric("vllm:generation_tokens_total") - generated
    if generated != load.tokens:
        raise RuntimeError(f"{load.tokens} tokens were asked for, {generated:.0f} were generated")
    return Round(seconds, cpu / len(load.lengths) * 1e6)


def ratio_of(ratios: list[float]) -> Ratio:
    """Their median, and between which values it lies when the pairs are drawn again and again."""
    chance = random.Random(1)
    medians = [statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES)]
    cuts = statistics.quantiles(medians, n=40)
    return Ratio(round(statistics.median(ratios), 4), round(cuts[0], 4), round(cuts[-1], 4))


def measure(folder: Path, *, starts: int, pairs: int, parallel: int, seconds: float) -> dict[str, Any]:
    """Play the pairs on each of the starts; the result as `--json` prints it."""
    rounds: list[tuple[Round, Round]] = []
    busy: list[float] = []
    load, lines, with_engine_times, expected = None, 0, 0, 0
    for start in range(starts):
        _move(os.getpid(), set(CORES))  # a server inherits them
        with SwitchedServer(folder / str(start)) as server:
            server.settle()
            warm_up = make_load(WARM_UP_REQUESTS, parallel)
            play(warm_up, server, logged=True)
            play(warm_up, server, logged=False)
            rate = WARM_UP_REQUESTS / play(warm_up, server, logged=False).seconds
            load = load or make_load(int(rate * seconds), parallel)
            for _ in range(pairs):
                took = {}
                for logged in (False, True) if len(rounds) % 2 else (True, False):
                    took[logged] = play(load, server, logged=logged)
                rounds.append((took[False], took[True]))
                busy.append(os.getloadavg()[0])
                times = f"{took[False].seconds:.2f} s bare, {took[True].seconds:.2f} s with the log"
                print(f"start {start + 1}, pair {len(rounds)}: {times}; load average {busy[-1]:.1f}", file=sys.stderr)
        expected += WARM_UP_REQUESTS + pairs * len(load.lengths)
        of_this = count_lines(server.access_log)
        lines, with_engine_times = lines + of_this[0], with_engine_times + of_this[1]
    assert load is not None
    asked = len(load.lengths)
    bare_s, logged_s = (statistics.median(pair[which].seconds for pair in rounds) for which in (0, 1))
    return {
        "starts": starts,
        "pairs": len(rounds),
        "parallel": parallel,
        "requests_a_round": asked,
        "tokens_a_round": load.tokens,
        "load_average": round(statistics.median(busy), 2),
        "requests_per_s": {"bare": round(asked / bare_s, 1), "logged": round(asked / logged_s, 1)},
        "tokens_per_s": {"bare": round(load.tokens / bare_s), "logged": round(load.tokens / logged_s)},
        "server_cpu_us_per_request": {
            "bare": round(statistics.median(before.cpu_us for before, _ in rounds)),
            "logged": round(statistics.median(after.cpu_us for _, after in rounds)),
        },
        "throughput_ratio": asdict(ratio_of([before.seconds / after.seconds for before, after in rounds])),
        "server_cpu_ratio": asdict(ratio_of([after.cpu_us / before.cpu_us for before, after in rounds])),
        "lines_expected": expected,
        "lines": lines,
        "lines_with_engine_times": with_engine_times,
    }


def count_lines(log: Path) -> tuple[int, int]:
    """Lines of our requests in the log, and how many of them tell the engine's times."""
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    ours = [line for line in lines if line.get("path") == "/v1/chat/completions"]
    return len(ours), sum("queue_ms" in line for line in ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--starts", type=int, default=3, help="starts of the server (3)")
    parser.add_argument("--pairs", type=int, default=40, help="pairs of rounds on each (40)")
    parser.add_argument("--parallel", type=int, default=64, help="streams at once (64)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round without the log, about (2)")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    arguments = parser.parse_args()
    if reason := install_vllm.why_missing():
        sys.exit(reason)
    install_vllm.install_checkout(CHECKOUT)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(
            Path(folder),
            starts=arguments.starts,
            pairs=arguments.pairs,
            parallel=arguments.parallel,
            seconds=arguments.seconds,
        )
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)
    sys.exit(0 if result["lines"] == result["lines_expected"] else 1)


def show(result: dict[str, Any]) -> None:
    table = Table(
        title=f"vLLM with the access log and without, {result['pairs']} pairs, {result['parallel']} streams at once"
    )
    table.add_column("what")
    for heading in ("bare", "with the log", "ratio of the pairs", "95 % interval"):
        table.add_column(heading, justify="right")
    rows = (
        ("requests/s", "requests_per_s", "throughput_ratio"),
        ("tokens/s", "tokens_per_s", "throughput_ratio"),
        ("server's CPU a request, µs", "server_cpu_us_per_request", "server_cpu_ratio"),
    )
    for title, values, ratio in rows:
        found, pairs = result[values], result[ratio]
        interval = f"{pairs['low']:.3f}-{pairs['high']:.3f}"
        table.add_row(title, f"{found['bare']:,}", f"{found['logged']:,}", f"{pairs['median']:.3f}", interval)
    console = Console()
    console.print(table)
    console.print(
        f"{result['requests_a_round']:,} requests a round; load average {result['load_average']}; lines written: "
        f"{result['lines']:,} of {result['lines_expected']:,}, {result['lines_with_engine_times']:,} with engine times"
    )


if __name__ == "__main__":
    main()
