"""Points of a plot: the odd ones first, the rest an even sample, the same each time, from every store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.stores import recent_points, sqlite_points
from logproc.stores.archive import Found, Question
from logproc.stores.points import FIELDS, LENGTHS, TIMES, Axes, Points, chosen
from logproc.stores.recent_points import RecentPoints
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.sqlite_days import SqliteDays
from logproc.stores.sqlite_points import documents_in
from logproc.stores.store import StoreUnavailableError
from tests.lines import NOW_MS, raw
from tests.stores.documents_of import at, flat, read, store_in

DURATIONS = Axes("prompt_tokens", "duration")


def shelf(folder: Path, *lines: dict[str, Any]) -> SqliteArchive:
    store = store_in(folder, keep_days=100)
    store.write(read(raw(*lines)).requests, [])
    store.close()
    return SqliteArchive(folder)


def ids(points: Points) -> list[str]:
    return [each.document["event.id"] for each in points.shown]


def crowd(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Requests over three days, one in ten of them slow."""
    return [
        at(
            NOW_MS - i * 3 * 86_400,
            client=f"c{i % 3}",
            model=f"m{i % 3}",
            duration_ms=9000 + i if i % 10 == 0 else 100 + i % 900,
            **fields,
        )
        for i in range(count)
    ]


