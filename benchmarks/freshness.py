"""How long it takes from a written line to its number: p50, p95 and the longest, at a low and at a high rate.

    python benchmarks/freshness.py                 # 100 and 5,000 lines/s, about a minute and a half
    python benchmarks/freshness.py --rate 1000

A process of its own writes one line at a time, evenly, and notes when each write returned. This process looks whether
the line is counted, in two ways, one after the other:

- "committed": it reads the count of lines in `measure.db` through a connection of its own, every 0.3 ms. `/metrics`
  shows what is committed from the moment after the commit on, so this is the time until a scrape would show the line,
  and it costs logproc nothing. The resolution is that of the looks, 0.3 to 0.5 ms.
- "/metrics": it asks for the page over and over. That is the whole way, but the questions keep logproc busy, and the
  resolution is the time of one answer.

A line counts from its write to the END of the look that first shows it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks import make_log
from benchmarks.measuring import cpu_seconds, machine, print_machine, print_table
from tests.pipeline import Pipeline, until

LOOK_S = 0.0003
WARM_UP = 0.1  # the first tenth of the lines is not judged
PATIENCE_S = 30.0

Look = Callable[[], int]


def write_lines(path: Path, rate: float, count: int, told: Connection) -> None:
    """Append lines evenly (late ones at once), then tell when each write returned, `time.monotonic()`."""
    lines, moments = list(make_log.lines(count)), []
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    began = time.monotonic() + 0.5
    for number, line in enumerate(lines):
        wait = began + number / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        os.write(file, line)
        moments.append(time.monotonic())
    told.send(moments)


def database_look(pipeline: Pipeline) -> Look:
    """Looks at what is committed, without asking logproc."""
    connection = sqlite3.connect(f"file:{pipeline.state / 'measure.db'}?mode=ro", uri=True, isolation_level=None)
    question = "SELECT cells FROM series WHERE metric = 'logproc_lines' AND labels = '[\"measure\", \"ok\"]'"

    def look() -> int:
        time.sleep(LOOK_S)
        row = connection.execute(question).fetchone()
        return int.from_bytes(row[0], "little") if row else 0

    return look


def page_look(pipeline: Pipeline) -> Look:
    """Asks for /metrics on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", pipeline.port)
    pattern = re.compile(rb'logproc_lines_total{consumer="measure",result="ok"} (\S+)')

    def look() -> int:
        connection.request("GET", "/metrics")
        found = pattern.search(connection.getresponse().read())
        return int(float(found.group(1))) if found else 0

    return look


def measure(look_of: Callable[[Pipeline], Look], rate: float, seconds: float) -> dict[str, float]:
    """One run at one rate; milliseconds."""
    count = int(rate * seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "access.jsonl"
        log.touch()
        pipeline = Pipeline(folder, [str(log)])
        pipeline.start("--only", "measure")
        try:
            until(pipeline.is_up, "an answer")
            assert pipeline.process is not None
            look = look_of(pipeline)
            ours, theirs = multiprocessing.Pipe(duplex=False)
            writer = multiprocessing.Process(target=write_lines, args=(log, rate, count, theirs))
            writer.start()
            used, began = cpu_seconds(pipeline.process.pid), time.monotonic()
            shown, seen, looks = np.zeros(count), 0, 0
            while seen < count:
                now_seen = look()
                moment = time.monotonic()
                looks += 1
                shown[seen:now_seen] = moment
                seen = now_seen
                assert moment - began < seconds + PATIENCE_S, f"{seen} of {count} lines counted"
            took = time.monotonic() - began
            cpu = (cpu_seconds(pipeline.process.pid) - used) / took
            waited = (shown - np.array(ours.recv())) * 1e3
            writer.join()
        finally:
            pipeline.stop()
    judged = waited[int(count * WARM_UP) :]
    p50, p95 = np.percentile(judged, (50, 95)).tolist()
    return {"p50": p50, "p95": p95, "longest": float(judged.max()), "look": took / looks * 1e3, "cpu": cpu * 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, action="append", help="lines/s; may be repeated")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    here = machine()
    results = {
        (rate, name): measure(look_of, rate, given.seconds)
        for rate in given.rate or (100.0, 5000.0)
        for name, look_of in (("committed", database_look), ("/metrics", page_look))
    }
    if given.json:
        runs = [{"lines_per_s": rate, "seen_by": name, **found} for (rate, name), found in results.items()]
        print(json.dumps({"machine": here, "runs": runs}))
        return
    print_machine(here)
    print_table(
        ["lines/s, seen by", "p50 ms", "p95 ms", "longest ms", "one look ms", "logproc CPU %"],
        [
            [
                f"{rate:,.0f}, {name}",
                *(f"{found[column]:.1f}" for column in ("p50", "p95", "longest", "look")),
                f"{found['cpu']:.0f}",
            ]
            for (rate, name), found in results.items()
        ],
    )


if __name__ == "__main__":
    main()
