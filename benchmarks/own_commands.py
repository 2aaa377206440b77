"""What logproc's own commands cost over one file: wall time, CPU and memory; `replay` on two workers against one.

    python benchmarks/make_log.py 1000000 /tmp/million.jsonl
    python benchmarks/make_log.py 1000000 /tmp/million_full.jsonl --full
    python benchmarks/own_commands.py /tmp/million.jsonl /tmp/million_full.jsonl

The commands take turns. Start and end of the process are in every number; the row "nothing to read" shows how much
that is. The CPU of several workers is that of all of them, their memory that of the first process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.measuring import LOGPROC, Usage, machine, print_machine, print_table, run_to_end, spread, warm
from benchmarks.peers import count_lines

REPLAY, REPLAY_2 = "replay", "replay, 2 workers"
RUN, RUN_BOTH, NOTHING = "run --only measure", "run (metrics and documents)", "nothing to read"


def run_once(log: Path, *more: str) -> Usage:
    """`logproc run --once` on a new state directory."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Path(folder) / "pipeline.yaml"
        state, web = str(Path(folder) / "state"), {"listen": "127.0.0.1:0"}
        pipeline.write_text(json.dumps({"logs": {"paths": [str(log)]}, "state": state, "http": web}))
        return run_to_end([*LOGPROC, "run", str(pipeline), "--once", *more])[0]


def replay(log: Path, workers: int) -> Usage:
    return run_to_end([*LOGPROC, "replay", str(log), "--json", "--workers", str(workers)])[0]


def one_round(log: Path) -> dict[str, Usage]:
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as empty:
        nothing = run_once(Path(empty.name), "--only", "measure")
    return {
        REPLAY: replay(log, 1),
        REPLAY_2: replay(log, 2),
        RUN: run_once(log, "--only", "measure"),
        RUN_BOTH: run_once(log),
        NOTHING: nothing,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    here = machine()
    results = []
    for log in (file.resolve() for file in given.files):
        warm(log)
        lines, usages = count_lines(log), defaultdict[str, list[Usage]](list)
        for _ in range(given.runs):
            for name, usage in one_round(log).items():
                usages[name].append(usage)
        speedup = spread(one.wall_s / two.wall_s for one, two in zip(usages[REPLAY], usages[REPLAY_2], strict=True))
        rows = {
            name: {
                "wall_s": spread(run.wall_s for run in runs),
                "cpu_s": spread(run.cpu_s for run in runs),
                "rss_mb": spread(run.rss_bytes / 1e6 for run in runs),
            }
            for name, runs in usages.items()
        }
        results.append({"file": str(log), "lines": lines, "two_workers_are_faster": speedup, "commands": rows})
    if given.json:
        print(json.dumps({"machine": here, "files": results}, default=vars))
        return
    print_machine(here)
    for log, result in zip(given.files, results, strict=True):
        print(f"\n{log}: {result['lines']:,} lines, {log.stat().st_size / 1e6:.0f} MB")
        commands = result["commands"]
        assert isinstance(commands, dict)
        print_table(
            ["command", "wall s", "CPU s", "memory MB"],
            [
                [name, f"{row['wall_s']:.2f}", f"{row['cpu_s']:.2f}", f"{row['rss_mb']:.0f}"]
                for name, row in commands.items()
            ],
        )
        print(f"two workers against one: {result['two_workers_are_faster']:.2f} times as fast")


if __name__ == "__main__":
    main()
