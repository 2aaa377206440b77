"""The consumer `measure`: blocks → counters, histograms and flags, committed with the cursor, then published."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from logproc.alerts.alert import Alert
from logproc.alerts.judge import Judge
from logproc.clock import now_ms
from logproc.consumer import GRACE_MS, PausedError
from logproc.measure.journal import Journal
from logproc.measure.rejected import RejectedFile
from logproc.measure.servers import Key, Sample, Server, Servers
from logproc.measure.table import Cells, Table
from logproc.measure.tally import declare, tally
from logproc.measure.totals import Totals
from logproc.settings import Settings
from logproc.sketch import Bins
from logproc.state import StateBrokenError
from logproc.tailing.block import Block, Cursor


class Measure:
    """Owns `measure.db` and `rejected/measure.jsonl` in the state directory.

    Raises:
        StateLockedError, StateBrokenError: see `state.Database`.
    """

    name = "measure"
    commit_every_s = 0.1
    rest_s = 0.0

    def __init__(self, settings: Settings, state: Path, clock: Callable[[], int] = now_ms) -> None:
        self.path = state / "measure.db"
        self._journal = Journal(self.path)
        self._totals = Totals(settings)
        self._servers = Servers()
        self._judge = Judge(settings.thresholds, warm_up_s=round(settings.alerts.warm_up_s))
        self._entries: list[Alert] = []
        """Found, and not yet committed."""
        self._journal.load(self._totals, self._servers, self._judge)
        self._firing: dict[str, tuple[str, str]] = {
            life.last.id: (kind, model)
            for (kind, model, _), life in self._judge.lives.open.items()
            if life.firing and life.last is not None
        }
        """Kind and model by the id of the alert."""
        self._shown_firing = Counter(self._firing.values())
        declare(self._totals)
        rejected = state / "rejected" / "measure.jsonl"
        try:
            self._rejected = RejectedFile(rejected, self._journal.rejected_length)
        except OSError as error:
            raise StateBrokenError(f"cannot open {rejected}: {error.strerror}") from error
        if self._rejected.length != self._journal.rejected_length:
            self._journal.correct_rejected_length(self._rejected.length)
        self._clock = clock
        self._max_series = settings.metrics.max_series
        self._published = threading.Lock()

    @property
    def is_new(self) -> bool:
        """Whether this is the very first start of the state directory."""
        return self._journal.is_new

    def cursors(self) -> list[Cursor]:
        """Where to go on."""
        return self._journal.cursors()

    def take(self, block: Block) -> int:
        """Count one block; the newest second read in its source so far."""
        tally(self._totals, self._servers, block, self._clock, self._rejected)
        return self._totals.newest_s[block.source]

    def advance(self, upto_ms: int) -> bool:
        """Judge the seconds of log time that are over; whether there is something to commit for that alone."""
        self._gather()
        now_ms = self._clock()
        found = self._judge.advance((min(upto_ms, now_ms) - GRACE_MS) // 1000 - 1, now_ms // 1000)
        for alert in found:
            if alert.state == "resolved":
                self._firing.pop(alert.id, None)
            elif alert.state == "firing" and alert.id not in self._firing:
                self._firing[alert.id] = alert.kind, alert.model or ""
                self._totals.tables["alerts"].increase(self._firing[alert.id])
        self._entries += found
        return self._judge.has_changed or bool(self._entries)

    def _gather(self) -> None:
        """Hand the judge what was read since the last time."""
        self._totals.fold()
        self._judge.take(*self._totals.take_buckets())

    def commit(self, cursors: Sequence[Cursor], events: Mapping[str, int], dropped: Sequence[int] = ()) -> None:
        """One transaction for the numbers and the cursors; only then are the numbers shown.

        Raises:
            PausedError: the disk is full or the file cannot be written; nothing was committed.
        """
        self._gather()
        for event, count in events.items():
            self._totals.tables["logproc_file_events"].increase((event,), count)
        try:
            length = self._rejected.write()
            self._journal.save(
                self._totals, self._servers, cursors, length, dropped, judge=self._judge, entries=self._entries
            )
            self._entries = []
            self._rejected.committed()
            if self._rejected.is_full:
                self._rejected.rotate()
                self._journal.save(self._totals, self._servers, (), 0, judge=self._judge)
        except (OSError, sqlite3.Error) as error:
            for event, count in events.items():  # the same call comes again
                self._totals.tables["logproc_file_events"].increase((event,), -count)
            raise PausedError(f"cannot write the state in {self._rejected.path.parent.parent}: {error}") from error
        self._servers.dirty.clear()
        with self._published:
            for table in self._totals.tables.values():
                table.stored()
            self._shown_firing = Counter(self._firing.values())

    def published(self) -> dict[str, tuple[list[tuple[str, ...]], Cells]]:
        """A copy of the committed rows of every table: labels and cells. From any thread."""
        with self._published:
            return {
                name: (table.labels[: len(cells)], cells.copy())
                for name, table in self._totals.tables.items()
                for cells in (table.committed(),)
            }

    def latency_bins(self) -> tuple[Bins, Bins]:
        """Copies of the sketches of duration and TTFT: for live percentiles, so not held back until the commit."""
        return self._totals.duration_bins.copy(), self._totals.ttft_bins.copy()

    def gauges(self) -> list[Sample]:
        """What the servers said of themselves within the last 30 seconds, and how many alerts fire."""
        with self._published:
            alerts = self._totals.tables["alerts"]
            known = alerts.labels[: len(alerts.committed())]
            firing: list[Sample] = [
                ("alert_active", {"kind": kind, "model": model}, self._shown_firing[kind, model])
                for kind, model in known
            ]
        return list(self._servers.gauges(self._clock(), self._max_series)) + firing

    def servers(self) -> list[tuple[Key, Server]]:
        """The newest lines of every server. From any thread, to read only."""
        return list(self._servers.all.items())

    def requests(self) -> int:
        """How many requests were counted and committed. From any thread."""
        with self._published:
            return int(self._totals.tables["requests"].committed().sum())

    @property
    def tables(self) -> Mapping[str, Table]:
        """Every table by its metric's name; for names and help texts, the numbers are in `published`."""
        return self._totals.tables

    def close(self) -> None:
        """Let go of database and file."""
        self._journal.close()
        self._rejected.close()
