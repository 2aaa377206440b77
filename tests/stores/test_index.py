"""The consumer `index`: its cursors move only after the store has acknowledged, so a stop loses and doubles nothing."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from logproc.consumer import NotYetError, PausedError
from logproc.settings import Settings
from logproc.state import StateLockedError
from logproc.stores.documents import Documents, time_text
from logproc.stores.index import Index, read_counters
from logproc.stores.store import Refused, Settled, StoreBusyError, StoreUnavailableError, Written
from logproc.tailing.block import Cursor
from tests.lines import NOW_MS, block, raw
from tests.stores.documents_of import all_in, at, flat, read

SETTINGS = Settings.model_validate({"logs": {"paths": ["access.jsonl"]}})
LINES = [raw(at(NOW_MS - 1000 + i, client=f"{i}")) for i in range(100)]


def cursor(offset: int) -> Cursor:
    return Cursor(key=1, path="access.jsonl", device=1, inode=2, offset=offset, size=offset)


def open_index(state: Path) -> Index:
    return Index(SETTINGS, state, clock=lambda: NOW_MS)


def counted(state: Path) -> dict[tuple[str, ...], float]:
    return {
        (name, *(labels[key] for key in sorted(labels))): value
        for name, samples in read_counters(state / "index.db").items()
        for labels, value in samples
    }


class FailingStore:
    """A store that can be told to refuse."""

    name = "failing"
    commit_every_s = 1.0
    rest_s = 0.0
    uncounted = 0

    def __init__(self) -> None:
        self.is_down = False
        self.is_settled = True

    def resume(self, round_number: int, uncounted: int) -> None:
        """It does not know what it stored."""

    def next_round(self, round_number: int) -> None:
        """It does not know what it stored."""

    def write(self, requests: Sequence[Documents], servers: Sequence[Documents]) -> Written:
        self._check()
        self.is_settled = False
        return Written(stored=sum(map(len, [*requests, *servers])))

    def settle(self) -> Settled:
        self._check()
        self.is_settled = True
        return Settled()

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.is_down:
            raise StoreUnavailableError("the store is down")


def test_lines_become_documents_and_counters_that_another_process_can_read(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    assert index.is_new
    assert index.cursors() == []
    data = b"".join(LINES) + b"oops\n" + b'{"time":"2026-03-31T10:00:00Z","event":"heartbeat"}\n'
    index.take(block(data))
    assert counted(tmp_path) == {}  # nothing is shown before it is committed
    index.commit([cursor(len(data))], {"opened": 1})
    assert counted(tmp_path) == {
        ("logproc_lines", "index", "ok"): 101,
        ("logproc_lines", "index", "rejected"): 1,
        ("logproc_lines", "index", "unrelated"): 0,
        ("logproc_bytes", "index"): len(data),
        ("logproc_documents", "stored", "sqlite"): 101,
        ("logproc_documents", "duplicate", "sqlite"): 0,
        ("logproc_documents", "rejected", "sqlite"): 0,
        ("logproc_documents", "expired", "sqlite"): 0,
    }
    index.close()
    again = open_index(tmp_path)
    assert not again.is_new
    assert again.cursors() == [cursor(len(data))]
    again.close()
    assert all_in(tmp_path / "documents") == flat(read(b"".join(LINES)))


def test_counters_of_a_state_directory_without_index_are_none(tmp_path: Path) -> None:
    assert read_counters(tmp_path / "index.db") == {}
    (tmp_path / "index.db").write_bytes(b"no database")
    assert read_counters(tmp_path / "index.db") == {}


def test_the_cursors_wait_for_the_store(tmp_path: Path) -> None:
    store = FailingStore()
    index = Index(SETTINGS, tmp_path, store, lambda: NOW_MS)
    index.take(block(LINES[0]))
    store.is_down = True
    steps: list[Callable[[], object]] = [lambda: index.take(block(LINES[1])), lambda: index.commit([cursor(5)], {})]
    for step in steps:
        with pytest.raises(PausedError, match="the store is down"):
            step()
    assert index.cursors() == []
    store.is_down = False
    index.take(block(LINES[1]))
    index.commit([cursor(7)], {})
    assert store.is_settled
    assert index.cursors() == [cursor(7)]
    assert counted(tmp_path)["logproc_lines", "index", "ok"] == 2
    index.close()


def test_an_index_db_that_cannot_be_written_pauses_and_the_numbers_are_not_lost(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    index.take(block(b"".join(LINES)))
    with sqlite3.connect(tmp_path / "index.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        index._database.connection.execute("PRAGMA busy_timeout=0")
        with pytest.raises(PausedError, match=r"cannot write .*index\.db: database is locked"):
            index.commit([cursor(9)], {})
        other.execute("ROLLBACK")
    index.commit([cursor(9)], {})
    assert counted(tmp_path)["logproc_documents", "stored", "sqlite"] == 100
    index.close()


class PickyStore(FailingStore):
    """A store that says only on settling what it refuses, and that may need longer."""

    needs_longer = False

    def write(self, requests: Sequence[Documents], servers: Sequence[Documents]) -> Written:
        self._check()
        return Written()

    def settle(self) -> Settled:
        self._check()
        if self.needs_longer:
            raise StoreBusyError
        return Settled(Written(stored=1, rejected=1), [Refused("abc", "bad_type", "it is bad", b'{"x":1}')])


def test_what_the_store_tells_on_settling_is_counted_and_refused_documents_are_kept(tmp_path: Path) -> None:
    store = PickyStore()
    index = Index(SETTINGS, tmp_path, store, lambda: NOW_MS)
    index.take(block(b"".join(LINES[:2])))
    store.needs_longer = True
    with pytest.raises(NotYetError):
        index.commit([cursor(5)], {})
    assert index.cursors() == []
    store.needs_longer = False
    index.commit([cursor(5)], {})
    index.close()

    found = counted(tmp_path)
    assert found["logproc_documents", "stored", "failing"] == 1
    assert found["logproc_documents", "rejected", "failing"] == 1
    assert rejected_in(tmp_path) == [
        {
            "time": time_text(NOW_MS),
            "event_id": "abc",
            "error_type": "bad_type",
            "detail": "it is bad",
            "document": {"x": 1},
        }
    ]


def test_refused_documents_of_a_commit_that_failed_are_written_once(tmp_path: Path) -> None:
    index = Index(SETTINGS, tmp_path, PickyStore(), lambda: NOW_MS)
    index.take(block(LINES[0]))
    with sqlite3.connect(tmp_path / "index.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        index._database.connection.execute("PRAGMA busy_timeout=0")
        with pytest.raises(PausedError):
            index.commit([cursor(5)], {})
        other.execute("ROLLBACK")
    index.close()  # as a kill would: the line stands in the file, and nothing of it in the database
    assert len(rejected_in(tmp_path)) == 1

    again = Index(SETTINGS, tmp_path, PickyStore(), lambda: NOW_MS)
    assert rejected_in(tmp_path) == []
    again.take(block(LINES[0]))
    again.commit([cursor(5)], {})
    again.close()
    assert len(rejected_in(tmp_path)) == 1


def rejected_in(state: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (state / "rejected" / "index.jsonl").read_bytes().splitlines()]


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    with pytest.raises(StateLockedError, match=f"in use by process {os.getpid()}"):
        open_index(tmp_path)
    index.close()
    open_index(tmp_path).close()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from tests.stores.test_index import LINES, cursor, open_index
from tests.lines import block

state, kill_at = Path(sys.argv[1]), sys.argv[2]
index = open_index(state)
done = max((each.offset for each in index.cursors()), default=0)
data = b"".join(LINES)
whole = index._store.settle


def settle_and_die():
    settled = whole()
    if done >= len(data) // 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return settled


if kill_at == "between store and index.db":
    index._store.settle = settle_and_die
written = index._store.write


def write_and_die(requests, servers):
    result = written(requests, servers)
    if done >= len(data) // 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return result


if kill_at == "after the store's commit":
    index._store.write = write_and_die
while done < len(data):
    end = data.index(b"\\n", min(done + 1500, len(data) - 1)) + 1
    index.take(block(data[done:end], done))
    index.commit([cursor(end)], {})
    done = end
index.close()
"""


