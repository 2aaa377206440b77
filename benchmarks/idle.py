"""What `logproc run` costs while nothing is written: CPU of the whole process over half a minute, many files followed.

    python benchmarks/idle.py                 # 100 files, with file events and without
    python benchmarks/idle.py --files 1000

"With events" is a plain `logproc run`, both consumers. "Without events" is the same where the file system tells
nothing: the class that watches files is made to fail as it does on such a system, and `logs.poll_s` decides how
often it looks.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import make_log
from benchmarks.measuring import cpu_seconds, machine, print_machine, print_table
from tests.pipeline import Pipeline, until

LINES = 200  # in each file
SETTLE_S = 5.0  # the files count as active for a while after they were read

WITHOUT_EVENTS = """
import logproc.tailing.wake
def refused(): raise OSError("no file events here")
logproc.tailing.wake.Observer = refused
from logproc.cli import main
main()
"""


class WithoutEvents(Pipeline):
    """`logproc run` where files cannot be watched."""

    def _command(self, arguments: object) -> list[str]:
        assert arguments == ()
        return [sys.executable, "-c", WITHOUT_EVENTS, "run", str(self.file)]


def idle_cpu(kind: type[Pipeline], folder: Path, files: int, seconds: float, poll_s: float) -> float:
    """CPU seconds a second of an idle `logproc run` that follows so many files."""
    logs = folder / "logs"
    logs.mkdir()
    for number in range(files):
        with (logs / f"access-{number}.jsonl").open("wb") as out:
            out.writelines(make_log.lines(LINES, seed=number))
    pipeline = kind(folder, [])
    settings = json.loads(pipeline.file.read_text())
    settings["logs"] = {"paths": [str(logs / "access-*.jsonl")], "poll_s": poll_s}
    pipeline.file.write_text(json.dumps(settings))
    pipeline.start()
    process = pipeline.process
    assert process is not None
    try:
        until(pipeline.is_up, "an answer")
        until(lambda: pipeline.has_read(files * LINES), "all lines")
        time.sleep(SETTLE_S)
        used, began = cpu_seconds(process.pid), time.perf_counter()
        time.sleep(seconds)
        return (cpu_seconds(process.pid) - used) / (time.perf_counter() - began)
    finally:
        pipeline.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    here = machine()
    cases: list[tuple[str, type[Pipeline], float]] = [
        ("with events", Pipeline, 1.0),
        ("without, poll_s 1 (default)", WithoutEvents, 1.0),
        ("without, poll_s 0.1", WithoutEvents, 0.1),
    ]
    results = {}
    for name, kind, poll_s in cases:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = idle_cpu(kind, Path(folder), given.files, given.seconds, poll_s)
    if given.json:
        print(json.dumps({"machine": here, "files": given.files, "cpu_seconds_a_second": results}))
        return
    print_machine(here)
    print_table(
        [f"idle, {given.files} files", "CPU %"], [[name, f"{share * 100:.2f}"] for name, share in results.items()]
    )


if __name__ == "__main__":
    main()
