"""A day that is dropped leaves its minutes: a day is there whole or rolled up, whatever happens, and answers add up."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import Counter
from math import ceil
from pathlib import Path
from typing import Any, NoReturn, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.record import DAY_MS, MOST
from logproc.stores import rollups
from logproc.stores.archive import By, Found, Group, Question, Slowness, Span
from logproc.stores.rollup import MINUTE_MS, packed, unpacked
from logproc.stores.sqlite import SqliteStore, day_files
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.sqlite_days import SqliteDays
from logproc.stores.store import StoreUnavailableError, Written
from tests.lines import NOW_MS
from tests.stores.documents_of import MIDNIGHT_MS, all_in, at, documents, store_in

TODAY = NOW_MS // DAY_MS


def days_in(folder: Path) -> list[int]:
    return [TODAY - day for day, _ in day_files(folder)]


def kept(folder: Path, keep_days: int, *lines: dict[str, Any]) -> SqliteArchive:
    """A folder in which these lines were stored while everything was kept, and of which `keep_days` are left."""
    store = store_in(folder, keep_days=100)
    store.write(documents(*lines), [])
    store.close()
    later = store_in(folder, keep_days=keep_days)
    later.write([], [])
    later.close()
    return SqliteArchive(folder)


ONE_REQUEST = st.builds(
    lambda back, **fields: at(MIDNIGHT_MS - back, **fields),
    back=st.one_of(st.integers(0, 5 * DAY_MS), st.integers(2 * DAY_MS, 2 * DAY_MS + 5 * MINUTE_MS)),
    model=st.sampled_from([None, "a", "b"]),
    status=st.sampled_from([200, 200, 499, 503]),
    finish_reason=st.sampled_from([None, "length"]),
    prompt_tokens=st.sampled_from([None, 0, 7, MOST]),
    completion_tokens=st.sampled_from([None, 1, 20]),
    duration_ms=st.floats(0.01, 100_000).map(lambda value: round(value, 3)),
    ttft_ms=st.sampled_from([None, 0.5, 80, 4000]),
    queue_ms=st.sampled_from([None, 12.5]),
).map(lambda line: {key: value for key, value in line.items() if value is not None or "tokens" in key})
REQUESTS = st.lists(ONE_REQUEST, min_size=1, max_size=40)
BUSY = st.lists(ONE_REQUEST, min_size=15, max_size=40)
HOW_LONG_AGO = st.one_of(
    st.tuples(st.just(0), st.sampled_from([5 * DAY_MS, 3 * DAY_MS + 1])),
    st.tuples(st.integers(2 * DAY_MS, 2 * DAY_MS + 3 * MINUTE_MS), st.sampled_from([2 * DAY_MS + 90_123, 5 * DAY_MS])),
    st.tuples(st.integers(0, 5 * DAY_MS), st.integers(0, 5 * DAY_MS)),
)
"""The ends of a range of time, ms before MIDNIGHT_MS."""


@settings(max_examples=60, deadline=None)
@given(lines=REQUESTS, keep_days=st.integers(1, 6), by=st.sampled_from([None, "model", "outcome"]))
def test_a_summary_is_the_same_before_and_after_days_were_rolled_up(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]], keep_days: int, by: Any
) -> None:
    folder = tmp_path_factory.mktemp("rollups")
    for number, line in enumerate(lines):
        line["client"] = f"{number}"
    before = kept(folder, 100, *lines).summarize(Question(), by)
    assert before.coverage.is_exact
    after = kept(folder, keep_days).summarize(Question(), by)

    assert [facts(group) for group in after.groups] == [facts(group) for group in before.groups]
    assert after.total is not None
    assert before.total is not None
    assert facts(after.total) == facts(before.total)
    for group, exact in zip([*after.groups, after.total], [*before.groups, before.total], strict=True):
        assert is_near(group, exact)


def facts(group: Group) -> tuple[Any, ...]:
    tokens = group.prompt_tokens, group.completion_tokens
    return group.key, group.requests, dict(group.outcomes), tokens, dict(group.by_model)


def is_near(group: Group, exact: Group) -> bool:
    """Whether percentiles are within 1 %."""
    times = [(getattr(group, name), getattr(exact, name)) for name in ("p50_ns", "p95_ns", "p99_ns")]
    first = group.ttft_ms == (exact.ttft_ms and pytest.approx(exact.ttft_ms, rel=0.0101, abs=0.001))
    return first and all(ours == pytest.approx(real, rel=0.0101, abs=1000) for ours, real in times)


@settings(max_examples=30, deadline=None)
@given(
    lines=BUSY,
    back=HOW_LONG_AGO,
    by=st.sampled_from([None, *get_args(By)]),
    models=st.sampled_from([(), ("a",)]),
    keep_days=st.sampled_from([100, 3]),
)
def test_a_quick_summary_counts_what_the_exact_one_counts(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[dict[str, Any]],
    back: tuple[int, int],
    by: By | None,
    models: tuple[str, ...],
    keep_days: int,
) -> None:
    for number, line in enumerate(lines):
        line |= {"client": f"{number % 3}", "user_id": f"{number % 5}"}
    archive = kept(tmp_path_factory.mktemp("quick"), keep_days, *lines)
    question = Question(MIDNIGHT_MS - max(back) - 1, MIDNIGHT_MS - min(back), models=models)
    exact = archive.summarize(question, by)
    for _ in ("new", "known"):
        quick = archive.summarize(question, by, exact=False)
        assert [facts(group) for group in quick.groups] == [facts(group) for group in exact.groups]
        assert (quick.total and facts(quick.total)) == (exact.total and facts(exact.total))
        assert all(map(is_near, quick.groups, exact.groups))


@settings(max_examples=20, deadline=None)
@given(
    lines=BUSY,
    back=HOW_LONG_AGO,
    size=st.integers(1, 9),
    filters=st.sampled_from([{}, {"models": ("a",)}, {"clients": ("1",)}, {"slower_than_ns": 20_000_000_000}]),
)
def test_the_slowest_are_those_of_the_whole_list_page_by_page(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[dict[str, Any]],
    back: tuple[int, int],
    size: int,
    filters: dict[str, Any],
) -> None:
    for number, line in enumerate(lines):
        line |= {"client": f"{number % 3}", "duration_ms": line["duration_ms"] if number % 4 else 77}
    archive = kept(tmp_path_factory.mktemp("slowest"), 100, *lines)
    question = Question(MIDNIGHT_MS - max(back) - 1, MIDNIGHT_MS - min(back), **filters)

    def place(found: Found) -> Slowness:
        return Slowness(found.document["event.duration"], *found.position)

    expected = sorted(archive.find(question), key=place, reverse=True)
    pages: list[Found] = []
    while page := archive.slowest(question, limit=size, after=place(pages[-1]) if pages else None):
        assert page == expected[len(pages) : len(pages) + size]
        pages += page
    assert pages == expected


@settings(max_examples=40, deadline=None)
@given(lines=REQUESTS, step_minutes=st.sampled_from([1, 5, 60, 1440]), by_model=st.booleans(), keep=st.integers(1, 6))
def test_a_series_is_a_plain_recount_whether_from_documents_or_from_minutes(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[dict[str, Any]],
    step_minutes: int,
    by_model: bool,
    keep: int,
) -> None:
    folder = tmp_path_factory.mktemp("series")
    for number, line in enumerate(lines):
        line["client"] = f"{number}"
    archive = kept(folder, 100, *lines)
    found = all_in(folder)
    step_ms = step_minutes * MINUTE_MS
    expected: dict[tuple[int, str | None], list[dict[str, Any]]] = {}
    for each in found:
        time_ms = int(np.datetime64(each["@timestamp"].removesuffix("Z"), "ms").astype(np.int64))
        key = time_ms // step_ms * step_ms, each.get("gen_ai.request.model") if by_model else None
        expected.setdefault(key, []).append(each)
    for _ in ("new", "known", "rolled up"):
        steps = archive.series(Question(), step_ms, by_model=by_model).steps
        assert {(step.time_ms, step.model) for step in steps} == set(expected)
        for step in steps:
            members = expected[step.time_ms, step.model]
            assert step.requests == len(members)
            assert step.outcomes == Counter(each["llm.outcome"] for each in members)
            assert step.prompt_tokens == sum(each.get("gen_ai.usage.input_tokens", 0) for each in members)
            assert step.completion_tokens == sum(each.get("gen_ai.usage.output_tokens", 0) for each in members)
            assert step.queue_ms == pytest.approx(sum(each.get("llm.queue_time", 0) for each in members) / 1e6)
            for name, values in (("duration_ms", "event.duration"), ("ttft_ms", "llm.ttft")):
                known = sorted(each[values] / 1e6 for each in members if values in each)
                exact = (
                    tuple(known[ceil(len(known) * percent / 100) - 1] for percent in (50, 95, 99)) if known else None
                )
                assert getattr(step, name) == (exact and pytest.approx(exact, rel=0.0101, abs=0.001))
        archive = archive if len(days_in(folder)) < 2 else kept(folder, keep)


def test_documents_that_come_later_are_in_the_next_series_and_the_others_are_not_counted_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(documents(at(NOW_MS, client="a"), at(NOW_MS - 600_000, client="b")), [])
    archive = SqliteArchive(tmp_path)
    assert sum(step.requests for step in archive.series(Question(), MINUTE_MS).steps) == 2
    store.write(documents(at(NOW_MS - 600_000, client="c"), at(NOW_MS - 600_000, client="b")), [])
    store.close()
    assert [step.requests for step in archive.series(Question(), MINUTE_MS).steps] == [2, 1]
    assert [step.requests for step in archive.series(Question(clients=("c",)), MINUTE_MS).steps] == [1]


def test_what_minutes_cannot_tell_is_left_out_and_said(tmp_path: Path) -> None:
    archive = kept(tmp_path, 1, at(NOW_MS, client="a"), at(NOW_MS - 3 * DAY_MS, client="a"))
    assert days_in(tmp_path) == [0]
    rolled = Span(MIDNIGHT_MS - 3 * DAY_MS, MIDNIGHT_MS - 2 * DAY_MS)
    by_client = archive.summarize(Question(), "client")
    assert (by_client.groups[0].requests, by_client.coverage.left_out) == (1, rolled)
    slow = archive.summarize(Question(slower_than_ns=1), "model")
    assert (slow.groups[0].requests, slow.coverage.left_out) == (1, rolled)
    by_model = archive.summarize(Question(), "model")
    assert (by_model.groups[0].requests, by_model.coverage.rolled_up) == (2, rolled)
    assert archive.summarize(Question(since_ms=MIDNIGHT_MS), "client").coverage.left_out is None


def test_a_day_that_is_over_stays_over(tmp_path: Path) -> None:
    old = at(NOW_MS - 3 * DAY_MS, client="a")
    kept(tmp_path, 1, at(NOW_MS, client="a"), old)
    store = store_in(tmp_path, keep_days=30)
    assert store.write(documents(old), []) == Written(expired=1)
    store.close()


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("moment", ["scanned", "committed", "log deleted", "file deleted"])
def test_a_stop_at_any_moment_leaves_the_day_whole_or_rolled_up_and_the_next_start_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    lines = [at(NOW_MS - 3 * DAY_MS + i, client=f"{i}") for i in range(5)] + [at(NOW_MS, client="now")]
    kept(tmp_path, 100, *lines)

    def stop(*_: object, **__: object) -> NoReturn:
        raise StoppedError

    with monkeypatch.context() as patch:
        if moment == "scanned":
            patch.setattr(rollups, "packed", stop)
        elif moment == "committed":
            done = rollups.close_day
            patch.setattr(rollups, "close_day", lambda *given: (done(*given), stop()))
        else:
            suffix = "-wal" if moment == "log deleted" else ".db"
            unlink = Path.unlink
            patch.setattr(
                Path, "unlink", lambda path, **given: (unlink(path, **given), path.name.endswith(suffix) and stop())
            )
        store = store_in(tmp_path, keep_days=1)
        with pytest.raises(StoppedError):
            store.write([], [])
        store.close()
    total = SqliteArchive(tmp_path).summarize(Question(), None).total
    assert total is not None
    assert total.requests == 6
    archive = kept(tmp_path, 1)
    total = archive.summarize(Question(), None).total
    assert total is not None
    assert total.requests == 6
    assert days_in(tmp_path) == [0]
    assert len(list(archive.find(Question()))) == 1


def test_a_broken_day_is_moved_aside_when_its_time_is_over_and_holds_nothing_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "2026-03-01.db").write_bytes(b"no database at all" * 100)
    kept(tmp_path, 1, at(NOW_MS))
    assert (tmp_path / "2026-03-01.db.broken").exists()
    assert "2026-03-01.db cannot be read" in caplog.text
    assert days_in(tmp_path) == [0]


def test_a_disk_that_is_full_keeps_the_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, 100, at(NOW_MS - 3 * DAY_MS, client="a"), at(NOW_MS))

    def full(_: object) -> bytes:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(rollups, "packed", full)
    store = store_in(tmp_path, keep_days=1)
    with pytest.raises(StoreUnavailableError, match="Make room on the disk"):
        store.write([], [])
    assert days_in(tmp_path) == [3, 0]
    monkeypatch.undo()
    store.write([], [])
    store.close()
    assert days_in(tmp_path) == [0]


def test_an_answer_during_which_a_day_closes_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, 100, at(NOW_MS - 3 * DAY_MS, client="a"), at(NOW_MS))
    archive = SqliteArchive(tmp_path)
    files, closing = SqliteDays.files, [True]

    def close_meanwhile(days: SqliteDays, question: Question) -> Any:
        found = files(days, question)
        if closing:
            closing.pop()
            kept(tmp_path, 1)
        return found

    monkeypatch.setattr(SqliteDays, "files", close_meanwhile)
    total = archive.summarize(Question(), None).total
    assert total is not None
    assert total.requests == 2
    assert not closing


def test_a_folder_that_may_only_be_read_answers_from_its_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path, 1, at(NOW_MS - 3 * DAY_MS, client="a"), at(NOW_MS))
    monkeypatch.setattr(os, "access", lambda *_: False)
    total = SqliteArchive(tmp_path).summarize(Question(), None).total
    assert total is not None
    assert total.requests == 2


@settings(max_examples=50, deadline=None)
@given(lines=REQUESTS)
def test_a_rollup_is_read_back_as_it_was_packed(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("packed")
    kept(folder, 1, *lines, at(MIDNIGHT_MS - 3 * DAY_MS))
    for made in rollups.read(folder, Question(), by_minute=True):
        again = unpacked(packed(made))
        assert again.kinds == made.kinds
        for name in ("minute", "kind", "counts", "times"):
            assert getattr(again, name).tolist() == getattr(made, name).tolist()
        assert [[part.tolist() for part in each] for each in again.sketches] == [
            [part.tolist() for part in each] for each in made.sketches
        ]


def test_a_folder_of_the_version_before_is_read_and_counted(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, 30, lambda: NOW_MS)
    store.write(documents(at(NOW_MS, client="a")), [])
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "2026-03-31.db", isolation_level=None)) as connection:
        connection.executescript("DROP TABLE changes; PRAGMA user_version=2;")
    archive = SqliteArchive(tmp_path)
    assert [step.requests for step in archive.series(Question(), MINUTE_MS).steps] == [1]
    store = SqliteStore(tmp_path, 30, lambda: NOW_MS)
    store.write(documents(at(NOW_MS, client="b")), [])
    store.close()
    assert [step.requests for step in archive.series(Question(), MINUTE_MS).steps] == [2]
