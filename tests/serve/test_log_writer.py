"""The log writer keeps every line once and whole, or counts it as lost, whatever is done to its file."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serve.log_file import LogFile
from serve.log_writer import QUEUE_LINES, LogWriter


def eventually(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.005)


def numbers(*paths: Path) -> list[int]:
    """The `n` of every line; a torn line fails."""
    return [json.loads(line)["n"] for path in paths if path.exists() for line in path.read_bytes().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "access.jsonl"


@pytest.fixture
def writer(log: Path) -> Iterator[LogWriter]:
    writer = LogWriter(str(log))
    writer.start()
    yield writer
    writer.close()


# --- lines ------------------------------------------------------------------------------------------------------------


def test_a_line_is_the_fields_in_their_order_as_utf8_json(writer: LogWriter, log: Path) -> None:
    writer.put({"time": "t", "event": "heartbeat", "pid": 1, "prompt_tokens": None, "model": "中文\n", "x": 0.5})
    writer.close()
    assert log.read_text(encoding="utf-8") == (
        '{"time":"t","event":"heartbeat","pid":1,"prompt_tokens":null,"model":"中文\\n","x":0.5}\n'
    )


def test_a_number_that_json_has_not_is_written_as_unknown(writer: LogWriter, log: Path) -> None:
    writer.put({"a": float("nan"), "b": float("inf")})
    writer.close()
    assert log.read_text() == '{"a":null,"b":null}\n'


def test_fields_that_cannot_be_rendered_are_counted_and_cost_no_other_line(writer: LogWriter, log: Path) -> None:
    writer.put({"n": 1})
    writer.put({"n": object()})
    writer.put({"n": "\ud800"})
    writer.put({"n": 2})
    writer.close()
    assert numbers(log) == [1, 2]
    assert writer.lost == 2


def test_a_line_is_in_the_file_while_the_writer_runs(writer: LogWriter, log: Path) -> None:
    writer.put({"n": 1})
    eventually(lambda: numbers(log) == [1])
    writer.put({"n": 2})
    eventually(lambda: numbers(log) == [1, 2])


def test_the_file_can_be_read_by_owner_and_group_alone(writer: LogWriter, log: Path) -> None:
    before = os.umask(0)
    try:
        writer.put({"n": 1})
        eventually(log.exists)
    finally:
        os.umask(before)
    assert log.stat().st_mode & 0o777 == 0o640


# --- never blocks, never raises ---------------------------------------------------------------------------------------


def test_a_full_queue_loses_and_counts_what_does_not_fit(log: Path) -> None:
    writer = LogWriter(str(log))
    for n in range(QUEUE_LINES + 7):
        writer.put({"n": n})
    assert writer.lost == 7
    writer.start()
    writer.close(30)
    assert numbers(log) == list(range(QUEUE_LINES))


def test_put_returns_while_the_disk_hangs(log: Path) -> None:
    disk_answers = threading.Event()
    entered = threading.Event()

    def hang(fd: int, data: bytes) -> int:
        entered.set()
        disk_answers.wait()
        return os.write(fd, data)

    writer = LogWriter(str(log), write=hang)
    writer.start()
    writer.put({"n": 0})
    assert entered.wait(20)
    for n in range(1, 50):
        writer.put({"n": n})
    writer.close(timeout_s=0.05)  # gives up waiting
    assert log.read_bytes() == b""
    disk_answers.set()
    eventually(lambda: numbers(log) == list(range(50)))
    assert writer.lost == 0


def test_a_line_put_after_close_is_counted_as_lost(writer: LogWriter, log: Path) -> None:
    writer.close()
    writer.put({"n": 1})
    writer.close()
    assert writer.lost == 1


def test_a_defect_in_writing_ends_neither_the_thread_nor_the_log(
    writer: LogWriter, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eventually(log.exists)
    whole = LogFile.append

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(LogFile, "append", broken)
    writer.put({"n": 1})
    eventually(lambda: writer.lost == 1)
    monkeypatch.setattr(LogFile, "append", whole)
    writer.put({"n": 2})
    eventually(lambda: numbers(log) == [2])


# --- disks that fail --------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_loses_lines_warns_once_a_minute_and_heals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    in_the_way = tmp_path / "logs"
    in_the_way.write_text("a file where the directory should be")
    log = in_the_way / "access.jsonl"
    caplog.set_level(logging.WARNING, "logproc.serve")
    writer = LogWriter(str(log), clock=lambda: now)
    writer.start()
    for lost in (1, 2, 3):
        writer.put({"n": lost})
        eventually(lambda: writer.lost == lost)  # noqa: B023
    eventually(lambda: len(caplog.records) == 1)
    now += 61
    writer.put({"n": 4})
    eventually(lambda: len(caplog.records) == 2)
    assert "logs" in caplog.text
    in_the_way.unlink()
    writer.put({"n": 5})
    eventually(lambda: log.exists() and numbers(log) == [5])
    writer.close()
    assert writer.lost == 4
    assert len(caplog.records) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_loses_lines_and_no_line_is_torn_or_joined_when_there_is_room_again(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        log = disk / "access.jsonl"
        (disk / "ballast").write_bytes(b"x" * 40_000)
        writer = LogWriter(str(log))
        writer.start()
        for n in range(300):
            writer.put({"n": n, "text": "x" * 100})
        eventually(lambda: writer.lost > 0)
        (disk / "ballast").unlink()
        lost_before = -1
        n = 300
        while lost_before != writer.lost:  # until nothing is lost any more
            lost_before = writer.lost
            writer.put({"n": n})
            n += 1
            eventually(lambda: not writer._waiting)
        writer.close()
        lines = log.read_bytes().splitlines()
        whole, torn = [], []
        for line in lines:
            try:
                whole.append(json.loads(line)["n"])
            except ValueError:
                torn.append(line)
        assert len(whole) == len(set(whole))
        assert len(whole) + writer.lost == n
        assert len(torn) <= 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# --- several processes ------------------------------------------------------------------------------------------------

PROCESS = """
import sys
from serve.log_writer import LogWriter
writer = LogWriter(sys.argv[1])
writer.start()
n = int(sys.argv[2])
while True:
    line = sys.stdin.readline()
    if not line:
        break
    for _ in range(int(line)):
        writer.put({"n": n, "text": "x" * 200})
        n += 1
