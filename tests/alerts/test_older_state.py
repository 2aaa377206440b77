"""The state of an older version is brought to this one: what was counted stays, and alerts are found from then on."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from logproc.alerts.judge import Judge
from logproc.alerts.record import after
from logproc.consumer import Feeder
from logproc.measure.bucket_journal import BucketJournal
from logproc.measure.journal import MIGRATIONS
from logproc.measure.measure import Measure
from logproc.settings import Settings
from logproc.tailing.follower import Follower
from tests.alerts.play import BEGIN, DAY, FAILED, SLOW, Log, requests

SINCE: dict[int, tuple[str, ...]] = {
    2: ("DROP TABLE seconds", "DROP TABLE hours", "DROP TABLE alerts",
        "DELETE FROM facts WHERE name IN ('columns', 'judge')"),
    3: ("DROP TABLE clearest",),
    4: ("DROP TABLE stretches",),
}  # fmt: skip
"""By version how to take away what came with it."""


class Awake:
    """Stands in for the waker: with `once` nobody waits."""

    def wake(self) -> None:
        """Nobody sleeps."""

    def wait(self, timeout_s: float) -> None:
        """Nobody waits."""


def run(settings: Settings) -> float:
    """`logproc run --once`; how many requests were counted so far."""
    measure = Measure(settings, settings.state, lambda: (BEGIN + DAY) * 1000)
    follower = Follower(settings.logs.paths, measure.cursors(), first_start=measure.is_new)
    Feeder(measure, follower, Awake(), once=True).run()  # type: ignore[arg-type]
    _, cells = measure.published()["requests"]
    measure.close()
    return float(cells.sum())


def write(path: Path, log: Log) -> None:
    with path.open("ab") as file:
        file.writelines(said.raw for said in log)


def settings_of(folder: Path, **thresholds: Any) -> Settings:
    return Settings.model_validate(
        {"logs": {"paths": [str(folder / "access.jsonl")]}, "state": str(folder / "state"), "thresholds": thresholds}
    )


def kept(settings: Settings) -> set[tuple[str, int]]:
    """Model and second of every bucket in the state."""
    judge = Judge(settings.thresholds)
    with sqlite3.connect(settings.state / "measure.db") as connection:
        facts = dict(connection.execute("SELECT name, value FROM facts"))
        BucketJournal().load(connection, facts, judge)
    return {(model, second) for model, rows in judge.history.seconds.rows.items() for second in rows}


def test_every_version_there_was_is_known() -> None:
    assert set(SINCE) == set(range(2, len(MIGRATIONS) + 2))


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_measure_goes_on_with_the_state_of_an_older_version(version: int, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    write(tmp_path / "access.jsonl", requests(0, 600))
    run(settings)
    with sqlite3.connect(tmp_path / "state" / "measure.db") as old:
        for newer in range(version + 1, len(MIGRATIONS) + 2):
            for statement in SINCE[newer]:
                old.execute(statement)
        old.execute(f"PRAGMA user_version = {version}")

    write(tmp_path / "access.jsonl", requests(600, 1200, bad=3, **FAILED))

    assert run(settings) == 2400
    assert {alert.kind for _, alert in after(tmp_path / "state" / "measure.db", 0)} == {"errors"}


def test_a_change_of_thresholds_between_two_runs_loses_no_bucket_and_takes_effect(tmp_path: Path) -> None:
    database = tmp_path / "state" / "measure.db"
    write(tmp_path / "access.jsonl", requests(0, 600))
    run(settings_of(tmp_path))
    before = kept(settings_of(tmp_path))
    assert len(before) > 500

    changed = settings_of(tmp_path, duration_s={"warning": 60, "critical": 90}, duration_p95_s=None, ttft_s=None)
    write(tmp_path / "access.jsonl", requests(600, 640))
    run(changed)
    write(tmp_path / "access.jsonl", requests(640, 940, **SLOW))
    run(changed)

    assert kept(changed) >= before
    assert after(database, 0) == []
