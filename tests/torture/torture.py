"""The torturer: starts `logproc run`, scrapes it, kills it at a random moment, and starts it again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.pipeline import Pipeline, by_label
from tests.torture.compare import counter_differences, stored_differences
from tests.torture.ledger import delete_part, read_part
from tests.torture.truth import Truth

CHECKOUT = Path(__file__).parents[2]
NO_PROGRESS_S = 30.0
RESULTS = ("ok", "rejected")
LINGER_S = 8.0
"""At the end: what is held back as a copy in progress is held back 5 s."""

Tell = Callable[[str], None]


@dataclass
class Verdict:
    """What came of it."""

    kills: int = 0
    seconds: float = 0.0
    lines: int = 0
    bytes: int = 0
    documents: int = 0
    scrapes: int = 0
    rotations: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    twice: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """One line for a person."""
        how = ", ".join(f"{count} {name}" for name, count in sorted(self.rotations.items()))
        return (
            f"{'DIFFERENT' if self.differences else 'EXACT'}: {self.lines:,} lines, {self.bytes:,} bytes, "
            f"{self.kills:,} kills, {sum(self.rotations.values()):,} rotations ({how}), {self.documents:,} documents, "
            f"{self.scrapes:,} scrapes; lost {self.lost}, twice {self.twice}; {self.seconds:.0f} s"
        )


class Watch:
    """Sees every scrape: no counter ever goes backwards, and none that was shown is missing later."""

    def __init__(self) -> None:
        self.scrapes = 0
        self.differences: list[str] = []
        self._highest: dict[str, float] = {}

    def see(self, page: str) -> None:
        """Hold a page against all that were seen before."""
        self.scrapes += 1
        shown: dict[str, float] = {}
        counter = False
        for line in page.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                counter = kind in ("counter", "histogram") and not name.startswith("process_")
            elif counter and not line.startswith("#"):
                sample, _, value = line.rpartition(" ")
                shown[sample] = float(value)
        for sample, highest in self._highest.items():
            if sample not in shown:
                self.differences.append(f"{sample}: {highest} was shown, and then it was missing")
            elif shown[sample] < highest:
                self.differences.append(f"{sample}: went back from {highest} to {shown[sample]}")
        self._highest |= shown

    @property
    def committed(self) -> int:
        """Lines that both consumers are known to have committed."""
        return int(
            min(
                sum(
                    self._highest.get(f'logproc_lines_total{{consumer="{name}",result="{result}"}}', 0)
                    for result in RESULTS
                )
                for name in ("measure", "index")
            )
        )


class Writer:
    """The writer's process."""

    def __init__(self, folder: Path, seed: int, rate: float) -> None:
        command = [sys.executable, "-m", "tests.torture.writer", str(folder), str(seed), str(rate)]
        self._process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def say(self, word: str) -> None:
        """Tell it something that it does not answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    def ask(self, word: str) -> dict[str, Any]:
        """Tell it something, and wait for its answer."""
        assert self._process.stdout is not None
        self.say(word)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """Let it end."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()


class EndedError(Exception):
    """logproc ended, though nobody killed it."""


