"""What finding alerts costs `measure`: the same file, the same process, with and without it, taking turns.

    python benchmarks/make_log.py 1000000 /tmp/million_full.jsonl --full
    python benchmarks/alerts_cost.py /tmp/million_full.jsonl

CPU seconds of the one thread, the least of several runs; compare the ratios. "buckets" adds up one-second buckets and
commits them, "judge" also goes through them, "examples" also keeps the clearest requests: all that `run` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks.measure_speed import measure, timed
from benchmarks.measuring import machine, print_machine, print_table
from logproc.alerts.clearest import Finder
from logproc.alerts.gather import Gatherer
from logproc.alerts.judge import Judge

STEPS = ("no alerts", "buckets", "judge", "examples")


@contextmanager
def only(step: str) -> Iterator[None]:
    """With everything up to a step, and nothing after it."""
    place = STEPS.index(step)
    with (
        patch.object(Gatherer, "add", Gatherer.add if place > 0 else lambda *_: None),
        patch.object(Judge, "advance", Judge.advance if place > 1 else lambda *_: []),
        patch.object(Finder, "look", Finder.look if place > 2 else lambda *_: None),
    ):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    here, results = machine(), []
    for log in given.files:
        best: dict[str, float] = {}
        for _ in range(given.runs):
            for step in STEPS:
                with only(step):
                    seconds, lines = timed(measure, log)
                best[step] = min(best.get(step, seconds / lines), seconds / lines)
        results.append({"file": str(log), "ns_per_line": {step: round(1e9 * each) for step, each in best.items()}})
    if given.json:
        print(json.dumps({"machine": here, "files": results}))
        return
    print_machine(here)
    for log, result in zip(given.files, results, strict=True):
        spent: dict[str, int] = result["ns_per_line"]  # type: ignore[assignment]
        base = spent[STEPS[0]]
        print(f"\n{log}")
        print_table(["", "ns a line", "speed"], [[step, f"{ns}", f"{base / ns:.2f}"] for step, ns in spent.items()])


if __name__ == "__main__":
    main()
