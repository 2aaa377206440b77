"""What servers say of themselves: the newest wins, nobody new is shut out, and nothing grows without bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from logproc.measure.measure import Measure
from logproc.measure.servers import MISSED_MS, MOST_PARTS, MOST_SERVERS
from logproc.settings import Settings
from logproc.stores.documents import time_text
from tests.lines import block, raw

START = 1_774_866_230_000


class Clock:
    """A wall clock that a test moves."""

    now = START

    def __call__(self) -> int:
        return self.now


def opened(state: Path, clock: Clock, **metrics: Any) -> Measure:
    return Measure(Settings.model_validate({"logs": {"paths": ["-"]}, "metrics": metrics}), state, clock)


def beat(at_ms: int, **fields: Any) -> dict[str, Any]:
    return {"time": time_text(at_ms), "event": "heartbeat", "host": "h", "pid": 1, **fields}


def gauges(measure: Measure, name: str) -> list[tuple[dict[str, str], float]]:
    return [(labels, value) for each, labels, value in measure.gauges() if each == name]


def lost(measure: Measure) -> dict[tuple[str, ...], int]:
    labels, cells = measure.published()["lines_lost"]
    return dict(zip(labels, cells[:, 0].tolist(), strict=True))


def test_a_server_that_comes_after_many_others_is_seen_and_its_losses_count_once(tmp_path: Path) -> None:
    clock = Clock()
    measure = opened(tmp_path, clock)
    measure.take(block(raw(*(beat(START - 20_000 + n, pid=n, in_flight=1) for n in range(MOST_SERVERS)))))

    for second in range(3):
        measure.take(block(raw(beat(START + second, host="new", in_flight=7, lines_lost=5))))
    measure.commit([], {})

    assert ({"host": "new", "pid": "1"}, 7) in gauges(measure, "requests_in_flight")
    assert lost(measure) == {("new", "1"): 5}
    measure.close()


def test_a_server_that_was_forgotten_is_not_remembered_by_a_restart(tmp_path: Path) -> None:
    measure = opened(tmp_path, Clock())
    measure.take(block(raw(*(beat(START - 20_000 + n, pid=n, in_flight=1) for n in range(MOST_SERVERS)))))
    measure.commit([], {})
    measure.take(block(raw(beat(START, host="new", in_flight=7))))
    measure.commit([], {})
    measure.close()

    again = opened(tmp_path, Clock())

    shown = [labels for labels, _ in gauges(again, "requests_in_flight")]
    assert len(shown) == MOST_SERVERS
    assert {"host": "h", "pid": "0"} not in shown
    again.close()


def test_of_two_servers_that_tell_of_one_gpu_the_newer_wins_also_after_a_restart(tmp_path: Path) -> None:
    measure = opened(tmp_path, Clock())
    older = beat(START - 9000, pid=9, gpus=[{"gpu": "g", "power_w": 90}])
    newer = beat(START, pid=1, gpus=[{"gpu": "g", "power_w": 300}])
    measure.take(block(raw(newer, older)))
    measure.commit([], {})
    before = gauges(measure, "gpu_power_watts")
    measure.close()

    again = opened(tmp_path, Clock())

    assert before == gauges(again, "gpu_power_watts") == [({"host": "h", "gpu": "g"}, 300)]
    again.close()


def test_a_clock_that_was_ahead_and_set_back_does_not_freeze_the_gauges(tmp_path: Path) -> None:
    clock = Clock()
    measure = opened(tmp_path, clock)
    measure.take(block(raw(beat(START + 3_600_000, in_flight=1))))
    clock.now += 10_000

    measure.take(block(raw(beat(START + 10_000, in_flight=2))))

    assert gauges(measure, "requests_in_flight") == [({"host": "h", "pid": "1"}, 2)]
    clock.now += 31_000
    assert gauges(measure, "requests_in_flight") == []
    measure.close()


def test_when_a_server_was_last_heard_of_is_told_for_a_day_and_not_after_it_stopped(tmp_path: Path) -> None:
    clock = Clock()
    measure = opened(tmp_path, clock)
    name = "last_heartbeat_timestamp_seconds"
    stopped = {"time": time_text(START), "event": "server_stopped", "host": "h", "pid": 2}
    measure.take(block(raw(beat(START), beat(START, pid=2), stopped)))

    clock.now += 23 * 3_600_000
    assert gauges(measure, name) == [({"host": "h", "pid": "1"}, START / 1000)]
    clock.now += 2 * 3_600_000
    assert gauges(measure, name) == []
    measure.close()


def test_the_first_lost_line_is_an_increase(tmp_path: Path) -> None:
    measure = opened(tmp_path, Clock())
    measure.take(block(raw(beat(START, lines_lost=0))))
    measure.commit([], {})

    assert lost(measure) == {("h", "1"): 0}
    measure.close()


def test_a_heartbeat_of_any_size_takes_little_room(tmp_path: Path) -> None:
    clock = Clock()
    measure = opened(tmp_path, clock, max_series=300)
    for pid in range(3):
        engines = [{"engine": f"{n}" + "x" * 1000, "running": 1} for n in range(900)]
        measure.take(block(raw(beat(START, pid=pid, engines=engines, host="h" * 50_000))))
    measure.commit([], {})

    shown = gauges(measure, "engine_requests_running")
    assert len(shown) == 300 > MOST_PARTS
    assert max(len(value) for labels, _ in shown for value in labels.values()) == 128
    assert (tmp_path / "measure.db-wal").stat().st_size < 1_000_000
    measure.close()


def test_numbers_beyond_all_bounds_make_no_server_line(tmp_path: Path) -> None:
    measure = opened(tmp_path, Clock())
    lines = [beat(START, pid=2**70), beat(START, engines=[{"engine": 2**70}]), beat(START, oldest_in_flight_ms=2**53)]

    measure.take(block(raw(*lines)))
    measure.commit([], {})

    labels, cells = measure.published()["logproc_lines_rejected"]
    assert cells[labels.index(("out_of_range",)), 0] == 3
    measure.close()


def test_of_a_server_that_was_killed_nothing_is_shown_a_day_later(tmp_path: Path) -> None:
    clock = Clock()
    measure = opened(tmp_path, clock)
    started = {"event": "server_started", "host": "h", "pid": 1, "model": "m", "startup_s": 21.5}
    measure.take(block(raw({"time": time_text(START), **started}, beat(START + 10_000, in_flight=0))))
    measure.commit([], {})
    assert gauges(measure, "server_startup_seconds") == [({"model": "m"}, 21.5)]

    clock.now = START + 10_000 + MISSED_MS + 1

    assert measure.gauges() == []
    measure.close()
