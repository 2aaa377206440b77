"""What a scrape of /metrics costs with 4,000 histogram children, and how much 50 in a row slow down the reading.

    python benchmarks/scrape.py                    # about two minutes, and 2 GB in the folder for temporary files
    python benchmarks/scrape.py --children 400

A child is one label set of one histogram. First the page is asked for again and again while there is nothing else to
do. Then `run --only measure` works off a backlog: two seconds alone, 50 scrapes on one connection with nothing between
them, two seconds alone again. Speed is committed bytes between two commits, read from `measure.db` by a connection of
our own; the slowdown compares the scrapes with the mean of before and after.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring import Spread, cpu_seconds, machine, print_machine, print_table, spread
from tests.pipeline import Pipeline, until

HISTOGRAMS = 6  # each model has one child in each
SCRAPES = 50
ALONE_S = 2.0
BLOCK_LINES = 20_000
ASKED = {
    "text": {},
    "text, gzip": {"Accept-Encoding": "gzip"},
    "OpenMetrics": {"Accept": "application/openmetrics-text"},
}
LINE = (
    '{{"time":"2026-01-01T00:{minute:02}:{second:02}.000Z","method":"POST","path":"/v1/chat/completions","status":200,'
    '"prompt_tokens":{prompt},"completion_tokens":{completion},"duration_ms":{duration:.3f},"outcome":"ok",'
    '"model":"model-{model}","stream":true,"finish_reason":"stop","ttft_ms":{first:.3f},"queue_ms":{queue:.3f},'
    '"prefill_ms":{prefill:.3f},"decode_ms":{decode:.3f},"client":"10.0.0.1"}}\n'
)


def block(models: int) -> bytes:
    """Lines of streams that have every histogram's value, over so many models."""
    rng, lines = random.Random(7), []
    for number in range(max(BLOCK_LINES, models)):
        duration = rng.lognormvariate(7.5, 0.9) + 10
        lines.append(
            LINE.format(
                minute=number * 60 // BLOCK_LINES % 60,
                second=number % 60,
                prompt=rng.randint(1, 4000),
                completion=rng.randint(16, 400),
                duration=duration,
                model=number % models,
                first=duration * 0.2,
                queue=duration * 0.05,
                prefill=duration * 0.1,
                decode=duration * 0.8,
            )
        )
    return "".join(lines).encode()


class Scraper:
    """Asks for the page on one connection, as Prometheus does."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(self, headers: dict[str, str]) -> bytes:
        self._connection.request("GET", "/metrics", headers=headers)
        return self._connection.getresponse().read()


def scrapes_alone(models: int, folder: Path) -> dict[str, tuple[Spread, Spread, int]]:
    """Milliseconds, milliseconds of logproc's CPU and bytes of one scrape, by what was asked for."""
    log = folder / "access.jsonl"
    log.write_bytes(block(models))
    pipeline = Pipeline(folder, [str(log)])
    pipeline.start("--only", "measure")
    assert pipeline.process is not None
    pid, found = pipeline.process.pid, {}
    try:
        until(pipeline.is_up, "an answer")
        until(lambda: pipeline.get("/readyz")[0] == 200, "all lines")
        scraper = Scraper(pipeline.port)
        children = scraper.ask({}).count(b"_seconds_count{")
        assert children == models * HISTOGRAMS, f"{children} children"
        for name, headers in ASKED.items():
            walls, cpus, size = [], [], 0
            for _ in range(SCRAPES):
                used, began = cpu_seconds(pid), time.perf_counter()
                size = len(scraper.ask(headers))
                walls.append((time.perf_counter() - began) * 1e3)
                cpus.append((cpu_seconds(pid) - used) * 1e3)
            found[name] = spread(walls), spread(cpus), size
    finally:
        pipeline.stop()
    return found


def make_backlog(log: Path, models: int, size: int) -> None:
    lines = block(models)
    with log.open("wb") as out:
        while out.tell() < size:
            out.write(lines)


def slowdown(log: Path, folder: Path) -> dict[str, float]:
    """MB/s alone and during 50 scrapes, seconds of those, and by how many percent they slowed down the reading."""
    pipeline = Pipeline(folder, [str(log)])
    pipeline.start("--only", "measure")
    try:
        until(pipeline.is_up, "an answer")
        connection = sqlite3.connect(f"file:{pipeline.state / 'measure.db'}?mode=ro", uri=True, isolation_level=None)

        def committed() -> int:
            row = connection.execute("SELECT cells FROM series WHERE metric = 'logproc_bytes'").fetchone()
            return int.from_bytes(row[0], "little") if row else 0

        def next_commit() -> tuple[float, int]:
            before = committed()
            until(lambda: committed() != before, "a commit")
            return time.perf_counter(), committed()

        def speed(work: Callable[[], None]) -> tuple[float, float]:
            began, start = next_commit()
            work()
            ended, end = next_commit()
            assert end < log.stat().st_size, "the backlog was too small for this machine: --backlog-mb"
            return (end - start) / (ended - began) / 1e6, ended - began

        scraper = Scraper(pipeline.port)

        def scrape() -> None:
            for _ in range(SCRAPES):
                scraper.ask({})

        until(lambda: committed() > 50e6, "the start")
        before, _ = speed(lambda: time.sleep(ALONE_S))
        during, took = speed(scrape)
        after, _ = speed(lambda: time.sleep(ALONE_S))
    finally:
        pipeline.stop()
    alone = (before + after) / 2
    return {"alone": alone, "scraped": during, "took": took, "slower": (1 - during / alone) * 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--backlog-mb", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    here = machine()
    models = -(-given.children // HISTOGRAMS)
    with tempfile.TemporaryDirectory() as name:
        alone = scrapes_alone(models, Path(name))
    runs = []
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "access.jsonl"
        make_backlog(log, models, given.backlog_mb * 1_000_000)
        for number in range(given.runs):
            folder = Path(name) / str(number)
            folder.mkdir()
            runs.append(slowdown(log, folder))
    during = {column: spread(run[column] for run in runs) for column in runs[0]}
    if given.json:
        scrapes = {name: {"ms": wall, "cpu_ms": cpu, "bytes": size} for name, (wall, cpu, size) in alone.items()}
        children = models * HISTOGRAMS
        print(json.dumps({"machine": here, "children": children, "scrapes": scrapes, "backlog": during}, default=vars))
        return
    print_machine(here)
    print_table(
        [f"one scrape, {models * HISTOGRAMS:,} children", "ms", "logproc CPU ms", "MB"],
        [[name, f"{wall:.0f}", f"{cpu:.0f}", f"{size / 1e6:.2f}"] for name, (wall, cpu, size) in alone.items()],
    )
    print()
    print_table(
        ["while a backlog is read", ""],
        [
            ["MB/s alone", f"{during['alone']:.0f}"],
            [f"MB/s during {SCRAPES} scrapes in a row", f"{during['scraped']:.0f}"],
            ["seconds that they took", f"{during['took']:.1f}"],
            ["slower by %", f"{during['slower']:.0f}"],
        ],
    )


if __name__ == "__main__":
    main()
