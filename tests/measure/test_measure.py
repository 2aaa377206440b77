"""`measure` commits numbers and cursor together, shows only what is committed, and goes on after a kill."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from pathlib import Path

import pytest
import structlog

from logproc.consumer import PausedError
from logproc.measure.measure import Measure
from logproc.measure.rejected import RejectedFile
from logproc.settings import Settings
from logproc.state import StateBrokenError, StateLockedError, open_reader
from logproc.tailing.block import Cursor
from tests.lines import NOW_MS, block, raw, request

BAD = b"not json\n"


def opened(state: Path, **more: object) -> Measure:
    settings = Settings.model_validate({"logs": {"paths": ["-"]}, "state": str(state), **more})
    return Measure(settings, state, clock=lambda: NOW_MS)


def cursor(offset: int, key: int = 1) -> Cursor:
    return Cursor(key=key, path="a.jsonl", device=1, inode=2, offset=offset, size=offset)


def requests(measure: Measure) -> int:
    _, cells = measure.published()["requests"]
    return int(cells.sum())


def rejected_lines(state: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (state / "rejected/measure.jsonl").read_text().splitlines()]


def test_numbers_are_shown_only_after_they_were_committed(tmp_path: Path) -> None:
    measure = opened(tmp_path)
    measure.take(block(raw(request(), request())))

    before = requests(measure)
    measure.commit([cursor(10)], {})

    assert (before, requests(measure)) == (0, 2)


def test_a_restart_goes_on_from_the_last_commit_and_counts_nothing_twice(tmp_path: Path) -> None:
    measure = opened(tmp_path)
    assert measure.is_new
    measure.take(block(raw(request()) + BAD))
    measure.commit([cursor(10)], {"opened": 1})
    measure.take(block(raw(request()) + BAD))  # taken, not committed: as if killed here
    measure.close()

    again = opened(tmp_path)

    assert not again.is_new
    assert [each.offset for each in again.cursors()] == [10]
    assert requests(again) == 1
    again.take(block(raw(request()) + BAD))
    again.commit([cursor(20)], {})
    assert requests(again) == 2
    labels, cells = again.published()["logproc_file_events"]
    assert cells[labels.index(("opened",)), 0] == 1
    assert len(rejected_lines(tmp_path)) == 2
    again.close()


def test_rejected_lines_are_as_exact_as_the_counters(tmp_path: Path) -> None:
    measure = opened(tmp_path)
    measure.take(block(BAD, start=100, source="x.jsonl"))
    measure.commit([cursor(10)], {})
    measure.close()
    with (tmp_path / "rejected/measure.jsonl").open("a") as file:
        file.write('{"reason":"written, but killed before the commit"}\n{"half')

    again = opened(tmp_path)
    again.take(block(BAD, start=200, source="x.jsonl"))
    again.commit([cursor(20)], {})

    assert [(line["offset"], line["reason"], line["file"]) for line in rejected_lines(tmp_path)] == [
        (100, "not_json", "x.jsonl"),
        (200, "not_json", "x.jsonl"),
    ]
    again.close()


def test_a_rejected_line_is_kept_only_up_to_four_kib(tmp_path: Path) -> None:
    measure = opened(tmp_path)
    measure.take(block(b"x" * 10_000 + b"\n"))
    measure.commit([cursor(10)], {})

    (line,) = rejected_lines(tmp_path)

    assert (line["length"], len(str(line["raw"]))) == (10_000, 4096)
    measure.close()


def test_rejected_lines_rotate_and_a_kill_in_between_is_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.jsonl"
    file = RejectedFile(path, 0)
    from logproc import decode

    file.add("a", [decode.Rejection(0, 1, "not_json", "", b"{")], NOW_MS)
    length = file.write()
    file.committed()
    file.rotate()
    file.close()  # killed before length 0 was committed: the database still knows the old length

    again = RejectedFile(path, length)
    again.add("a", [decode.Rejection(9, 1, "not_json", "", b"{")], NOW_MS)
    again.write()

    assert path.with_name("m.jsonl.1").read_text().count("\n") == 1
    assert [json.loads(line)["offset"] for line in path.read_text().splitlines()] == [9]


def test_a_disk_that_cannot_be_written_pauses_and_the_same_commit_later_succeeds(tmp_path: Path) -> None:
    measure = opened(tmp_path)
    measure.take(block(raw(request()) + BAD))
    journal = measure._journal
    save = journal.save

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    journal.save = full  # type: ignore[method-assign]
    with pytest.raises(PausedError, match="disk is full"):
        measure.commit([cursor(10)], {"opened": 1})
    assert requests(measure) == 0

    journal.save = save  # type: ignore[method-assign]
    measure.commit([cursor(10)], {"opened": 1})

    assert requests(measure) == 1
    labels, cells = measure.published()["logproc_file_events"]
    assert cells[labels.index(("opened",)), 0] == 1
    assert len(rejected_lines(tmp_path)) == 1
    measure.close()


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    first = opened(tmp_path)

    with pytest.raises(StateLockedError, match=r"measure\.db is in use by process \d+"):
        opened(tmp_path)

    first.close()
    opened(tmp_path).close()


@pytest.mark.parametrize("content", [b"this is no database, not at all" * 40, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_state_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "measure.db").write_bytes(content)

    with pytest.raises(StateBrokenError, match="To begin anew, move it away"):
        opened(tmp_path)

    assert (tmp_path / "measure.db").read_bytes() == content


def test_a_rejected_file_that_cannot_be_opened_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "rejected").write_text("no directory")

    with pytest.raises(StateBrokenError, match="cannot open"):
        opened(tmp_path)


def test_a_lock_that_cannot_name_its_holder_on_a_full_disk_holds_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        first = opened(tmp_path)

    with pytest.raises(StateLockedError, match="in use by process unknown"):
        opened(tmp_path)
    first.close()


def test_a_foreign_or_newer_database_is_refused(tmp_path: Path) -> None:
    foreign = sqlite3.connect(tmp_path / "measure.db")
    foreign.execute("CREATE TABLE t (x)")
    foreign.commit()
    with pytest.raises(StateBrokenError, match="no state file of logproc"):
        opened(tmp_path)
    foreign.execute("DROP TABLE t")
    foreign.commit()
    foreign.close()
    opened(tmp_path).close()
    newer = sqlite3.connect(tmp_path / "measure.db")
    newer.execute("PRAGMA user_version=99")
    newer.close()
    with pytest.raises(StateBrokenError, match="newer logproc"):
        opened(tmp_path)


def test_a_histogram_whose_edges_were_changed_starts_anew_and_says_so(tmp_path: Path) -> None:
    measure = opened(tmp_path)
    measure.take(block(raw(request())))
    measure.commit([cursor(10)], {})
    measure.close()

    with structlog.testing.capture_logs() as logs:
        again = opened(tmp_path, thresholds={"duration_s": 7.7})

    assert [(entry["metric"], entry["log_level"]) for entry in logs] == [("request_duration_seconds", "warning")]
    assert len(again.published()["request_duration_seconds"][0]) == 0
    assert requests(again) == 1
    again.close()


def test_heartbeats_are_gauges_while_they_are_fresh(tmp_path: Path) -> None:
    now = 1_774_866_230_000  # 2026-03-30T10:23:50Z
    settings = Settings.model_validate({"logs": {"paths": ["-"]}, "state": str(tmp_path)})
    clock = [now]
    measure = Measure(settings, tmp_path, clock=lambda: clock[0])
    base = {"host": "gpu-1", "pid": 7}
    beat = {
        **base,
        "time": "2026-03-30T10:23:45.000Z",
        "event": "heartbeat",
        "in_flight": 3,
        "oldest_in_flight_ms": 2500,
        "lines_lost": 2,
        "engines": [{"engine": 0, "running": 2, "waiting": 1, "kv_cache_usage": 0.5}],
        "gpus": [{"gpu": "GPU-a", "memory_used_bytes": 10}],
    }
    started = {**base, "time": "2026-03-30T10:23:40.000Z", "event": "server_started", "model": "m", "startup_s": 41.5}
    measure.take(block(raw(started, beat, {**beat, "lines_lost": 5})))
    measure.commit([cursor(10)], {})

    fresh = {name: value for name, _, value in measure.gauges()}
    lost = int(measure.published()["lines_lost"][1].sum())
    clock[0] += 60_000
    stale = {name for name, _, _ in measure.gauges()}

    assert fresh == {
        "server_startup_seconds": 41.5,
        "last_heartbeat_timestamp_seconds": 1_774_866_225.0,
        "requests_in_flight": 3,
        "oldest_request_seconds": 2.5,
        "engine_requests_running": 2,
        "engine_requests_waiting": 1,
        "kv_cache_usage_ratio": 0.5,
        "gpu_memory_used_bytes": 10,
    }
    assert lost == 5
    assert stale == {"server_startup_seconds", "last_heartbeat_timestamp_seconds"}
    clock[0] = now
    measure.take(block(raw({**base, "time": "2026-03-30T10:23:49.000Z", "event": "server_stopped", "reason": "x"})))
    assert measure.gauges() == []
    measure.close()


def test_a_state_directory_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / "what? 100%#1"
    opened(odd).close()

    reader = open_reader(odd / "measure.db")

    assert reader is not None
    assert reader.execute("SELECT count(*) FROM cursors").fetchone() == (0,)
