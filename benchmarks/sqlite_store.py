"""How many documents a second of one core the SQLite store takes, and how many bytes each needs on the disk.

python benchmarks/sqlite_store.py                     # 300,000 lines of a dozen fields, then full `serve` lines
python benchmarks/sqlite_store.py --lines 5000000     # a busy day: how long questions take on it
python benchmarks/sqlite_store.py --json              # one JSON object

CPU seconds of the process count, not the wall: reading lines, making documents, storing them and settling, each line
once. "again" gives the same lines once more: all are there already.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import make_log
from logproc.record import DAY_MS
from logproc.settings import Thresholds
from logproc.stores.archive import Question
from logproc.stores.document_reader import DocumentReader
from logproc.stores.sqlite import SqliteStore, day_files
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.tailing.once import blocks

START_MS = 1_767_225_600_000  # 2026-01-01
BLOCKS_A_COMMIT = 100  # as when the consumer catches up: about a second's worth


def measure(kind: str, count: int, folder: Path) -> dict[str, float | str]:
    """One run over `count` lines of one kind, "dozen" or "full"."""
    log = folder / f"{kind}.jsonl"
    with log.open("wb") as out:
        out.writelines(make_log.lines(count, full=kind == "full", start_ms=START_MS))
    now_ms = START_MS + DAY_MS
    documents = folder / kind
    store = SqliteStore(documents, 30, lambda: now_ms)
    reading, cpu, wall = _index(log, store, now_ms)
    store.close()
    size = sum(path.stat().st_size for _, path in day_files(documents))
    store = SqliteStore(documents, 30, lambda: now_ms)
    _, again, _ = _index(log, store, now_ms)
    store.close()
    archive = SqliteArchive(documents)
    _, newest = archive.extent() or (0, 0)
    last_hour = Question(since_ms=newest - 3_600_000, slower_than_ns=3_000_000_000)
    return {
        "lines": kind,
        "documents": count,
        "documents_per_core_second": count / cpu,
        "again_per_core_second": count / again,
        "wall_per_cpu": wall / cpu,
        "reading_us": reading / count * 1e6,
        "storing_us": (cpu - reading) / count * 1e6,
        "bytes_per_line": log.stat().st_size / count,
        "bytes_per_document": size / count,
        "newest_50_slow_of_the_last_hour_ms": _fastest(lambda: list(archive.find(last_hour, limit=50))),
        "all_slow_of_the_last_hour_ms": _fastest(lambda: list(archive.find(last_hour))),
        "last_hour_by_client_ms": _fastest(lambda: archive.summarize(Question(since_ms=newest - 3_600_000), "client")),
        "by_request_id_ms": _fastest(lambda: list(archive.find(Question(ids=("not there",))))),
    }


def _index(log: Path, store: SqliteStore, now_ms: int) -> tuple[float, float, float]:
    """CPU seconds of reading and making documents, CPU seconds of everything, wall seconds."""
    reader, reading = DocumentReader("vllm", Thresholds()), 0.0
    cpu, wall = time.process_time(), time.perf_counter()
    for number, block in enumerate(blocks(str(log))):
        before = time.process_time()
        found = reader.read(block, now_ms)
        reading += time.process_time() - before
        store.write(found.requests, found.servers)
        if number % BLOCKS_A_COMMIT == 0:
            store.settle()
    store.settle()
    return reading, time.process_time() - cpu, time.perf_counter() - wall


def _fastest(question: object, times: int = 3) -> float:
    assert callable(question)
    best = float("inf")
    for _ in range(times):
        before = time.perf_counter()
        question()
        best = min(best, time.perf_counter() - before)
    return best * 1000


def _table(results: list[dict[str, float | str]]) -> Iterator[str]:
    for name in results[0]:
        cells = [each[name] for each in results]
        yield f"{name:36}" + "".join(f"{each:>14,.1f}" if isinstance(each, float) else f"{each:>14}" for each in cells)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=300_000)
    parser.add_argument("--kind", choices=["dozen", "full"], action="append")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = [measure(kind, given.lines, Path(directory)) for kind in given.kind or ("dozen", "full")]
    print(json.dumps(found) if given.json else "\n".join(_table(found)))
