"""A crash or a full disk at every step of a commit: the next start, or the next try, makes everything exact again."""

from __future__ import annotations

import errno
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

import logproc.consumer
import logproc.exact_file
from logproc.consumer import Consumer, Feeder
from logproc.measure.measure import Measure
from logproc.settings import Settings
from logproc.stores.index import Index, read_counters
from logproc.tailing.follower import Follower
from logproc.tailing.lines import Framer
from tests.pipeline import Pipeline, Samples, until
from tests.torture.compare import counter_differences, stored_differences
from tests.torture.ledger import Written
from tests.torture.traffic import traffic
from tests.torture.truth import Truth

CRASHED = 77
NEVER = 1 << 40
Moment = Callable[[], None]


class Awake:
    """Stands in for the waker: with `once` nobody waits."""

    def wake(self) -> None:
        """Nobody sleeps."""

    def wait(self, timeout_s: float) -> None:
        """Nobody waits."""


class Scene:
    """Two logs, one of them rotated after a first run, and the truth about them."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.settings = Settings.model_validate({"logs": {"paths": [str(self.logs / "access*.jsonl")]}})
        self.truth = Truth()
        self._traffic = traffic(random.Random(11))
        self._offsets = {"access.jsonl": 0, "access-1.jsonl": 0}
        self._streams = {name: number for number, name in enumerate(self._offsets)}

    def write(self, name: str, good: int, bad: int = 0) -> None:
        """Append lines: the good ones first."""
        lines = [self._next(lambda reason: reason == "good") for _ in range(good)]
        lines += [self._next(lambda reason: reason not in ("good", "repeated", "too_long")) for _ in range(bad)]
        written = []
        for reason, raw in lines:
            written.append(Written(self._streams[name], self._offsets[name], reason, raw))
            self._offsets[name] += len(raw)
        self.truth.add(written)
        with (self.logs / name).open("ab") as file:
            file.writelines(raw for _, raw in lines)

    def _next(self, wanted: Callable[[str], bool]) -> tuple[str, bytes]:
        return next((reason, raw) for reason, raw in self._traffic if wanted(reason))

    def rotate(self, name: str) -> None:
        """Rename; the next line begins a new file."""
        (self.logs / name).rename(self.logs / f"{name}.1")
        self._offsets[name] = 0
        self._streams[name] += 100

    def second_part(self) -> None:
        """What comes after the first run."""
        self.write("access.jsonl", 6, 2)
        self.rotate("access.jsonl")
        self.write("access.jsonl", 8, 3)
        self.write("access-1.jsonl", 4, 1)

    def open(self, state: Path) -> list[Consumer]:
        """Both consumers."""
        return [Measure(self.settings, state), Index(self.settings, state)]

    def feed(self, consumers: Sequence[Consumer]) -> None:
        """Everything that is there, in small blocks with a commit after each."""
        for consumer in consumers:
            consumer.commit_every_s = 0.0  # type: ignore[misc]
            follower = Follower(self.settings.logs.paths, consumer.cursors(), first_start=consumer.is_new)
            follower._framer = Framer(4096)
            Feeder(consumer, follower, Awake(), once=True).run()  # type: ignore[arg-type]

    def run(self, state: Path) -> None:
        """One run to the end of the logs."""
        consumers = self.open(state)
        self.feed(consumers)
        for consumer in consumers:
            consumer.close()

    def page(self, state: Path) -> Samples:
        """Every counter and histogram that the state holds, named as on /metrics."""
        measure = Measure(self.settings, state)
        found: Samples = {}
        for name, (rows, cells) in measure.published().items():
            metric = measure.tables[name].metric
            full = name if metric.is_own else f"llm_{name}"
            for values, numbers in zip(rows, cells.tolist(), strict=True):
                labels = dict(zip(metric.labels, values, strict=True))
                if not metric.edges:
                    found[f"{full}_total", _pairs(labels)] = numbers[0]
                    continue
                for edge, count in zip([*metric.edges, math.inf], accumulate(numbers[:-1]), strict=True):
                    found[f"{full}_bucket", _pairs(labels | {"le": str(edge)})] = count
                found[f"{full}_count", _pairs(labels)] = sum(numbers[:-1])
                found[f"{full}_sum", _pairs(labels)] = numbers[-1] / 1e6
        measure.close()
        for name, more in read_counters(state / "index.db").items():
            found |= {(f"{name}_total", _pairs(labels)): value for labels, value in more}
        return found

    def undisturbed(self, state: Path) -> Samples:
        """What /metrics shows after a run that nothing disturbed: all of it is the truth."""
        found = self.page(state)
        assert counter_differences(found, self.truth) == []
        assert stored_differences(found, state, self.truth) == []
        return found

    def assert_same(self, state: Path, undisturbed: Samples, what: str) -> None:
        """That nothing is to be seen of a disturbance, on /metrics or in the files."""
        assert self.page(state) == undisturbed, what
        assert stored_differences(undisturbed, state, self.truth) == [], what


def _pairs(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: hundreds of databases are made here."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="logproc-") as name:
        yield Path(name)


@pytest.fixture
def scene(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The rejected lines' file is rotated after nearly every commit, and nothing of it is thrown away."""
    monkeypatch.setattr(logproc.exact_file, "FILE_LIMIT", 300)
    monkeypatch.setattr(logproc.exact_file, "KEEP", 99)
    monkeypatch.setattr(logproc.consumer, "RETRY_S", 0.001)
    return Scene(folder)


