"""A model of log files that are written, rotated, packed, cut and deleted, with a reader that is killed at any moment:
every line that still exists anywhere is delivered exactly once in the committed view, at its right offset.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from logproc.tailing.block import Cursor
from logproc.tailing.follower import Follower
from logproc.tailing.lines import Framer

NAMES = ("access.jsonl", "access-1.jsonl")
KEEP = 3
SIZES = st.sampled_from((0, 0, 10, 200, 1500, 6000))


class Log:
    """One log file of one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd: int | None = None
        self.half = b""
        self.stale = False
        """The writer still holds a file that was renamed."""


class Files(RuleBasedStateMachine):
    block = 256 * 1024
    open_files = 256

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="tailing-"))
        self.now = 1000.0
        self.logs = [Log(self.directory / name) for name in NAMES]
        self.number = 0
        self.offset_of: dict[bytes, int] = {}
        self.written: set[bytes] = set()
        self.committed: Counter[bytes] = Counter()
        self.handed: list[bytes] = []
        self.lost_bytes = 0
        self.database: dict[int, Cursor] = {}
        self.snapshots: list[tuple[dict[int, Cursor], Counter[bytes]]] = []
        self.follower = self.new_follower(first_start=True)
        self.follower.look()
        self.commit()

    def new_follower(self, *, first_start: bool = False) -> Follower:
        cursors = [msgspec.structs.replace(cursor) for cursor in self.database.values()]
        pattern = str(self.directory / "access*.jsonl")
        follower = Follower([pattern], cursors, first_start=first_start, clock=lambda: self.now)
        follower._framer = Framer(self.block)
        follower._streams._open_limit = self.open_files
        return follower

    @initialize(block=st.sampled_from((64, 4096, 256 * 1024)), open_files=st.sampled_from((1, 2, 256)))
    def limits(self, block: int, open_files: int) -> None:
        """Small blocks leave files half read; few descriptors are closed and opened again."""
        self.block, self.open_files = block, open_files
        self.crash(back=1)

    def teardown(self) -> None:
        for log in self.logs:
            if log.half:
                self.end_half(log)
        self.settle_all()
        self.follower.close()
        for log in self.logs:
            if log.fd is not None:
                os.close(log.fd)
        missing = self.existing_lines() - self.committed.keys()
        shutil.rmtree(self.directory)
        assert not missing, f"never delivered: {missing}"

    def settle_all(self) -> None:
        """Look and read until nothing changes any more."""
        for pause in (0, 2, 2, 61, 61, 61):
            self.now += pause
            for _ in range(3):
                self.follower.look()
                self.read_all()
        assert self.follower.caught_up
        self.commit()
        assert self.follower.lag() == (0, 0.0)

    # --- the writer --------------------------------------------------------------------------------------------------

    def open(self, log: Log) -> int:
        if log.fd is None:
            log.fd = os.open(log.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            log.stale = False
        return log.fd

    def new_line(self, padding: int) -> bytes:
        self.number += 1
        return b'{"n":%d,"pad":"%s"}' % (self.number, b"x" * padding)

    @rule(which=st.integers(0, 1), sizes=st.lists(SIZES, min_size=1, max_size=4))
    def write(self, which: int, sizes: list[int]) -> None:
        log = self.logs[which]
        fd = self.open(log)
        if log.half:
            self.end_half(log)
        for size in sizes:
            line = self.new_line(size)
            self.offset_of[line] = os.fstat(fd).st_size
            os.write(fd, line + b"\n")
            self.written.add(line)

    @rule(which=st.integers(0, 1), size=SIZES, share=st.floats(0.1, 0.9))
    def write_half(self, which: int, size: int, share: float) -> None:
        log = self.logs[which]
        if log.half:
            return
        fd = self.open(log)
        line = self.new_line(size)
        cut = max(1, int(len(line) * share))
        self.offset_of[line] = os.fstat(fd).st_size
        os.write(fd, line[:cut])
        log.half = line[cut:]
        self.unfinished = line

    def end_half(self, log: Log) -> None:
        assert log.fd is not None
        os.write(log.fd, log.half + b"\n")
        log.half = b""

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        """The writer ends its line and lets go of its file; the next write opens the path."""
        log = self.logs[which]
        if log.fd is not None:
            if log.half:
                self.end_half(log)
            os.close(log.fd)
            log.fd = None

    # --- rotation ----------------------------------------------------------------------------------------------------

    def shift(self, path: Path) -> None:
        for number in range(KEEP, 0, -1):
            for ending in ("", ".gz"):
                old = Path(f"{path}.{number}{ending}")
                if old.exists():
                    if number == KEEP:
                        old.unlink()
                    else:
                        old.rename(f"{path}.{number + 1}{ending}")

    @rule(which=st.integers(0, 1), writer_reopens=st.booleans())
    def rotate(self, which: int, writer_reopens: bool) -> None:
        log = self.logs[which]
        if log.path.exists():
            if log.stale:
                self.reopen(which)
            self.shift(log.path)
            log.path.rename(f"{log.path}.1")
            log.stale = log.fd is not None
            if writer_reopens:
                self.reopen(which)

    @rule(which=st.integers(0, 1), number=st.integers(1, KEEP), at_once=st.booleans())
    def pack(self, which: int, number: int, at_once: bool) -> None:
        log = self.logs[which]
        plain = Path(f"{log.path}.{number}")
        if plain.exists():
            if log.stale and os.path.samestat(os.fstat(log.fd or 0), plain.stat()):
                self.reopen(which)
            packed = Path(f"{plain}.gz")
            packed.write_bytes(gzip.compress(plain.read_bytes()))
            if not at_once:
                self.look_and_read(1)
            plain.unlink()

    @rule(which=st.integers(0, 1))
    def copy_and_truncate(self, which: int) -> None:
        log = self.logs[which]
        if log.path.exists() and not log.stale:
            if log.half:
                self.end_half(log)
            self.shift(log.path)
            shutil.copyfile(log.path, f"{log.path}.1")
            os.truncate(log.path, 0)

    @rule(which=st.integers(0, 1), number=st.integers(0, KEEP), name=st.sampled_from((".bak", ".2.bak", "-old")))
    def copy(self, which: int, number: int, name: str) -> None:
        """A copy that is left lying, of something whole."""
        log = self.logs[which]
        path = Path(f"{log.path}.{number}") if number else log.path
        if path.exists():
            if log.half:
                self.end_half(log)
            shutil.copyfile(path, f"{log.path}{name}")

    @rule(which=st.integers(0, 1), number=st.integers(0, KEEP))
    def unpack(self, which: int, number: int) -> None:
        packed = Path(f"{self.logs[which].path}.{number}.gz")
        if packed.exists():
            Path(f"{self.logs[which].path}.{number}").write_bytes(gzip.decompress(packed.read_bytes()))
            packed.unlink()

    @rule(which=st.integers(0, 1))
    def truncate(self, which: int) -> None:
        log = self.logs[which]
        if log.path.exists() and not log.stale:
            if log.half:
                self.end_half(log)
            os.truncate(log.path, 0)

    @rule(which=st.integers(0, 1))
    def replace_by_a_copy(self, which: int) -> None:
        """As an editor saves, or a restored backup."""
        log = self.logs[which]
        if log.path.exists():
            self.reopen(which)
            other = self.directory / "elsewhere"
            shutil.copyfile(log.path, other)
            other.rename(log.path)

    @rule(which=st.integers(0, 1), number=st.integers(0, KEEP))
    def delete(self, which: int, number: int) -> None:
        log = self.logs[which]
        path = Path(f"{log.path}.{number}") if number else log.path
        if path.exists():
            if log.half:
                self.end_half(log)
            path.unlink()
            if log.fd is not None:
                os.close(log.fd)
                log.fd = None

    # --- the reader --------------------------------------------------------------------------------------------------

    @rule(blocks=st.integers(0, 3))
    def look_and_read(self, blocks: int) -> None:
        self.follower.look()
        for _ in range(blocks):
            if not self.read():
                break

    @rule()
    def read_all(self) -> None:
        while self.read():
            pass

    def read(self) -> bool:
        block = self.follower.read()
        if block is None:
            return False
        data = bytes(block.data)
        at = block.start
        for line in data.splitlines(keepends=True):
            text = line.rstrip(b"\n")
            assert self.offset_of.get(text) == at, f"{text[:40]!r} at {at} of {block.source}"
            self.handed.append(text)
            at += len(line)
        assert at == block.end
        return True

    @rule()
    def commit(self) -> None:
        for cursor in self.follower.changed():
            self.database[cursor.key] = cursor
        for key in self.follower.dropped:
            self.database.pop(key, None)
        self.lost_bytes += sum(size for _, size in self.follower.lost)
        self.follower.settled()
        self.committed.update(self.handed)
        self.handed = []
        self.snapshots.append(
            ({k: msgspec.structs.replace(c) for k, c in self.database.items()}, self.committed.copy())
        )

    @rule()
    def restart(self) -> None:
        self.commit()
        self.crash(back=1)

    @rule(back=st.integers(1, 3))
    def crash(self, back: int) -> None:
        self.follower.close()
        self.snapshots = self.snapshots[: max(1, len(self.snapshots) - back + 1)]
        database, committed = self.snapshots[-1]
        self.database = {key: msgspec.structs.replace(cursor) for key, cursor in database.items()}
        self.committed = committed.copy()
        self.handed = []
        self.follower = self.new_follower()

    @rule(seconds=st.sampled_from((0.5, 2.0, 6.0, 61.0, 8 * 86_400.0)))
    def time_passes(self, seconds: float) -> None:
        for log in self.logs:
            if log.half and seconds > 60:
                self.end_half(log)  # what a writer leaves half for so long in a rotated file counts as its last line
        self.now += seconds

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_delivered_twice(self) -> None:
        twice = [line for line, count in (self.committed + Counter(self.handed)).items() if count > 1]
        assert not twice, f"twice: {twice}"

    def existing_lines(self) -> set[bytes]:
        lines: set[bytes] = set()
        for path in self.directory.iterdir():
            data = path.read_bytes()
            if path.suffix == ".gz":
                data = gzip.decompress(data)
            lines.update(data.splitlines())
        return lines


Files.TestCase.settings = settings(
    max_examples=int(os.environ.get("LOGPROC_EXAMPLES", "300")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


TestEveryLineExactlyOnce = Files.TestCase
"""Run by pytest as one test: hypothesis shrinks a failing sequence of steps to the shortest."""
