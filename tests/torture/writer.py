"""The torture's writer, a process of its own: two logs that grow in pieces and are rotated in every way, without pause.

It obeys lines on stdin: `pause` ends every line begun, and answers with one JSON object; `clean` deletes every rotated
file; `resume`; `committed N` tells how many lines are surely read, so that it does not run too far ahead; `stop`.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import select
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import zstandard

from tests.torture.ledger import Ledger, Written
from tests.torture.traffic import traffic

NAMES: Final = ("access.jsonl", "access-1.jsonl")
MOST_AHEAD: Final = 100_000
"""Lines: then it waits for the reader, or the disk would fill."""
PACKED: Final = (".gz", ".zst")


class Stream:
    """One file from its creation on, or from its truncation: what is written into it has offsets from 0."""

    def __init__(self, fd: int, number: int) -> None:
        self.fd = fd
        self.number = number
        self.offset = 0
        self.rest = b""
        """The end of what was begun: written before anything else."""

    def write(self, data: bytes, cut: int) -> None:
        """Write all that is due but the last `cut` bytes, which come later."""
        data = self.rest + data
        keep = min(cut, len(data))
        self.rest = data[len(data) - keep :]
        view = memoryview(data)[: len(data) - keep]
        while view:
            view = view[os.write(self.fd, view) :]

    def end(self) -> None:
        """Finish the line that was begun."""
        self.write(b"", 0)


class Log:
    """One access log: the stream at its path, and those that were renamed while the writer still holds them."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self.path = path
        self._writer = writer
        self.live = self._create()
        self.held: list[Stream] = []

    def _create(self) -> Stream:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        return Stream(fd, self._writer.next_number())

    def rotated(self) -> list[tuple[int, str, Path]]:
        """(number, ending, path) of every rotated file, the oldest first."""
        found = []
        for path in self.path.parent.glob(f"{self.path.name}.*"):
            ending = path.suffix if path.suffix in PACKED else ""
            found.append((int(path.name.removesuffix(ending).rpartition(".")[2]), ending, path))
        return sorted(found, reverse=True)

    def _shift(self) -> None:
        for number, ending, path in self.rotated():
            path.rename(f"{self.path}.{number + 1}{ending}")

    def rename(self) -> None:
        """Rename and create: the writer keeps the old descriptor for a while."""
        self._shift()
        self.path.rename(f"{self.path}.1")
        self.held.append(self.live)
        self.live = self._create()

    def copy_and_truncate(self, rng: random.Random) -> None:
        """As logrotate's copytruncate, by a writer that writes nothing meanwhile: its gap is beyond any reader."""
        self.live.end()
        self._shift()
        with self.path.open("rb") as old, Path(f"{self.path}.1").open("wb", buffering=0) as copy:
            while piece := old.read(rng.randrange(1, 1 << 20)):
                copy.write(piece)
                _now_and_then(rng, 0.01)
        _now_and_then(rng, 0.05)
        os.ftruncate(self.live.fd, 0)
        self.live = Stream(self.live.fd, self._writer.next_number())

    def pack(self, rng: random.Random) -> bool:
        """Pack one rotated file that nobody writes any more, and remove the original; False where there is none."""
        held = {os.fstat(stream.fd).st_ino for stream in self.held}
        plain = [path for _, ending, path in self.rotated() if not ending and path.stat().st_ino not in held]
        if not plain:
            return False
        path = rng.choice(plain)
        if rng.random() < 0.5:
            data, ending = gzip.compress(path.read_bytes(), 1), ".gz"
        else:
            data, ending = zstandard.compress(path.read_bytes()), ".zst"
        with Path(f"{path}{ending}").open("wb", buffering=0) as packed:
            middle = rng.randrange(len(data) + 1)
            packed.write(data[:middle])
            _now_and_then(rng, 0.02)
            packed.write(data[middle:])
        _now_and_then(rng, 0.02)
        path.unlink()
        return True

    def let_go(self) -> None:
        """Close what was renamed."""
        for stream in self.held:
            stream.end()
            os.close(stream.fd)
        self.held = []


