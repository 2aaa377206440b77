"""The consumer `measure`: blocks → counters, histograms and flags, committed with the cursor, then published."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from logproc.consumer import PausedError
from logproc.measure.journal import Journal
from logproc.measure.rejected import RejectedFile
from logproc.measure.servers import Sample, Servers
from logproc.measure.table import Cells, Table
from logproc.measure.tally import declare, now_ms, tally
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
        self._journal = Journal(state / "measure.db")
        self._totals = Totals(settings)
        self._servers = Servers()
        self._journal.load(self._totals, self._servers)
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

    def take(self, block: Block) -> None:
        """Count one block."""
        tally(self._totals, self._servers, block, self._clock, self._rejected)

    def commit(self, cursors: Sequence[Cursor], events: Mapping[str, int], dropped: Sequence[int] = ()) -> None:
        """One transaction for the numbers and the cursors; only then are the numbers shown.

        Raises:
            PausedError: the disk is full or the file cannot be written; nothing was committed.
        """
        self._totals.fold()
        for event, count in events.items():
            self._totals.tables["logproc_file_events"].increase((event,), count)
        try:
            length = self._rejected.write()
            self._journal.save(self._totals, self._servers, cursors, length, dropped)
            self._rejected.committed()
            if self._rejected.is_full:
                self._rejected.rotate()
                self._journal.save(self._totals, self._servers, (), 0)
        except (OSError, sqlite3.Error) as error:
            for event, count in events.items():  # the same call comes again
                self._totals.tables["logproc_file_events"].increase((event,), -count)
            raise PausedError(f"cannot write the state in {self._rejected.path.parent.parent}: {error}") from error
        self._servers.dirty.clear()
        with self._published:
            for table in self._totals.tables.values():
                table.stored()

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
        """What the servers said of themselves within the last 30 seconds."""
        return list(self._servers.gauges(self._clock(), self._max_series))

    @property
    def tables(self) -> Mapping[str, Table]:
        """Every table by its metric's name; for names and help texts, the numbers are in `published`."""
        return self._totals.tables

    def close(self) -> None:
        """Let go of database and file."""
        self._journal.close()
        self._rejected.close()