@pytest.mark.parametrize("kill_at", ["between store and index.db", "after the store's commit"])
def test_a_process_killed_between_store_and_cursor_loses_and_doubles_nothing(tmp_path: Path, kill_at: str) -> None:
    killed = _run(tmp_path, kill_at)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    stored = len(all_in(tmp_path / "documents"))
    assert 0 < stored < len(LINES)
    finished = _run(tmp_path, "never")
    assert finished.returncode == 0, finished.stderr
    assert all_in(tmp_path / "documents") == flat(read(b"".join(LINES)))
    found = counted(tmp_path)
    assert found["logproc_lines", "index", "ok"] == len(LINES)
    assert found["logproc_bytes", "index"] == len(b"".join(LINES))
    assert found["logproc_documents", "stored", "sqlite"] == len(LINES)
    assert found["logproc_documents", "duplicate", "sqlite"] == 0


def test_what_was_stored_before_a_stop_is_counted_once_however_it_is_cut_when_it_is_read_again(tmp_path: Path) -> None:
    data = b"".join(LINES)
    index = open_index(tmp_path)
    index.take(block(data))
    index.close()  # nothing is committed

    again = open_index(tmp_path)
    again.take(block(b"".join(LINES[:30])))
    again.commit([cursor(3)], {})
    again.close()
    assert counted(tmp_path)["logproc_documents", "stored", "sqlite"] == 30

    last = open_index(tmp_path)
    last.take(block(b"".join(LINES[30:]), len(b"".join(LINES[:30]))))
    last.take(block(data))  # these are true repeats
    last.commit([cursor(10)], {})
    last.close()
    assert counted(tmp_path)["logproc_documents", "stored", "sqlite"] == 100
    assert counted(tmp_path)["logproc_documents", "duplicate", "sqlite"] == 100


def test_a_day_file_of_version_1_is_written_on(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    index.take(block(b"".join(LINES[:50])))
    index.commit([cursor(5)], {})
    index.close()
    (day,) = (tmp_path / "documents").glob("2*.db")
    with sqlite3.connect(day) as connection:
        connection.execute("DROP TABLE uncounted")
        connection.execute("PRAGMA user_version=1")

    again = open_index(tmp_path)
    again.take(block(b"".join(LINES[50:]), len(b"".join(LINES[:50]))))
    again.commit([cursor(10)], {})
    again.close()

    assert all_in(tmp_path / "documents") == flat(read(b"".join(LINES)))
    assert counted(tmp_path)["logproc_documents", "stored", "sqlite"] == 100


def _run(state: Path, kill_at: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", PROGRAM, str(state), kill_at]
    return subprocess.run(command, capture_output=True, check=False, cwd=Path(__file__).parents[2], timeout=60)
