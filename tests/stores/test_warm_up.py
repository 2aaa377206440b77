"""What is usually asked of the last day is counted ahead: the first question need not wait for it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from logproc.record import DAY_MS
from logproc.stores import recent_rollups, sqlite_days, warm_up
from logproc.stores.archive import Question
from logproc.stores.points import USUAL_AXES, USUAL_POINTS
from logproc.stores.recent_rollups import HOUR_MS
from logproc.stores.rollup import Rollup
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.sqlite_reading import open_to_read
from logproc.stores.store import StoreUnavailableError
from logproc.stores.warm_up import WarmUp
from tests.lines import NOW_MS, raw
from tests.pipeline import until
from tests.stores.documents_of import at, read, store_in

LAST = NOW_MS // HOUR_MS * HOUR_MS
"""Where the whole hours before now end."""
DAY = Question(since_ms=LAST - DAY_MS, until_ms=LAST)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that looked at the times of many documents, from now on."""
    seen: list[str] = []

    def opened(path: Path, end: float | None = None) -> sqlite3.Connection:
        connection = open_to_read(path, end)
        connection.set_trace_callback(lambda text: seen.append(text) if "group_concat" in text else None)
        return connection

    monkeypatch.setattr(sqlite_days, "open_to_read", opened)
    return seen


def add(folder: Path, *times_ms: int) -> None:
    store = store_in(folder, keep_days=100)
    store.write(read(raw(*(at(each, client="a", ttft_ms=81.5, decode_ms=100) for each in times_ms))).requests, [])
    store.close()


def after_a_day(folder: Path) -> SqliteArchive:
    """Three requests in each hour of the day."""
    add(folder, *range(LAST - DAY_MS, LAST, HOUR_MS // 3))
    return SqliteArchive(folder)


def ask_everything(archive: SqliteArchive) -> int:
    """What the page asks of a day; how many requests there were."""
    steps = archive.series(DAY, 600_000, by_model=True).steps
    archive.heat(DAY, "ttft", 600_000)
    for by in (None, "model", "outcome", "client", "user_id", "api_key_id"):
        total = archive.summarize(DAY, by, exact=False).total
        assert total is not None
        assert total.requests == sum(step.requests for step in steps)
    for axes in USUAL_AXES:
        assert archive.points(DAY, axes, USUAL_POINTS).total == sum(step.requests for step in steps)
    return sum(step.requests for step in steps)


def warm(archive: SqliteArchive) -> None:
    archive.warm(NOW_MS - DAY_MS, NOW_MS, lambda: False)


def test_once_warm_no_question_of_the_page_counts_again(tmp_path: Path, counted: list[str]) -> None:
    archive = after_a_day(tmp_path)
    warm(archive)
    assert counted
    counted.clear()

    assert ask_everything(archive) == 72

    assert counted == []


def test_what_came_since_is_counted_and_nothing_else(tmp_path: Path, counted: list[str]) -> None:
    archive = after_a_day(tmp_path)
    warm(archive)
    counted.clear()
    warm(archive)
    assert counted == []
    add(tmp_path, LAST - HOUR_MS + 1)

    warm(archive)

    assert 0 < len(counted) < 20
    counted.clear()
    assert ask_everything(archive) == 73
    assert counted == []


def test_a_stop_is_not_kept_waiting_and_the_rest_is_counted_the_next_time(tmp_path: Path, counted: list[str]) -> None:
    archive = after_a_day(tmp_path)
    asked = iter([False, False, True])
    archive.warm(NOW_MS - DAY_MS, NOW_MS, lambda: next(asked))
    assert 0 < len(counted) < 60
    warm(archive)
    counted.clear()

    ask_everything(archive)

    assert counted == []


def test_a_count_that_fails_leaves_room_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is bounded by its bytes: those of a sum that is gone must not count."""
    archive = after_a_day(tmp_path)
    warm(archive)

    def fails(*_: object) -> Rollup:
        raise sqlite3.OperationalError("interrupted")

    for number in range(5):
        add(tmp_path, LAST - HOUR_MS + 1 + number)
        with monkeypatch.context() as patched:
            patched.setattr(recent_rollups, "rollup", fails)
            with pytest.raises(KeyboardInterrupt):
                warm(archive)
    kept = archive._recent
    assert kept._bytes == sum(len(data) for _, data in kept._kept.values())
    assert ask_everything(archive) == 77


def test_it_begins_when_the_logs_are_read_and_a_broken_file_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_up, "LOOK_S", 0.01)
    monkeypatch.setattr(warm_up, "EVERY_S", 0.01)
    may_begin, calls = threading.Event(), list[int]()

    class Broken(SqliteArchive):
        def warm(self, since_ms: int, until_ms: int, is_over: object) -> None:
            calls.append(until_ms - since_ms)
            raise StoreUnavailableError("broken")

    runs = WarmUp(Broken(tmp_path), may_begin.is_set, lambda: NOW_MS)
    runs.start()
    assert not threading.Event().wait(0.1)
    assert calls == []
    may_begin.set()
    until(lambda: len(calls) > 2, "tries")
    runs.close()
    assert set(calls) == {DAY_MS}
