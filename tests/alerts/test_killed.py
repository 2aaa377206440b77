"""A real `logproc run`, killed with SIGKILL while an incident is played: no alert is lost, repeated or re-opened."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

import logproc.replay
from logproc.alerts.record import after
from logproc.settings import Settings
from logproc.settings_file import load
from tests.alerts.play import FAILED, SLOW, Log, heartbeats, requests
from tests.pipeline import Pipeline, started, until

END = 3000


def incident() -> Log:
    log = requests(0, 600, 0.1) + requests(600, 900, 0.1, **SLOW) + requests(900, 1600, 0.1)
    log += requests(1600, 1700, 0.1, bad=9, **FAILED) + requests(1700, 1800, 0.1, bad=2, **FAILED)
    log += requests(1800, END, 0.1) + heartbeats(0, 1200) + heartbeats(1300, END)
    return sorted(log, key=lambda said: said.second)


@pytest.mark.timeout(300)
def test_killed_at_any_moment_no_alert_is_lost_repeated_or_opened_again(tmp_path: Path) -> None:
    rng = random.Random(5)
    path, raws = tmp_path / "access.jsonl", [said.raw for said in incident()]
    pipeline = Pipeline(tmp_path, [str(path)])
    database, killed = pipeline.state / "measure.db", 0
    cuts = sorted(rng.sample(range(len(raws)), 4))
    try:
        for begin, end in zip([0, *cuts], [*cuts, len(raws)], strict=True):
            with path.open("ab") as file:
                file.writelines(raws[begin:end])
            for kill in (True, end == len(raws) and killed < 3, False):
                before = _newest(database)
                pipeline.start("--once", "--only", "measure")
                process = pipeline.process
                assert process is not None
                if kill:
                    poll = process.poll
                    until(lambda: _newest(database) != before or poll() is not None, "a commit")  # noqa: B023
                    time.sleep(rng.random() * 0.05)  # wherever that is: in a block, in the judge, in the next commit
                    killed += poll() is None
                    pipeline.kill()
                else:
                    assert process.wait(60) == 0, pipeline.output.read_text()
    finally:
        for process in started:
            process.kill()
            process.wait()
        started.clear()

    found = [_entry(alert) for _, alert in after(database, 0, 10_000)]
    settings: Settings = load(pipeline.file)
    replayed = logproc.replay.replay([path], settings)["alerts"]
    expected = [{name: value for name, value in alert.items() if name != "behind"} for alert in replayed]
    assert killed >= 3
    assert {alert["kind"] for alert in expected} == {"latency_p99", "latency_p95", "ttft", "errors", "server_gone"}
    assert found == expected
    assert max(Counter((each["id"], each["state"], each["severity"]) for each in found).values()) == 1


def _entry(alert: Any) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(alert).items() if name != "behind"}


def _newest(database: Path) -> tuple[int, int]:
    """Changes with every commit."""
    sizes = [each.stat() for each in (database, database.with_name(database.name + "-wal")) if each.exists()]
    return (sum(each.st_size for each in sizes), sum(each.st_mtime_ns for each in sizes))
