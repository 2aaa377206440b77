"""How long questions take on a busy day: the whole command, and the question alone.

python benchmarks/query_speed.py                        # makes a day of 5 million requests (about a minute), then asks
python benchmarks/query_speed.py --requests 1000000
python benchmarks/query_speed.py --folder /tmp/day      # keeps the day there, and finds it there the next time
python benchmarks/query_speed.py --json

The documents have all the fields that `serve` writes. They are handed to the store without a log, which would only
have to be read. The file is in the page cache. "The command" is a new Python process from its start to its end, its
imports included; everything else is the time of the question in a process that is up. On a busy machine
the CPU time (in steps of 10 ms) says more than the wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import LOGPROC, machine, print_machine, print_table, warm
from logproc.record import DAY_MS
from logproc.stores import rollups
from logproc.stores.archive import Question
from logproc.stores.documents import Documents, time_text
from logproc.stores.sqlite import SqliteStore, day_path
from logproc.stores.sqlite_archive import SqliteArchive

DAY = 20_454  # 2026-01-01
HOUR_MS = 3_600_000
BATCH = 50_000
MODELS = ("qwen3-32b", "llama-4-8b", "tiny")
OUTCOMES = ("ok",) * 90 + ("truncated",) * 4 + ("rejected",) * 4 + ("empty", "client_disconnect")


def make_day(folder: Path, count: int) -> None:
    """A day of `count` requests, evenly spread; about one in five is slower than 3 s, and the slowest takes minutes."""
    store = SqliteStore(folder, 36_500, lambda: (DAY + 1) * DAY_MS)
    rng = np.random.default_rng(7)
    for begin in range(0, count, BATCH):
        size = min(BATCH, count - begin)
        times = DAY * DAY_MS + (np.arange(begin, begin + size) * DAY_MS // count)
        store.write([_documents(times, rng)], [])
    store.settle()
    store.close()


def _documents(times: np.ndarray[Any, np.dtype[np.int64]], rng: np.random.Generator) -> Documents:
    size = len(times)
    prefixes = times.astype(">u8").tobytes()
    tails = rng.bytes(10 * size)
    duration = rng.lognormal(7.2, 0.95, size)
    outcome = [OUTCOMES[place] for place in rng.integers(0, len(OUTCOMES), size).tolist()]
    texts = rng.bytes(24 * size).hex()

    def ns(share: float) -> list[int]:
        times_ns: list[int] = (duration * share * 1e6).astype(np.int64).tolist()
        return times_ns

    columns: dict[str, list[Any]] = {
        "duration_ns": ns(1),
        "ttft_ns": ns(0.2),
        "queue_ns": ns(0.05),
        "prefill_ns": ns(0.1),
        "decode_ns": ns(0.8),
        "stall_max_ns": ns(0.03),
        "status": [429 if each == "rejected" else 200 for each in outcome],
        "outcome": list(outcome),
        "flags": ["slow" if each > 3000 else None for each in duration.tolist()],
        "model": [MODELS[place] for place in rng.integers(0, len(MODELS), size).tolist()],
        "prompt_tokens": rng.integers(10, 3000, size).tolist(),
        "completion_tokens": rng.integers(0, 800, size).tolist(),
        "cached_tokens": rng.integers(0, 300, size).tolist(),
        "client": [f"10.0.0.{place}" for place in rng.integers(1, 41, size).tolist()],
        "api_key_id": [f"{place:012x}" for place in rng.integers(1, 10, size).tolist()],
        "method": ["POST"] * size,
        "path": ["/v1/chat/completions"] * size,
        "operation": ["chat"] * size,
        "finish_reason": ["stop"] * size,
        "stream": [True] * size,
        "user_agent": ["openai/2.1"] * size,
        "host": ["gpu-1"] * size,
        "pid": [4242] * size,
        "service": ["vllm"] * size,
        "log_file_path": ["/var/log/vllm/access.jsonl"] * size,
        "log_offset": list(range(0, 550 * size, 550)),
        "request_id": [texts[at : at + 32] for at in range(0, 48 * size, 48)],
        "response_id": [f"chatcmpl-{texts[at + 32 : at + 48]}" for at in range(0, 48 * size, 48)],
    }
    ids = [prefixes[8 * i + 2 : 8 * i + 8] + tails[10 * i : 10 * i + 10] for i in range(size)]
    return Documents(ids, times, columns)


def questions(folder: Path) -> dict[str, Callable[[], object]]:
    """Each question by its name, asked in this process."""
    end = (DAY + 1) * DAY_MS
    archive = SqliteArchive(folder)
    slow = Question(since_ms=end - HOUR_MS, until_ms=end, slower_than_ns=3_000_000_000)
    very_slow = Question(since_ms=end - HOUR_MS, until_ms=end, slower_than_ns=600_000_000_000)
    hour, day = Question(since_ms=end - HOUR_MS, until_ms=end), Question(since_ms=end - DAY_MS + 1234, until_ms=end)
    return {
        "newest 50 slower than 3 s, last hour": lambda: list(archive.find(slow, limit=50)),
        "none slower than 10 min, last hour": lambda: list(archive.find(very_slow, limit=50)),
        "by client, last hour": lambda: archive.summarize(hour, "client"),
        "by model, whole day": lambda: archive.summarize(day, "model"),
        "an event by its id": lambda: list(archive.find(Question(ids=(_an_id(archive),)))),
        "series of the hour, first time": lambda: SqliteArchive(folder).series(hour, 60_000),
        "series of the day, first time": lambda: SqliteArchive(folder).series(day, 300_000),
        "series of the day, again": lambda: archive.series(day, 300_000),
        "series of the day by model, again": lambda: archive.series(day, 300_000, by_model=True),
        "heat map of the day, again": lambda: archive.heat(day, "duration", 900_000),
        "summary of the day, again": lambda: archive.summarize(day, None, exact=False),
        "summary of the day by model, again": lambda: archive.summarize(day, "model", exact=False),
        "summary of the day by client, first time": lambda: SqliteArchive(folder).summarize(day, "client", exact=False),
        "summary of the day by client, again": lambda: archive.summarize(day, "client", exact=False),
        "slowest 50 of the day, again": lambda: archive.slowest(day, limit=50),
    }


def _an_id(archive: SqliteArchive) -> str:
    found = next(archive.find(Question(until_ms=DAY * DAY_MS + HOUR_MS), limit=1))
    return str(found.document["event.id"])


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands whose whole time is measured, and what a Python process takes to do nothing."""
    pipeline = folder / "pipeline.yaml"
    pipeline.write_text(json.dumps({"logs": {"paths": ["none"]}, "state": str(folder)}))
    end = (DAY + 1) * DAY_MS
    hour = ["--from", time_text(end - HOUR_MS), "--to", time_text(end), "--pipeline", str(pipeline)]
    query = [*LOGPROC, "query", *hour, "--slower-than"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "the command: query --slower-than 3s of an hour": [*query, "3s"],
        "the command: the same with --json": [*query, "3s", "--json"],
    }