class Writer:
    """Two logs, and the ledger of all that was written."""

    def __init__(self, folder: Path, seed: int, rate: float) -> None:
        self._rng = random.Random(seed)
        self._rate = rate
        self._traffic = traffic(self._rng)
        self._ledger = Ledger(folder / "ledger")
        self._words = open(0, "rb", buffering=0)  # noqa: SIM115 - unbuffered, so that `select` knows what is left
        self._number = 0
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self._logs = [Log(folder / "logs" / name, self) for name in NAMES]
        self._lines = self._bytes = self._committed = 0
        self._done: Counter[str] = Counter()

    def next_number(self) -> int:
        """A number for a stream that begins."""
        self._number += 1
        return self._number

    def run(self) -> None:
        """Write until told to stop."""
        due = time.monotonic()
        while self._obey():
            log = self._rng.choice(self._logs)
            count = self._burst()
            self._write(self._rng.choice([log.live, *log.held]), count)
            if self._rng.random() < 0.5:
                self._rotate(log)
            due = max(due + count / self._rate, time.monotonic() - 1)
            _wait_for_word(due - time.monotonic())
            while self._lines - self._committed > MOST_AHEAD:
                _wait_for_word(60)
                if not self._obey():
                    return

    def _burst(self) -> int:
        mean = self._rate / 5 * (20 if self._rng.random() < 0.02 else 1)
        return 1 + int(self._rng.expovariate(1 / mean))

    def _write(self, stream: Stream, count: int) -> None:
        joined = b"".join(self._line(stream) for _ in range(count))
        at = 0
        while at < len(joined):
            piece = joined[at : at + self._rng.randrange(1, 1 << self._rng.randrange(8, 20))]
            at += len(piece)
            stream.write(piece, 0)
        if self._rng.random() < 0.3:  # and half a line, whose end comes later
            line = self._line(stream)
            stream.write(line, self._rng.randrange(1, len(line) + 1))

    def _line(self, stream: Stream) -> bytes:
        """The next line of the stream, noted in the ledger. No two streams begin alike: none could tell them apart."""
        reason, raw = next(self._traffic)
        while not stream.offset and reason != "good":
            reason, raw = next(self._traffic)
        self._ledger.add(Written(stream.number, stream.offset, reason, raw))
        stream.offset += len(raw)
        self._bytes += len(raw)
        self._lines += reason != "blank"
        return raw

    def _rotate(self, log: Log) -> None:
        way = self._rng.choice(("rename", "rename", "copytruncate", "pack", "pack", "let go"))
        if way == "rename":
            for _ in range(self._rng.choice((1, 1, 1, 2, 5))):
                log.rename()
                self._done["renamed"] += 1
                if self._rng.random() < 0.7:
                    self._write(log.live, 1 + self._rng.randrange(50))
            if len(log.held) > 3:
                log.let_go()
        elif way == "copytruncate":
            log.copy_and_truncate(self._rng)
            self._done["copied and truncated"] += 1
        elif way == "pack":
            self._done["packed"] += log.pack(self._rng)
        else:
            log.let_go()

    # --- what the torturer says --------------------------------------------------------------------------------------

    def _obey(self) -> bool:
        """Do what was said; False when it is time to end."""
        paused = False
        while paused or _wait_for_word(0):
            word, _, argument = self._words.readline().decode().strip().partition(" ")
            if word == "committed":
                self._committed = int(argument)
            elif word == "pause":
                paused = True
                self._pause()
            elif word == "clean":
                self._clean()
            elif word == "resume":
                paused = False
            else:
                return False
        return True

    def _pause(self) -> None:
        for log in self._logs:
            for stream in (log.live, *log.held):
                stream.end()
        part = self._ledger.end_part()
        self._say({"lines": self._lines, "bytes": self._bytes, "part": part, "done": dict(self._done)})

    def _clean(self) -> None:
        for log in self._logs:
            log.let_go()
            for _, _, path in log.rotated():
                path.unlink()
        self._say({})

    def _say(self, answer: dict[str, object]) -> None:
        print(json.dumps(answer), flush=True)


def _now_and_then(rng: random.Random, seconds: float) -> None:
    """A pause of a process that others interrupt: it gives the reader time to look in between."""
    if rng.random() < 0.5:
        time.sleep(rng.random() * seconds)


def _wait_for_word(seconds: float) -> bool:
    """Whether something was said within so many seconds."""
    return bool(select.select([0], [], [], max(0.0, seconds))[0])


if __name__ == "__main__":
    Writer(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])).run()
