"""The SQLite store: a line is kept once, on its own day, for as long as the settings say; a fault loses nothing."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logproc.record import DAY_MS, make_line_id
from logproc.stores import sqlite as sqlite_store
from logproc.stores.archive import Question
from logproc.stores.sqlite import day_files
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.sqlite_reading import open_to_read
from logproc.stores.sqlite_sql import open_sql
from logproc.stores.store import StoreUnavailableError, Written
from tests.lines import NOW_MS, block, raw
from tests.stores.documents_of import MIDNIGHT_MS, all_in, at, documents, flat, read, store_in


def days_in(folder: Path) -> list[str]:
    return [path.stem for _, path in day_files(folder)]


def test_the_same_lines_twice_are_the_same_documents_and_nothing_new(tmp_path: Path) -> None:
    found = read(b"".join(raw(at(NOW_MS - i, client=f"{i}")) for i in range(300)))
    store = store_in(tmp_path)
    assert store.write(found.requests, []) == Written(stored=300)
    assert store.write(found.requests, []) == Written(duplicate=300)
    store.close()
    again = store_in(tmp_path)
    assert again.write(found.requests, []) == Written(duplicate=300)
    again.close()
    assert sorted(all_in(tmp_path), key=lambda each: each["log.offset"]) == flat(found)


def test_what_is_read_back_is_what_was_written_however_odd(tmp_path: Path) -> None:
    lines = [
        at(NOW_MS, client="5", model="", user_id="\x00\x1b[31m", nested={"a": [1, None]}),
        at(NOW_MS, client="x" * 300, model="5", stream=False, finish_reason="stop", error_code=-3),
        at(NOW_MS, path="/" + "p" * 100_000, request_id="r" * 5000, prompt_tokens=None),
    ]
    found = read(raw(*lines))
    store = store_in(tmp_path)
    store.write(found.requests, [])
    store.close()
    assert sorted(all_in(tmp_path), key=lambda each: each["log.offset"]) == flat(found)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-3 * 3600_000, 3 * 3600_000), min_size=1, max_size=40))
def test_times_that_jump_over_midnight_go_to_their_own_days(
    tmp_path_factory: pytest.TempPathFactory, jumps: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    store = store_in(folder)
    store.write(documents(*(at(MIDNIGHT_MS + jump, client=f"{i}") for i, jump in enumerate(jumps))), [])
    store.close()
    for _, path in day_files(folder):
        with contextlib.closing(open_to_read(path)) as connection:
            for (time_ms,) in connection.execute("SELECT time_ms FROM requests"):
                assert sqlite_store.day_path(folder, time_ms // DAY_MS) == path
    assert len(all_in(folder)) == len(jumps)


def test_an_id_from_the_evening_before_stays_with_the_day_of_the_lines_own_time(tmp_path: Path) -> None:
    line_id = make_line_id(MIDNIGHT_MS - 1, b"0123456789")
    store = store_in(tmp_path)
    store.write(documents(at(MIDNIGHT_MS + 1, id=line_id), at(MIDNIGHT_MS + 500)), [])
    store.close()
    archive = SqliteArchive(tmp_path)
    assert len(days_in(tmp_path)) == 1
    found = list(archive.find(Question(since_ms=MIDNIGHT_MS, until_ms=MIDNIGHT_MS + 10)))
    assert [each.document["event.id"] for each in found] == [line_id]
    assert [each.document["event.id"] for each in archive.find(Question(ids=(line_id,)))] == [line_id]
    assert list(archive.find(Question(since_ms=MIDNIGHT_MS - 10, until_ms=MIDNIGHT_MS))) == []


def test_days_over_the_retention_are_dropped_and_lines_of_them_are_counted_not_written(tmp_path: Path) -> None:
    lines = [at(MIDNIGHT_MS - back * DAY_MS) for back in range(6)]
    store = store_in(tmp_path, keep_days=10)
    store.write(documents(*lines), [])
    store.close()
    assert len(days_in(tmp_path)) == 6

    later = store_in(tmp_path, keep_days=2)
    assert later.write(documents(*lines), []) == Written(duplicate=3, expired=3)
    later.close()
    assert days_in(tmp_path) == ["2026-03-29", "2026-03-30", "2026-03-31"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("2026-03-2") and "29" not in path.name]


def test_a_day_ends_while_the_store_runs_and_the_oldest_goes(tmp_path: Path) -> None:
    now = [NOW_MS]
    store = sqlite_store.SqliteStore(tmp_path, 1, lambda: now[0])
    store.write(documents(at(NOW_MS - DAY_MS), at(NOW_MS)), [])
    now[0] += DAY_MS
    assert store.write(documents(at(NOW_MS - DAY_MS)), []) == Written(expired=1)
    assert days_in(tmp_path) == ["2026-03-31"]
    store.close()


def test_old_heartbeats_are_dropped_too(tmp_path: Path) -> None:
    now = [NOW_MS]
    store = sqlite_store.SqliteStore(tmp_path, 1, lambda: now[0])
    beats = read(
        b"".join(
            b'{"time":"%s","event":"heartbeat"}\n' % at(time_ms)["time"].encode()
            for time_ms in (NOW_MS - 3 * DAY_MS, NOW_MS - DAY_MS, NOW_MS)
        )
    )
    assert store.write([], beats.servers) == Written(stored=2, expired=1)
    assert store.write([], beats.servers) == Written(duplicate=2, expired=1)
    now[0] += DAY_MS
    store.write([], [])
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "servers.db")) as connection:
        assert connection.execute("SELECT time_ms FROM servers").fetchall() == [(NOW_MS,)]


def test_more_days_than_may_be_open_are_all_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "MOST_OPEN_FILES", 3)
    lines = [at(MIDNIGHT_MS - back * DAY_MS, client=f"{i}") for i in range(5) for back in range(12)]
    store = store_in(tmp_path)
    for start in range(0, len(lines), 7):
        found = read(block(raw(*lines[start : start + 7]), len(raw(*lines[:start]))))
        store.write(found.requests, [])
    store.settle()
    store.close()
    assert len(days_in(tmp_path)) == 12
    assert len(all_in(tmp_path)) == len(lines)


def test_texts_beyond_the_bound_stand_in_the_rows_and_are_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "MOST_TEXTS", 4)
    store = store_in(tmp_path)
    found = read(raw(*(at(NOW_MS - i, client=f"{i}", duration_ms=5000) for i in range(20))))
    store.write(found.requests, [])
    store.close()
    assert sorted(all_in(tmp_path), key=lambda each: each["log.offset"]) == flat(found)
    archive = SqliteArchive(tmp_path)
    for i in (0, 19):
        assert [each.document["source.address"] for each in archive.find(Question(clients=(f"{i}",)))] == [f"{i}"]
    assert len(list(archive.find(Question(flags=("slow",))))) == 20
    assert {group.key for group in archive.summarize(Question(), "client").groups} == {f"{i}" for i in range(20)}


def test_a_file_that_is_no_database_stops_the_store_and_is_never_touched(tmp_path: Path) -> None:
    broken = tmp_path / "2026-03-31.db"
    broken.write_bytes(b"this is not a database, but somebody may need it" * 100)
    store = store_in(tmp_path)
    found = documents(at(NOW_MS - DAY_MS), at(NOW_MS))
    with pytest.raises(StoreUnavailableError, match=r"2026-03-31\.db: file is not a database\. Move it away"):
        store.write(found, [])
    assert all_in_day(tmp_path, "2026-03-30") == 0  # what belongs to other days is undone: it is given again
    broken.rename(tmp_path / "kept")
    assert store.write(found, []) == Written(stored=2)
    store.close()


def test_a_database_of_another_program_is_not_written(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "2026-03-31.db")) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    store = store_in(tmp_path)
    with pytest.raises(StoreUnavailableError, match="written by another program"):
        store.write(documents(at(NOW_MS)), [])
    with pytest.raises(StoreUnavailableError, match="written by another program"):
        all_in(tmp_path)
    store.close()


@contextlib.contextmanager
def no_file_may_grow_beyond(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_when_nothing_more_can_be_written_the_store_says_so_and_goes_on_afterwards(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    first = documents(*(at(NOW_MS - i, request_id="a" * 100) for i in range(200)))
    second = documents(*(at(NOW_MS - i, request_id="b" * 500) for i in range(1000)))
    store.write(first, [])
    with (
        no_file_may_grow_beyond(200_000),
        pytest.raises(StoreUnavailableError, match=r"2026-03-31\.db: .*nothing is lost"),
    ):
        store.write(second, [])
    assert store.write(second, []) == Written(stored=1000)
    store.settle()
    store.close()
    assert len(all_in(tmp_path)) == 1200


def test_many_read_while_one_writes(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(documents(at(NOW_MS)), [])
    stop = threading.Event()
    problems: list[Exception] = []
    looks: list[int] = []

    def look() -> None:
        archive, before = SqliteArchive(tmp_path), 0
        try:
            while not stop.is_set() or not looks:
                count = sum(group.requests for group in archive.summarize(Question(), "outcome").groups)
                assert count >= before
                before = count
                looks.append(count)
        except Exception as error:  # handed to the test
            problems.append(error)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for i in range(40):
        store.write(documents(*(at(NOW_MS - 100 * i - k, client=f"{i}") for k in range(50))), [])
    stop.set()
    for reader in readers:
        reader.join()
    store.close()
    assert not problems
    assert len(looks) >= 3


def all_in_day(folder: Path, day: str) -> int:
    with contextlib.closing(sqlite3.connect(folder / f"{day}.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM requests").fetchone()
        return int(count)


def test_a_file_left_empty_by_a_stop_at_its_birth_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "2026-03-31.db").touch()
    assert all_in(tmp_path) == []
    assert open_sql(SqliteArchive(tmp_path), Question()).execute("SELECT count(*) FROM requests").fetchone() == (0,)
    store = store_in(tmp_path)
    assert store.write(documents(at(NOW_MS)), []) == Written(stored=1)
    store.close()
    assert len(all_in(tmp_path)) == 1