# --- crashes ---------------------------------------------------------------------------------------------------------


def watch_moments(moment: Moment) -> None:
    """Call `moment` before every SQL statement that writes and every change of a file, half done or not.

    Of one statement for many rows only the first counts. For a process that will end: nothing is put back.
    """
    connect = sqlite3.connect
    last = ""

    def trace(statement: str) -> None:
        nonlocal last
        begin = statement.strip()[:40]
        if begin != last and not begin.startswith("SELECT"):
            moment()
        last = begin

    def watched(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_trace_callback(trace)
        return connection

    sqlite3.connect = watched  # type: ignore[assignment]
    for name in ("replace", "rename", "ftruncate", "fsync"):
        setattr(os, name, before(moment, getattr(os, name)))
    whole = os.pwrite

    def in_two(fd: int, data: Any, at: int) -> int:
        moment()
        view = memoryview(data)
        half = len(view) // 2
        if half:
            whole(fd, view[:half], at)
            moment()
        return half + whole(fd, view[half:], at + half)

    os.pwrite = in_two


def before(moment: Moment, function: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*args: Any, **options: Any) -> Any:
        moment()
        return function(*args, **options)

    return watched


def crash_at(number: int, scene: Scene, state: Path) -> int:
    """Run in a process of its own that ends without a word at its `number`th moment; how many there were.

    A crash leaves the file system as it is at that moment: what SQLite had open is rolled back by the next start.
    """
    count_file = state.parent / "moments"
    child = os.fork()
    if not child:
        try:
            seen = 0

            def moment() -> None:
                nonlocal seen
                seen += 1
                if seen == number:
                    os._exit(CRASHED)

            watch_moments(moment)
            scene.run(state)
            count_file.write_text(str(seen))
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if number == NEVER:
        assert code == 0
        return int(count_file.read_text())
    assert code in (0, CRASHED), f"at moment {number}"
    return number


def after_a_first_run(scene: Scene, folder: Path) -> Path:
    """A state that knows the first part of the logs, whose second part is there now."""
    scene.write("access.jsonl", 8, 2)
    scene.write("access-1.jsonl", 5, 1)
    scene.run(folder / "before")
    scene.second_part()
    return folder / "before"


def copy_of(state: Path | None, folder: Path) -> Path:
    shutil.rmtree(folder / "state", ignore_errors=True)
    if state is not None:
        shutil.copytree(state, folder / "state")
    return folder / "state"


@pytest.mark.parametrize("first", [True, False], ids=["the very first run", "a later run"])
def test_after_a_crash_at_any_moment_the_next_run_is_exact(scene: Scene, folder: Path, first: bool) -> None:
    before = None if first else after_a_first_run(scene, folder)
    if first:
        scene.write("access.jsonl", 12, 3)
    moments = crash_at(NEVER, scene, copy_of(before, folder))
    undisturbed = scene.undisturbed(folder / "state")
    assert moments > 100

    for number in range(1, moments + 1):
        state = copy_of(before, folder)
        crash_at(number, scene, state)
        scene.run(state)
        scene.assert_same(state, undisturbed, f"after a crash at moment {number}")


def test_after_several_crashes_in_a_row_the_next_run_is_exact(scene: Scene, folder: Path) -> None:
    before = after_a_first_run(scene, folder)
    moments = crash_at(NEVER, scene, copy_of(before, folder))
    undisturbed = scene.undisturbed(folder / "state")
    rng = random.Random(3)
    for _ in range(40):
        state = copy_of(before, folder)
        numbers = [rng.randint(1, moments) for _ in range(3)]
        for number in numbers:
            crash_at(number, scene, state)
        scene.run(state)
        scene.assert_same(state, undisturbed, f"after crashes at moments {numbers}")


# --- a full disk -----------------------------------------------------------------------------------------------------


class FullDisk:
    """Lets the writes from the `first` on fail, `count` of them; a write to a file is done by half before that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.first = NEVER
        self.count = 0
        self.seen = 0
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                disk.write_sql(sql)
                return super().execute(sql, *args)

            def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
                disk.write_sql(sql)
                return super().executemany(sql, *args)

            def executescript(self, sql: str) -> sqlite3.Cursor:
                disk.write_sql(sql)
                return super().executescript(sql)

        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
        for name in ("replace", "ftruncate", "fsync"):
            monkeypatch.setattr(os, name, before(self.write_file, getattr(os, name)))
        self._pwrite, self._open = os.pwrite, os.open
        monkeypatch.setattr(os, "pwrite", self.pwrite)
        monkeypatch.setattr(os, "open", self.open)

    def fail(self, first: int, count: int) -> None:
        """From now on."""
        self.first, self.count, self.seen = first, count, 0

    def _fails(self) -> bool:
        self.seen += 1
        return self.first <= self.seen < self.first + self.count

    def write_sql(self, sql: str) -> None:
        if not sql.lstrip().startswith(("SELECT", "PRAGMA", "ROLLBACK")) and self._fails():
            raise sqlite3.OperationalError("database or disk is full")

    def write_file(self) -> None:
        if self._fails():
            raise OSError(errno.ENOSPC, "No space left on device")

    def pwrite(self, fd: int, data: Any, at: int) -> int:
        if self._fails():
            self._pwrite(fd, memoryview(data)[: len(data) // 2], at)
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._pwrite(fd, data, at)

    def open(self, path: str, flags: int, *args: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            self.write_file()
        return self._open(path, flags, *args, **options)


def test_a_full_disk_at_any_write_delays_and_changes_nothing(
    scene: Scene, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = after_a_first_run(scene, folder)
    scene.run(copy_of(before, folder))
    undisturbed = scene.undisturbed(folder / "state")
    disk = FullDisk(monkeypatch)
    number = 0
    while disk.seen >= number:
        number += 1
        state = copy_of(before, folder)
        consumers = scene.open(state)
        disk.fail(number, 1 + number % 4)
        scene.feed(consumers)
        seen = disk.seen
        disk.fail(NEVER, 0)
        for consumer in consumers:
            consumer.close()
        disk.seen = seen
        scene.assert_same(state, undisturbed, f"the disk was full from write {number} on")
    assert number > 60


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(path: Path) -> None:
    """Leave no byte free."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 512)


def test_on_a_disk_that_is_really_full_it_waits_though_it_is_killed_and_goes_on_when_there_is_room(
    scene: Scene, small_disk: Path, tmp_path: Path
) -> None:
    pipeline = Pipeline(tmp_path, scene.settings.logs.paths, state=str(small_disk / "state"))
    pipeline.state = small_disk / "state"
    paused = [("logproc_paused", (("consumer", name),)) for name in ("measure", "index")]
    try:
        scene.write("access.jsonl", 500, 20)
        pipeline.start()
        until(pipeline.is_up, "the server")
        until(lambda: pipeline.has_read(scene.truth.lines), "the first lines")
        shown = pipeline.metrics()
        fill(small_disk / "filler")
        scene.write("access.jsonl", 3000, 100)
        until(lambda: all(pipeline.metrics()[name] == 1 for name in paused), "a pause of both")
        assert pipeline.get("/healthz")[0] == 200
        pipeline.kill()
        pipeline.start()
        until(pipeline.is_up, "the server again")
        until(lambda: all(pipeline.metrics()[name] == 1 for name in paused), "a pause of both again")
        assert all(
            pipeline.metrics()[name] >= value for name, value in shown.items() if name[0] == "llm_requests_total"
        )

        (small_disk / "filler").unlink()

        until(lambda: pipeline.has_read(scene.truth.lines), "all lines")
        assert pipeline.stop() == 0
        scene.undisturbed(pipeline.state)
    finally:
        assert pipeline.process is not None
        pipeline.kill()