VALUES = st.sampled_from([None, 0, 7, 2000])


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(
        st.builds(
            lambda ago, **fields: at(NOW_MS - ago, **{name: each for name, each in fields.items() if each is not None}
                                     | {name: fields[name] for name in LENGTHS}),
            ago=st.integers(0, 2 * 86_400_000), prompt_tokens=VALUES, completion_tokens=VALUES,
            duration_ms=st.integers(0, 10_000), ttft_ms=VALUES, decode_ms=VALUES,
            client=st.sampled_from(["a", "b", None]),
        ),
        max_size=30,
    ),
    axes=st.builds(Axes, st.sampled_from(LENGTHS), st.sampled_from(TIMES)),
    limit=st.integers(1, 12),
    clients=st.sampled_from([(), ("a",)]),
    since=st.sampled_from([None, NOW_MS - 86_400_000]),
)  # fmt: skip
def test_points_are_those_of_a_plain_recount(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[dict[str, Any]],
    axes: Axes,
    limit: int,
    clients: tuple[str, ...],
    since: int | None,
) -> None:
    archive = shelf(tmp_path_factory.mktemp("points"), *lines)
    question = Question(clients=clients, since_ms=since)

    points = archive.points(question, axes, limit)

    length, time = axes.fields
    every = {
        each.document["event.id"]: each.document
        for each in archive.find(question)
        if each.document.get(length) is not None and each.document.get(time) is not None
    }
    assert points.total == len(every)
    assert len(points.shown) == min(limit, len(every))
    told = {"event.outcome", *(field.name for field in FIELDS)}
    for each in points.shown:
        whole = every[each.document["event.id"]]
        assert each.document == {name: value for name, value in whole.items() if name in told}
    assert points.shown == sorted(points.shown, key=lambda each: each.position)
    if len(every) > limit:
        odd = sorted(-each[time] for each in every.values() if each.get("llm.flags"))[: limit // 2]
        shown = sorted(-each.document[time] for each in points.shown if each.document.get("llm.flags"))
        assert shown[: len(odd)] == odd


def test_the_sample_is_the_same_each_time_and_even(tmp_path: Path) -> None:
    archive = shelf(tmp_path, *crowd(4000))
    points = archive.points(Question(), DURATIONS, 400)

    assert ids(points) == ids(archive.points(Question(), DURATIONS, 400))
    usual = [each for each in points.shown if not each.document.get("llm.flags")]
    assert len(usual) >= 180
    for model in ("m0", "m1", "m2"):
        assert 0.2 < sum(each.document["gen_ai.request.model"] == model for each in usual) / len(usual) < 0.47


def test_fewer_requests_show_more_of_the_same(tmp_path: Path) -> None:
    archive = shelf(tmp_path, *crowd(3000))
    all_days = archive.points(Question(), DURATIONS, 300)
    half = NOW_MS - 3000 * 3 * 86_400 // 2
    later = set(ids(archive.points(Question(since_ms=half), DURATIONS, 300)))
    assert {each.document["event.id"] for each in all_days.shown if each.position.time_ms >= half} <= later


def test_what_was_shown_before_is_not_looked_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, asked = shelf(tmp_path, *crowd(300)), []

    def looked_up(connection: sqlite3.Connection, ids: Set[bytes]) -> list[Found]:
        asked.append(len(ids))
        return documents_in(connection, ids)

    monkeypatch.setattr(recent_points, "documents_in", looked_up)
    first = archive.points(Question(), DURATIONS, 40)
    assert asked[0] == 40
    asked.clear()
    assert archive.points(Question(), DURATIONS, 40) == first
    assert asked == []
    assert set(ids(first)) <= set(ids(archive.points(Question(), DURATIONS, 60)))
    assert sum(asked) < 60


def test_a_file_that_is_dropped_meanwhile_is_said_or_left_out(tmp_path: Path) -> None:
    archive = shelf(tmp_path, *crowd(10))
    days, path = SqliteDays(tmp_path, None), archive.files(Question())[0]
    assert RecentPoints().documents(days, [tmp_path / "gone.db"], {bytes(16)}) == []
    with pytest.raises(StoreUnavailableError, match="gone"), days.reading(path):
        Path(f"{path}.gone").stat()


def test_a_filtered_plot_does_not_wait_for_hours_that_are_counted(tmp_path: Path) -> None:
    archive, found = shelf(tmp_path, *crowd(60)), []
    asking = threading.Thread(
        target=lambda: found.append(archive.points(Question(clients=("c1",)), DURATIONS, 5)), daemon=True
    )
    with archive._points._lock:
        asking.start()
        asking.join(20)
        assert [points.total for points in found] == [20]


def test_of_many_that_match_the_same_are_shown_as_of_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = shelf(tmp_path, *crowd(3000))
    one_client = Question(clients=("c1",))
    few = archive.points(one_client, DURATIONS, 100)
    monkeypatch.setattr(sqlite_points, "MOST_ROWS", 30)
    assert archive.points(one_client, DURATIONS, 100) == few


def test_ids_of_other_tools_that_are_not_random_do_not_break_it(tmp_path: Path) -> None:
    lines = [{**line, "id": id_of(NOW_MS - i)} for i, line in enumerate(crowd(500))]
    for each, i in zip(lines, range(500), strict=True):
        each["time"] = at(NOW_MS - i)["time"]
    points = shelf(tmp_path, *lines).points(Question(), DURATIONS, 50)
    assert (points.total, len(points.shown)) == (500, 50)


def id_of(time_ms: int) -> str:
    from logproc.record import make_line_id

    return make_line_id(time_ms, b"\0" * 10)


@given(
    odd=st.lists(st.tuples(st.integers(0, 9), st.binary(min_size=16, max_size=16)), unique_by=lambda each: each[1]),
    sample=st.sets(st.binary(min_size=16, max_size=16)),
    limit=st.integers(1, 20),
)
def test_there_is_room_for_half_of_odd_ones_and_never_for_more_than_was_asked(
    odd: list[tuple[int, bytes]], sample: set[bytes], limit: int
) -> None:
    odd_ns = np.array([each for each, _ in odd], np.int64)
    found = chosen(odd_ns, b"".join(key for _, key in odd), b"".join(sample), limit)
    assert len(found) <= limit
    assert len(found & {key for _, key in odd} - sample) <= limit // 2
    assert len(found) == min(
        limit, len({key for _, key in sorted(odd, key=lambda e: (-e[0], e[1]))[: limit // 2]} | sample)
    )


@pytest.mark.service
@pytest.mark.timeout(300)
def test_both_stores_give_the_same_points(elasticsearch: str, tmp_path: Path) -> None:
    from tests.stores.test_elasticsearch_archive import Both

    both = Both(elasticsearch, tmp_path)
    lines = crowd(300, ttft_ms=12.5, prompt_tokens=77)
    both.add(*lines)
    assert len(flat(read(raw(*lines)))) == 300
    for question in (
        Question(),
        Question(clients=("c1",)),
        Question(since_ms=NOW_MS - 86_400_000),
        Question(models=("x",)),
    ):
        for axes in (DURATIONS, Axes("completion_tokens", "ttft"), Axes("completion_tokens", "decode")):
            mine, theirs = (each.points(question, axes, 300) for each in (both.sqlite, both.elasticsearch))
            assert mine.total == theirs.total
            assert [each.document for each in mine.shown] == [each.document for each in theirs.shown]
    some = both.elasticsearch.points(Question(), DURATIONS, 40)
    assert (some.total, len(some.shown)) == (300, 40)
    assert ids(some) == ids(both.elasticsearch.points(Question(), DURATIONS, 40))
    slowest = sorted((each.document["event.duration"] for each in both.sqlite.find(Question())), reverse=True)[:20]
    assert sorted((each.document["event.duration"] for each in some.shown), reverse=True)[:20] == slowest


def test_points_are_right_again_after_documents_were_added_to_an_hour_that_was_known(tmp_path: Path) -> None:
    archive = shelf(tmp_path, *crowd(200))
    before = archive.points(Question(), DURATIONS, 300)
    assert before == archive.points(Question(), DURATIONS, 300)
    late = [at(NOW_MS - i * 3 * 86_400 - 1, duration_ms=20_000, request_id=f"late{i}") for i in range(50)]
    shelf(tmp_path, *late)

    after = archive.points(Question(), DURATIONS, 300)

    assert (before.total, after.total) == (200, 250)
    assert set(ids(before)) < set(ids(after))
    assert len(after.shown) == 250