writer.close()
"""


def process(log: Path, first: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(log), str(first)],
        stdin=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def tell(child: subprocess.Popen[str], lines: int) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{lines}\n")
    child.stdin.flush()


def end(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(30) == 0


def test_each_process_has_a_file_of_its_own_and_a_free_name_is_taken_again(log: Path) -> None:
    second = log.with_name("access-1.jsonl")
    a = process(log, 0)
    eventually(log.exists)
    b = process(log, 1000)
    eventually(second.exists)
    tell(a, 10)
    tell(b, 10)
    end(a)
    c = process(log, 2000)
    tell(c, 10)
    end(c)
    end(b)
    assert numbers(log) == [*range(10), *range(2000, 2010)]
    assert numbers(second) == list(range(1000, 1010))
    assert sorted(p.name for p in log.parent.glob("*") if not p.name.startswith(".")) == [
        "access-1.jsonl",
        "access.jsonl",
    ]


def test_a_killed_process_leaves_whole_lines_but_the_last_and_its_successor_joins_nothing_to_it(log: Path) -> None:
    child = process(log, 0)
    tell(child, 5000)
    eventually(lambda: log.exists() and log.stat().st_size > 100_000)
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    before = log.read_bytes()
    with log.open("ab") as file:  # the end that a kill in the midst of a write can leave
        file.write(b'{"n": 99')
    writer = LogWriter(str(log))
    writer.start()
    writer.put({"n": 77777})
    writer.close()
    assert writer.path == str(log)
    whole = before[: before.rindex(b"\n") + 1]
    assert [json.loads(line)["n"] for line in whole.splitlines()] == list(range(whole.count(b"\n")))
    after = log.read_bytes()[len(before) :].split(b"\n")
    assert after == [b'{"n": 99', b'{"n":77777}', b""]


FORK = """
import json, os, sys
from serve.log_writer import LogWriter
writer = LogWriter(sys.argv[1])
writer.start()
writer.put({"n": 1})
while not os.path.exists(sys.argv[1]) or not os.path.getsize(sys.argv[1]):
    pass