def timed(what: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """The least and the median wall time of so many rounds, and the least CPU time, children included; ms."""
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), _cpu_s()
        what()
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((_cpu_s() - cpu) * 1000)
    return min(walls), sorted(walls)[rounds // 2], min(cpus)


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def measure(folder: Path, rounds: int) -> dict[str, tuple[float, float, float]]:
    documents = folder / "documents"
    warm(day_path(documents, DAY))
    found = {}
    for name, command in commands(folder).items():
        found[name] = timed(partial(subprocess.run, command, check=True, capture_output=True), rounds)
    for name, question in questions(documents).items():
        is_long = "first" in name or "whole" in name
        if "again" in name:
            question()
        found[name] = timed(question, min(rounds, 3) if is_long else rounds)
    return found


def _seconds(what: Callable[[], object]) -> float:
    """The CPU seconds of one of many rounds."""
    before = time.process_time()
    for _ in range(20):
        what()
    return (time.process_time() - before) / 20


def rolled_up(folder: Path) -> dict[str, float]:
    """What dropping the day costs, and how small it becomes."""
    path = day_path(folder / "documents", DAY)
    target = folder / "rolled"
    target.mkdir()
    before = time.process_time()
    rollups.close_day(target, DAY, path)
    cpu = time.process_time() - before
    (minutes,) = rollups.read(target, Question(), by_minute=True)
    requests = int(minutes.counts[:, 0].sum())
    size = (target / rollups.ROLLUPS_FILE).stat().st_size
    year, minutes_of_a_year = (
        365 * _seconds(lambda: list(rollups.read(target, Question(), by_minute=by_minute)))  # noqa: B023
        for by_minute in (False, True)
    )
    return {
        "day file, MB": path.stat().st_size / 1e6,
        "day file, bytes a request": path.stat().st_size / requests,
        "rolling it up, CPU s": cpu,
        "rollup of the day, MB": size / 1e6,
        "a year of such days, MB": size * 365 / 1e6,
        "reading a year of them, by day, CPU s": year,
        "reading a year of them, by minute, CPU s": minutes_of_a_year,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = given.folder or Path(scratch)
        if not day_path(place / "documents", DAY).exists():
            make_day(place / "documents", given.requests)
        here, times = machine(), measure(place, given.rounds)
        sizes = rolled_up(place) if not (place / "rolled").exists() else {}
        if given.json:
            print(json.dumps({"machine": here, "milliseconds": times, "rolled_up": sizes}))
        else:
            print_machine(here)
            rows = [(name, *(f"{each:,.0f}" for each in found)) for name, found in times.items()]
            print_table(("question, ms", "wall, least", "wall, median", "CPU, least"), rows)
            print_table(("rolled up", ""), [(name, f"{value:,.1f}") for name, value in sizes.items()])