class Torture:
    """One run in an empty folder."""

    def __init__(self, folder: Path, *, seed: int, rate: float, check_every: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rng = random.Random(seed)
        self._ledger = folder / "ledger"
        self._pipeline = Pipeline(folder, [str(folder / "logs" / "access*.jsonl")])
        self._writer = Writer(folder, seed, rate)
        self._watch = Watch()
        self._truth = Truth()
        self._check_every = check_every
        self._startup_s = 1.0
        self._verdict = Verdict()

    def run(self, kills: int, tell: Tell) -> Verdict:
        """Kill it so many times; `tell` is told what is being done, `kill` for each."""
        began = time.monotonic()
        try:
            self._torture(kills, tell)
        except EndedError as error:
            self._verdict.differences.append(str(error))
        finally:
            self._writer.close()
            if self._pipeline.process is not None:
                self._pipeline.kill()
        self._verdict.seconds = time.monotonic() - began
        self._verdict.scrapes = self._watch.scrapes
        self._verdict.differences += self._watch.differences
        return self._verdict

    def _torture(self, kills: int, tell: Tell) -> None:
        while self._verdict.kills < kills and not self._differences():
            self._live_and_die()
            self._verdict.kills += 1
            tell("kill")
            if self._verdict.kills % self._check_every == 0 and self._verdict.kills < kills:
                tell("check")
                self._check(last=False)
        tell("last check")
        if not self._differences():
            self._check(last=True)

    def _differences(self) -> bool:
        return bool(self._verdict.differences or self._watch.differences)

    # --- one life ----------------------------------------------------------------------------------------------------

    def _live_and_die(self) -> None:
        self._pipeline.start()
        began = time.monotonic()
        if self._rng.random() < 0.3:
            time.sleep(self._rng.random() * self._startup_s)
        else:
            self._wait_until_up()
            self._startup_s += 0.1 * (time.monotonic() - began - self._startup_s)
            # Most lives are short; a few are long enough for the slower consumer to commit by time.
            end = time.monotonic() + self._rng.random() * (0.3 if self._rng.random() < 0.9 else 3)
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, self._rng.random() * 0.1))
                self._has_answered()
        self._pipeline.kill()

    def _wait_until_up(self) -> None:
        while not self._has_answered():
            time.sleep(0.005)

    def _has_answered(self) -> bool:
        """Scrape once, if it answers at all."""
        try:
            self._scrape()
        except (OSError, HTTPException):
            if self._pipeline.process is None or self._pipeline.process.poll() is not None:
                raise EndedError(f"logproc ended by itself: see {self._pipeline.output}") from None
            return False
        return True

    def _scrape(self) -> None:
        """One scrape; the writer is told how much is surely read."""
        page = self._pipeline.get("/metrics")[1]
        self._watch.see(page)
        self._writer.say(f"committed {self._watch.committed}")

    # --- the check ---------------------------------------------------------------------------------------------------

    def _check(self, *, last: bool) -> None:
        """Let logproc catch up with a writer that pauses, and compare."""
        answer = self._writer.ask("pause")
        self._truth.add(read_part(self._ledger, answer["part"]))
        delete_part(self._ledger, answer["part"])
        assert (self._truth.lines, self._truth.bytes) == (answer["lines"], answer["bytes"])
        verdict, truth = self._verdict, self._truth
        verdict.lines, verdict.bytes, verdict.rotations = truth.lines, truth.bytes, answer["done"]
        self._pipeline.start()
        self._wait_until_up()
        self._catch_up()
        if last:
            time.sleep(LINGER_S)  # nothing more may come
        self._wait_until_up()
        found = self._pipeline.metrics()
        verdict.differences += counter_differences(found, truth)
        read = by_label(found, "logproc_lines_total", "consumer")
        verdict.lost = int(sum(max(0, truth.lines - count) for count in read.values()))
        verdict.twice = int(sum(max(0, count - truth.lines) for count in read.values()))
        if last:
            if self._pipeline.stop() != 0:
                verdict.differences.append("logproc did not end well")
            verdict.differences += stored_differences(found, self._pipeline.state, truth)
            verdict.documents = len(truth.documents) + len(truth.servers)
            return
        self._pipeline.kill()
        self._writer.ask("clean")
        self._writer.say("resume")

    def _catch_up(self) -> None:
        """Until both consumers have read as much as was written, or do not get on any more."""
        most, since = -1.0, time.monotonic()
        while time.monotonic() - since < NO_PROGRESS_S:
            self._wait_until_up()
            read = by_label(self._pipeline.metrics(), "logproc_bytes_total", "consumer")
            if min(read.values(), default=0) >= self._truth.bytes:
                return
            if sum(read.values()) > most:
                most, since = sum(read.values()), time.monotonic()
            time.sleep(0.05)