writer.put({"n": 2})
pid = os.fork()
if pid == 0:
    writer.put({"n": 100})
    writer.close()
    print(json.dumps({"path": writer.path, "lost": writer.lost}), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
writer.put({"n": 3})
writer.close()
"""


def test_a_forked_child_writes_to_a_file_of_its_own_and_its_parent_goes_on(log: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORK, str(log)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    child = json.loads(ran.stdout)
    assert child == {"path": str(log.with_name("access-1.jsonl")), "lost": 0}
    assert numbers(log) == [1, 2, 3]
    assert numbers(Path(child["path"])) == [100]


def test_a_dash_writes_to_stdout_and_makes_no_file(tmp_path: Path) -> None:
    script = "from serve.log_writer import LogWriter as L; w = L('-'); w.start(); w.put({'n': 1}); w.close()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=60, cwd=tmp_path, env=environment
    )
    assert ran.stdout == b'{"n":1}\n'
    assert list(tmp_path.iterdir()) == []


def test_stdout_gets_whole_lines_in_writes_that_a_pipe_does_not_cut_apart() -> None:
    writes: list[bytes] = []
    lines = [b"x" * size + b"\n" for size in (10, 4000, 300, 90, 5000, 1)]

    def write(fd: int, data: bytes) -> int:
        assert fd == 1
        writes.append(data)
        return len(data)

    assert LogFile("-", max_bytes=1, keep=1, write=write).append(b"".join(lines)) == (9407, None)
    assert [len(data) for data in writes] == [4012, 392, 5001, 2]
    assert b"".join(writes) == b"".join(lines)


# --- rotation, and what others do to the file -------------------------------------------------------------------------


def test_rotation_at_a_size_loses_no_line_and_tears_none(log: Path) -> None:
    writer = LogWriter(str(log), max_bytes=20_000, keep=1000)
    writer.start()
    for n in range(3000):
        writer.put({"n": n, "text": "x" * 50})
    writer.close(30)
    rotated = sorted(log.parent.glob("access.jsonl.*"), key=lambda path: -int(path.suffix[1:]))
    assert len(rotated) >= 3
    assert numbers(*rotated, log) == list(range(3000))
    assert writer.lost == 0


def test_rotation_keeps_the_newest_files_and_fills_a_gap_that_a_crash_left(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    file = LogFile(str(log), max_bytes=8, keep=3)
    for n in range(6):
        assert file.append(b'{"n":%d}\n' % n) == (8, None)
    names = ["access.jsonl.3", "access.jsonl.2", "access.jsonl.1", "access.jsonl"]
    assert [numbers(tmp_path / name) for name in names] == [[2], [3], [4], [5]]
    (tmp_path / "access.jsonl.2").rename(tmp_path / "gone")
    file.append(b'{"n":6}\n')
    assert [numbers(tmp_path / name) for name in names] == [[2], [4], [5], [6]]


def test_a_file_that_cannot_be_rotated_grows_and_loses_no_line(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    log.parent.mkdir()
    (log.parent / "access.jsonl.1").mkdir()
    (log.parent / "access.jsonl.1" / "in the way").touch()
    caplog.set_level(logging.WARNING, "logproc.serve")
    writer = LogWriter(str(log), max_bytes=8, keep=1)
    writer.start()
    for n in range(3):
        writer.put({"n": n})
        eventually(lambda: log.exists() and numbers(log) == list(range(n + 1)))  # noqa: B023
    writer.close()
    assert writer.lost == 0
    assert "cannot rotate" in caplog.text


def test_after_a_rename_from_outside_the_next_line_opens_a_new_file(writer: LogWriter, log: Path) -> None:
    writer.put({"n": 1})
    eventually(lambda: numbers(log) == [1])
    log.rename(log.with_name("moved"))
    writer.put({"n": 2})
    eventually(lambda: numbers(log) == [2])
    assert numbers(log.with_name("moved")) == [1]
    assert writer.path == str(log)


def test_after_copytruncate_writing_goes_on_at_the_beginning(writer: LogWriter, log: Path) -> None:
    writer.put({"n": 1})
    eventually(lambda: numbers(log) == [1])
    os.truncate(log, 0)
    writer.put({"n": 2})
    eventually(lambda: numbers(log) == [2])
    assert log.read_bytes()[:1] == b"{"


def test_a_deleted_directory_is_made_again(writer: LogWriter, log: Path) -> None:
    writer.put({"n": 1})
    eventually(lambda: numbers(log) == [1])
    shutil.rmtree(log.parent)
    writer.put({"n": 2})
    eventually(lambda: numbers(log) == [2])
    other = LogWriter(str(log))
    other.start()
    eventually(log.with_name("access-1.jsonl").exists)  # the name is still ours
    other.close()


# --- everything at once -----------------------------------------------------------------------------------------------

WRITES = st.lists(st.one_of(st.none(), st.integers(-1, 60)), max_size=6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 8), WRITES),
        st.tuples(st.just("rename"), st.none(), st.none()),
        st.tuples(st.just("copytruncate"), st.none(), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
        st.tuples(st.just("killed while writing"), st.integers(1, 12), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, max_bytes=st.sampled_from([40, 200, 1 << 20]))
@example(steps=[("append", 7, [55]), ("restart", None, None), ("append", 1, [])], max_bytes=200)  # all but a newline
def test_every_line_is_in_the_files_once_and_whole_or_counted_as_lost(steps: list[Any], max_bytes: int) -> None:
    """Writes are cut short after some bytes or fail (-1); the file is renamed, truncated, torn by a kill, reopened."""
    answers: list[int | None] = []
    cut = 0

    def write(fd: int, data: bytes) -> int:
        nonlocal cut
        answer = answers.pop(0) if answers else None
        if answer is None or answer >= len(data):
            return os.write(fd, data)
        if answer == -1:
            raise OSError(errno.ENOSPC, "no space left")
        cut += 1
        return os.write(fd, data[:answer]) if answer else 0

    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "access.jsonl")
        file = LogFile(str(log), max_bytes=max_bytes, keep=1000, write=write)
        stored: list[int] = []
        lost = put = moved = torn_by_kill = 0
        for step, number, cuts in steps:
            if step == "append":
                answers[:] = cuts
                lines = b"".join(b'{"n":%d}\n' % n for n in range(put, put + number))
                size, error = file.append(lines)
                assert (error is None) == (size == len(lines))
                done = lines[:size].count(b"\n")
                assert size == 0 or lines[:size].endswith(b"\n")
                stored += range(put, put + done)
                lost += number - done
                put += number
            elif step == "rename" and log.exists():
                moved += 1
                log.rename(Path(directory, f"renamed.{moved}"))
            elif step == "copytruncate" and log.exists():
                moved += 1
                shutil.copy(log, Path(directory, f"copied.{moved}"))
                os.truncate(log, 0)
            elif step in {"restart", "killed while writing"}:
                file.close()
                if step == "killed while writing":
                    torn_by_kill += 1
                    with log.open("ab") as tail:  # as the writer does it, which never adds to a line without its end
                        begun = tail.tell() and log.read_bytes()[-1:] != b"\n"
                        tail.write((b"\n" if begun else b"") + b'{"torn":"by a kill"}'[:number])
                file = LogFile(str(log), max_bytes=max_bytes, keep=1000, write=write)
        file.close()
        found: Counter[int] = Counter()
        bad = 0
        for path in Path(directory).iterdir():
            for line in path.read_bytes().split(b"\n"):
                try:
                    found[json.loads(line or b'{"n":-1}')["n"]] += 1
                except ValueError:
                    bad += 1
        del found[-1]  # blank lines
        assert found == Counter(stored)
        assert len(stored) + lost == put
        assert bad <= cut + torn_by_kill
