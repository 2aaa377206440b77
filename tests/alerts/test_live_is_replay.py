"""The same log gives the same alerts: read at once, cut anywhere, restarted, crashed in a commit, replayed by many."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

import logproc.replay
from logproc.alerts.alert import Alert
from logproc.alerts.record import after
from logproc.consumer import Feeder
from logproc.measure.measure import Measure
from logproc.settings import Settings
from logproc.tailing.block import Cursor
from logproc.tailing.follower import Follower
from tests.alerts.play import (
    BEGIN,
    DAY,
    FAILED,
    HOUR,
    MINUTE,
    SLOW,
    Log,
    Said,
    heartbeats,
    requests,
    second_of,
    server,
)

END = 70 * MINUTE
NAMES = ("access.jsonl", "access-1.jsonl")
THRESHOLDS = {"duration_p95_s": {"warning": 5.0, "for": "2m"}, "silent_s": 120, "startup_s": 20}


def play() -> dict[str, Log]:
    """Two servers over seventy minutes, on the third day: slow, failing, silent and gone at different times."""
    one = [said for day in (2, 1) for said in requests(-day * DAY, HOUR - day * DAY, 20.0, model="a")]
    one += requests(0, 600, 1.0, model="a")
    one += requests(600, 900, 1.0, model="a", **SLOW)
    one += requests(900, 1800, 1.0, model="a")
    one += requests(1800, 1900, 1.0, model="a", bad=9, **FAILED)
    one += requests(1900, 2000, 1.0, model="a", bad=2, **FAILED)
    one += requests(2000, 2400, 1.0, model="a")  # then nothing, where there usually is something
    one += requests(3000, END, 1.0, model="a")
    two = requests(0, 600, 1.3, model="b") + requests(600, 900, 1.3, model="b", **SLOW)
    two += requests(900, END, 1.3, model="b")
    two += heartbeats(0, 1500) + heartbeats(1700, 3000, waiting=30, kv=0.99) + heartbeats(3000, END)
    two += server(1690, "server_started", startup_s=90.0)
    return {name: sorted(log, key=lambda said: said.second) for name, log in zip(NAMES, (one, two), strict=True)}


def settings_of(logs: Path, state: Path) -> Settings:
    return Settings.model_validate(
        {"logs": {"paths": [str(logs / "access*.jsonl")]}, "state": str(state), "thresholds": THRESHOLDS}
    )


def write(logs: Path, played: Mapping[str, Log], begin: float, end: float) -> None:
    """Append what was said from one second to before another."""
    for name, log in played.items():
        with (logs / name).open("ab") as file:
            file.writelines(said.raw for said in log if begin <= said.second < end)


def told(found: Sequence[Alert]) -> list[dict[str, Any]]:
    """The entries, but whether they were found late: that is the reader's, not the log's. The last seconds may wait."""
    return [
        {name: value for name, value in msgspec.to_builtins(each).items() if name != "behind"}
        for each in found
        if second_of(each.time) < END - 5
    ]


def replayed(logs: Path, workers: int = 1) -> list[dict[str, Any]]:
    result = logproc.replay.replay(
        [logs / name for name in NAMES if (logs / name).exists()],
        settings_of(logs, logs / "unused"),
        workers=workers,
    )
    return told([msgspec.convert(each, Alert) for each in result["alerts"]])


@cache
def expected() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), play(), -3 * DAY, END)
        return replayed(Path(folder))


class Awake:
    """Stands in for the waker: with `once` nobody waits."""

    def wake(self) -> None:
        """Nobody sleeps."""

    def wait(self, timeout_s: float) -> None:
        """Nobody waits."""


class CrashError(Exception):
    """The process ends here."""


class Crashing(Measure):
    """Dies before or after a commit."""

    commit_every_s = 0.0

    def __init__(self, settings: Settings, crash_at: int, *, is_after: bool) -> None:
        super().__init__(settings, settings.state, lambda: (BEGIN + 400 * DAY) * 1000)
        self._left, self._is_after = crash_at, is_after

    def commit(self, cursors: Sequence[Cursor], events: Mapping[str, int], dropped: Sequence[int] = ()) -> None:
        self._left -= 1
        if self._left == 0 and not self._is_after:
            raise CrashError
        super().commit(cursors, events, dropped)
        if self._left == 0:
            raise CrashError


def run(settings: Settings, crash_at: int = 0, *, is_after: bool = False) -> bool:
    """`logproc run --once`, whether it came to its end."""
    measure = Crashing(settings, crash_at, is_after=is_after)
    follower = Follower(settings.logs.paths, measure.cursors(), first_start=measure.is_new)
    try:
        Feeder(measure, follower, Awake(), once=True).run()  # type: ignore[arg-type]
    except CrashError:
        return False
    finally:
        measure.close()
    return True


cuts = st.lists(st.floats(0, END), min_size=1, max_size=6)
crashes = st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=4)


@examples(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@example(cuts=[], crashes=[])
@example(cuts=[650.0, 651.0, 1899.0, 2500.0, 2999.0], crashes=[(2, False), (3, True), (2, True)])
@given(cuts=cuts, crashes=crashes)
def test_cut_restarted_and_crashed_anywhere_it_finds_what_replay_finds(
    cuts: list[float], crashes: list[tuple[int, bool]]
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        settings, to_crash = settings_of(folder, folder / "state"), list(crashes)
        begin: float = -3 * DAY
        for end in [*sorted(cuts), END]:
            write(folder, play(), begin, end)
            begin = end
            while to_crash and not run(settings, to_crash[0][0], is_after=to_crash.pop(0)[1]):
                pass
            run(settings)

        assert told([alert for _, alert in after(folder / "state" / "measure.db", 0, 10_000)]) == expected()
    finally:
        shutil.rmtree(folder)


def test_the_played_log_has_alerts_of_many_kinds() -> None:
    assert {alert["kind"] for alert in expected()} >= {
        "latency_p99", "latency_p95", "ttft", "errors", "traffic_silent", "server_gone", "cold_start", "queue_growing",
        "kv_cache_full",
    }  # fmt: skip
    assert {alert.get("model") for alert in expected() if alert["kind"] == "latency_p99"} == {None}
    assert [alert["severity"] for alert in expected() if alert["kind"] == "errors"][-1] == "critical"


@pytest.mark.parametrize("workers", [2, 3])
def test_many_workers_find_what_one_finds(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logproc.replay, "LEAST_SHARE", 200_000)
    write(tmp_path, play(), -3 * DAY, END)

    assert replayed(tmp_path, workers) == expected()


def test_lines_out_of_order_within_a_minute_are_judged_like_those_in_order(tmp_path: Path) -> None:
    """Within a file; replay sees the buckets, and these do not know the order."""
    played = play()
    for log in played.values():
        today = next(place for place, said in enumerate(log) if said.second >= 0)
        for place in range(today, len(log) - 20, 20):
            log[place : place + 20] = sorted(log[place : place + 20], key=lambda said: crc32(said.raw))
    write(tmp_path, {name: [*log, Said(END, log[-1].line)] for name, log in played.items()}, -3 * DAY, END + 1)

    assert [each["id"] for each in replayed(tmp_path)] == [each["id"] for each in expected()]


def test_lines_that_come_within_the_allowed_lateness_count_for_an_alert(tmp_path: Path) -> None:
    """The failures are written half a minute late, after the answers of others."""
    late = [Said(said.second, said.line) for said in requests(600, 900, 2.0, model="a", **FAILED)]
    log = [(said.second, said) for said in requests(0, 1500, 1.0, model="a")]
    log += [(said.second + 30, said) for said in late]
    raws = [said.raw for _, said in sorted(log, key=lambda each: each[0])]
    settings = settings_of(tmp_path, tmp_path / "state")
    for place in range(0, len(raws), 50):
        with (tmp_path / NAMES[0]).open("ab") as file:
            file.writelines(raws[place : place + 50])
        run(settings)

    found = [alert for _, alert in after(tmp_path / "state" / "measure.db", 0)]
    assert [alert.kind for alert in found if alert.state == "firing"][:1] == ["errors"]
    assert abs(second_of(found[0].since) - 600) <= 5
