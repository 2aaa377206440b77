"""How fast the metrics come out of a log: logproc beside mtail and rsyslog, on the same lines, taking turns.

    apt-get install mtail rsyslog
    python benchmarks/make_log.py 1000000 /tmp/million.jsonl
    python benchmarks/peers.py /tmp/million.jsonl            # about 10 minutes; --json for programs

Every round runs every tool once, from its start to its end, on two cores (or all there are) and then on one. Before a
number is printed, all tools must agree: every line counted by model, operation and status, and, where a tool has them,
every bucket of the histograms, the tokens and the finish reasons. `configs/` holds what the peers are told.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.measuring import (
    LOGPROC,
    SAMPLE_S,
    Usage,
    Watch,
    machine,
    print_machine,
    print_table,
    run_to_end,
    spread,
    warm,
)
from logproc.record import operation_of

CONFIGS = Path(__file__).parent / "configs"
PINNED = ["taskset", "--cpu-list", "0"]
SETTLED = 0.995
"""rsyslog never ends: it is done when it has used so much of the CPU that it had used when all lines were counted."""

Counts = Counter[tuple[str, ...]]
Found = dict[str, Counts]
"""What a tool counted: "requests" by model, operation and status, and what else it has, by labels."""


@dataclass(frozen=True)
class Tool:
    name: str
    task: str
    run: Callable[[Path, Path, list[str]], tuple[Usage, Found]]
    """(log, empty folder, words before the command) → usage, and what it counted."""


# --- logproc ---------------------------------------------------------------------------------------------------------


def run_logproc(log: Path, folder: Path, before: list[str]) -> tuple[Usage, Found]:
    """`logproc run --once --only measure`: every metric, a commit every 100 ms, the start of the process included."""
    settings = {"logs": {"paths": [str(log)]}, "state": str(folder / "state"), "http": {"listen": "127.0.0.1:0"}}
    pipeline = folder / "pipeline.yaml"
    pipeline.write_text(json.dumps(settings))
    usage, _ = run_to_end([*before, *LOGPROC, "run", str(pipeline), "--once", "--only", "measure"])
    return usage, committed(folder / "state" / "measure.db")


def committed(database: Path) -> Found:
    """What `measure` has committed, under the names used here."""
    found: Found = {name: Counter() for name in ("requests", "duration", "first_token", "tokens", "reasons")}
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    edges = {name: json.loads(edges) for name, edges in connection.execute("SELECT name, edges FROM metrics")}
    for metric, labels, blob in connection.execute("SELECT metric, labels, cells FROM series"):
        names, cells = json.loads(labels), np.frombuffer(blob, np.int64).tolist()
        if metric == "requests":
            model, operation, status, _ = names
            found["requests"][model, operation, status] += cells[0]
        elif metric == "tokens":
            found["tokens"][*names] += cells[0]
        elif metric == "finish_reasons":
            found["reasons"][*names] += cells[0]
        elif metric in ("request_duration_seconds", "time_to_first_token_seconds"):
            kind = "duration" if metric.startswith("request") else "first_token"
            bounds = [*(f"{edge * 1000:g}" for edge in edges[metric]), "+Inf"]
            for bound, count in zip(bounds, np.cumsum(cells[:-1]).tolist(), strict=True):
                found[kind][*names, bound] += count
    connection.close()
    return without_zeros(found)


def replay_logproc(log: Path, folder: Path, before: list[str]) -> tuple[Usage, Found]:
    """`logproc replay`: the same counting without a state; it prints requests by status alone."""
    del folder
    usage, printed = run_to_end([*before, *LOGPROC, "replay", str(log), "--json"])
    statuses = json.loads(printed)["statuses"]
    return usage, {"statuses": Counter({(status,): count for status, count in statuses.items()})}


# --- mtail -----------------------------------------------------------------------------------------------------------


def run_mtail(program: str) -> Callable[[Path, Path, list[str]], tuple[Usage, Found]]:
    """A runner of one of the programs in `configs/`."""

    def run(log: Path, folder: Path, before: list[str]) -> tuple[Usage, Found]:
        command = ["mtail", "--one_shot", "--one_shot_format=prometheus", "--log_dir", str(folder)]
        command += ["--progs", str(CONFIGS / f"{program}.mtail"), "--logs", str(log)]
        usage, printed = run_to_end([*before, *command])
        return usage, counted_by_mtail(printed.decode())

    return run


def counted_by_mtail(text: str) -> Found:
    names = {"prompt_tokens": "prompt", "completion_tokens": "completion"}
    found: Found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels, value = sample.labels, int(sample.value)
            where = (labels["model"], operation_of(labels["path"]) or "unknown") if "path" in labels else ()
            if sample.name in ("requests", "requests_total"):
                found.setdefault("requests" if where else "statuses", Counter())[*where, labels["status"]] += value
            elif sample.name.endswith("_bucket"):
                if where:
                    bound = labels["le"] if labels["le"] == "+Inf" else f"{float(labels['le']):g}"
                    found.setdefault(family.name, Counter())[*where, bound] += value
            elif family.name in names:
                found.setdefault("tokens", Counter())[labels["model"], names[family.name]] += value
            elif family.name == "finish_reasons":
                found.setdefault("reasons", Counter())[labels["model"], labels["reason"]] += value
    return without_zeros(found)


# --- rsyslog ---------------------------------------------------------------------------------------------------------


def run_rsyslog(log: Path, folder: Path, before: list[str]) -> tuple[Usage, Found]:
    """It follows the file for ever, so it is stopped when its statistics, one line a second, name every line."""
    expected = count_lines(log)
    config, statistics = folder / "rsyslog.conf", folder / "statistics"
    text = (CONFIGS / "rsyslog.conf").read_text()
    config.write_text(text.replace("LOG", str(log)).replace("FOLDER", str(folder)))
    began = time.perf_counter()
    process = subprocess.Popen([*before, "rsyslogd", "-n", "-f", str(config), "-i", str(folder / "pid")])
    watch = Watch(process.pid)
    try:
        counted = Counter[tuple[str, ...]]()
        while counted.total() < expected:
            if process.poll() is not None:
                raise RuntimeError(f"rsyslogd ended: {process.returncode}")
            time.sleep(SAMPLE_S * 10)
            counted = counted_by_rsyslog(statistics)
    finally:
        watch.end()
        process.terminate()
        process.wait()
    used = watch.samples[-1][1] * SETTLED
    ended = next(moment for moment, cpu in watch.samples if cpu >= used)
    return Usage(ended - began, watch.samples[-1][1], watch.rss_bytes), {"requests": counted}


def counted_by_rsyslog(statistics: Path) -> Counts:
    """The newest complete line of its statistics."""
    counts: Counts = Counter()
    lines = statistics.read_text().split("\n")[:-1] if statistics.exists() else []
    for line in reversed(lines):
        found = re.search(r'"origin": "dynstats.bucket", "values": ({.*?}) }', line)
        if found:
            for key, count in json.loads(found.group(1)).items():
                model, path, status = key.split(",")
                counts[model, operation_of(path) or "unknown", status] += count
            break
    return counts


# --- together --------------------------------------------------------------------------------------------------------


FULL = "all metrics, exact, committed every 100 ms"
TOOLS = (
    Tool("logproc run", FULL, run_logproc),
    Tool("logproc replay", "all metrics", replay_logproc),
    Tool("mtail full", "counts, 2 histograms, tokens, reasons", run_mtail("full")),
    Tool("mtail simple", "counts, 1 histogram", run_mtail("simple")),
    Tool("rsyslog", "counts", run_rsyslog),
)


def without_zeros(found: Found) -> Found:
    return {name: Counter({key: count for key, count in counts.items() if count}) for name, counts in found.items()}


def check_agreement(name: str, found: Found, ours: Found, lines: int) -> None:
    """Every line counted, and everything that the tool has is what logproc has. Raises AssertionError."""
    ours = dict(ours)
    ours["statuses"] = Counter()
    for (*_, status), count in ours["requests"].items():
        ours["statuses"][status,] += count
    counted = found.get("requests") or found["statuses"]
    assert counted.total() == lines, f"{name} counted {counted.total()} of {lines} lines"
    for what, counts in found.items():
        wrong = {key for key in counts.keys() | ours[what].keys() if counts[key] != ours[what][key]}
        example = next(iter(wrong), ())
        assert not wrong, f"{name}: {what} of {example}: {counts[example]}, logproc {ours[what][example]}"


def count_lines(log: Path) -> int:
    with log.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def one_round(log: Path, lines: int, *, pinned: bool) -> dict[str, Usage]:
    usages, ours = {}, Found()
    for tool in TOOLS:
        with tempfile.TemporaryDirectory() as folder:
            usage, found = tool.run(log, Path(folder), PINNED if pinned else [])
        ours = ours or found  # `logproc run` is the first
        check_agreement(tool.name, found, ours, lines)
        usages[tool.name] = usage
    return usages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="written by make_log.py, without --full and --bad")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    here = machine()
    missing = [package for package, name in (("mtail", "mtail"), ("rsyslog", "rsyslogd")) if not shutil.which(name)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    log: Path = given.file.resolve()
    warm(log)
    lines = count_lines(log)
    rounds: dict[bool, list[dict[str, Usage]]] = {False: [], True: []}
    for _ in range(given.runs):
        for pinned, found in rounds.items():
            found.append(one_round(log, lines, pinned=pinned))
    rows = []
    for pinned, found in rounds.items():
        for tool in TOOLS:
            runs = [each[tool.name] for each in found]
            ours = [each["logproc run"] for each in found]
            rows.append(
                {
                    "tool": tool.name,
                    "task": tool.task,
                    "cores": 1 if pinned else here["cores"],
                    "k_lines_per_s": spread(lines / run.wall_s / 1e3 for run in runs),
                    "k_lines_per_cpu_s": spread(lines / run.cpu_s / 1e3 for run in runs),
                    "rss_mb": spread(run.rss_bytes / 1e6 for run in runs),
                    "logproc_is_faster": spread(run.wall_s / own.wall_s for run, own in zip(runs, ours, strict=True)),
                    "logproc_needs_less_cpu": spread(
                        run.cpu_s / own.cpu_s for run, own in zip(runs, ours, strict=True)
                    ),
                }
            )
    if given.json:
        print(json.dumps({"machine": here, "lines": lines, "rows": rows}, default=vars))
        return
    print_machine(here)
    print_table(
        ["tool", "what it does", "cores", "k lines/s", "k lines/CPU s", "memory MB", "run is faster by", "in CPU by"],
        [
            [
                str(row["tool"]),
                str(row["task"]),
                str(row["cores"]),
                f"{row['k_lines_per_s']:.0f}",
                f"{row['k_lines_per_cpu_s']:.0f}",
                f"{row['rss_mb']:.0f}",
                f"{row['logproc_is_faster']:.1f}",
                f"{row['logproc_needs_less_cpu']:.1f}",
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    main()
