"""Lines that come late, clocks that are wrong, and old lines beside new ones: no alert is lost or made up for that."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from logproc.alerts.alert import Alert
from logproc.alerts.judge import Judge
from logproc.alerts.silence import Silence
from logproc.measure.measure import Measure
from logproc.measure.servers import Servers
from logproc.measure.tally import tally
from logproc.measure.totals import Totals
from tests.alerts.play import BEGIN, DAY, FAILED, MINUTE, Log, Said, at, heartbeats, lives, requests, settings
from tests.lines import block, raw, request


def live(
    log: Log, end: int, late_s: Callable[[float], float], clock: Callable[[int], int] = lambda second: second
) -> list[Alert]:
    """What is found when each line comes so long after its time as `late_s` says, judged every second by a clock."""
    chosen = settings()
    totals, judge = Totals(chosen), Judge(chosen.thresholds)
    waiting = sorted(log, key=lambda said: said.second)
    found: list[Alert] = []
    for second in range(end):
        now, waiting = (
            [said for said in waiting if said.second + late_s(said.second) <= second],
            [said for said in waiting if said.second + late_s(said.second) > second],
        )
        _read(totals, now)
        judge.take(*totals.take_buckets())
        wall = BEGIN + clock(second)
        found += judge.advance(wall - 2, wall)
    return found


def _read(totals: Totals, log: Iterable[Said]) -> None:
    data = b"".join(said.raw for said in log)
    if data:
        tally(totals, Servers(), block(data), lambda: (BEGIN + DAY) * 1000, None)
        totals.fold()


def late(second: float) -> float:
    """On time at first, then five seconds late."""
    return 0.5 if second < 300 else 5.0


def test_heartbeats_that_come_seconds_late_are_heard() -> None:
    end = 12 * MINUTE
    log = requests(0, end) + heartbeats(0, end)

    assert lives(live(log, end, late_s=late)) == {}


def test_a_request_that_comes_late_ends_the_silence() -> None:
    chosen = settings()
    totals, judge = Totals(chosen), Judge(chosen.thresholds)
    log = requests(0, 2, every_s=1.0) + requests(895, 896, every_s=1.0)
    _read(totals, log[:2])
    judge.take(*totals.take_buckets())
    judge.advance(BEGIN + 900)
    _read(totals, log[2:])
    judge.take(*totals.take_buckets())
    silence = Silence(chosen.thresholds.silent_s, judge.history.hours)

    told = list(silence.readings({}, judge.history.last, {"m"}, BEGIN + 901, BEGIN + 905))

    assert [(model, second, reading.level) for model, second, reading in told] == [("m", BEGIN + 901, 0)]


def test_a_clock_that_was_ahead_for_a_moment_blinds_nobody() -> None:
    log = requests(0, 600) + requests(600, 1500, **FAILED)
    ahead = live(log, 1500, late_s=lambda _: 0.5, clock=lambda second: second + (7200 if second == 300 else 0))

    assert "firing" in lives(ahead)["errors m"]


def test_a_line_of_long_ago_beside_one_of_today_takes_no_memory() -> None:
    totals = Totals(settings())
    data = raw(request(time="2016-03-30T10:23:45.123Z"), request())
    tracemalloc.start()
    totals.gathered.newest_s = 0
    tally(totals, Servers(), block(data), lambda: (BEGIN + DAY) * 1000, None)
    totals.fold()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 50_000_000


def test_nothing_is_kept_of_blocks_without_a_request() -> None:
    totals = Totals(settings())
    for data in (b"".join(said.raw for said in heartbeats(0, 100)), b"no json\n" * 100):
        tally(totals, Servers(), block(data), lambda: (BEGIN + DAY) * 1000, None)

    assert totals.gathered.lines == []
    assert totals.gathered.kept_bytes == 0


def _measure(folder: Path, clock: Callable[[], int]) -> Measure:
    return Measure(settings().model_copy(update={"state": folder}), folder, clock)


def test_a_late_request_counts_once_in_its_hour_whatever_is_killed(tmp_path: Path) -> None:
    now = [BEGIN]
    measure = _measure(tmp_path, lambda: now[0] * 1000)
    log = requests(0, 40, every_s=1.0)
    measure.take(block(log[0].raw))
    for second in range(31):
        now[0] = BEGIN + second
        if measure.advance(now[0] * 1000) or second == 0:
            measure.commit([], {})
    measure.take(block(log[25].raw))
    measure.advance(now[0] * 1000)
    measure.commit([], {})
    before = _hours(measure)
    measure.close()  # all was committed: as if killed

    again = _measure(tmp_path, lambda: now[0] * 1000)
    again.advance((now[0] + 60) * 1000)

    assert before == [2]
    assert _hours(again) == before
    again.close()


def _hours(measure: Measure) -> list[int]:
    hours: Any = measure._judge.history.hours.rows
    return [int(row[0]) for rows in hours.values() for row in rows.values()]


def test_an_old_file_read_beside_a_live_one_leaves_the_state_small(tmp_path: Path) -> None:
    now = BEGIN + 40 * DAY
    measure = _measure(tmp_path, lambda: now * 1000)
    parts, length = 300, 64
    for part in range(parts):
        old = requests(part * length, (part + 1) * length, every_s=1.0)
        measure.take(block(b"".join(said.raw for said in old)))
        measure.take(block(raw(request(time=at(40 * DAY - parts + part), model="m")), source="live"))
        measure.commit([], {})
    measure.close()

    with sqlite3.connect(tmp_path / "measure.db") as connection:
        (stored,) = connection.execute("SELECT sum(length(cells)) FROM stretches").fetchone()
    assert stored < 1.5 * parts * length * 117  # bytes a second
