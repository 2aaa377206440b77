"""Columns → rows of whole numbers: everything is added up by kind, many thousand requests at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from logproc.alerts.buckets import Buckets
from logproc.alerts.clearest import Finder
from logproc.alerts.gather import Gatherer
from logproc.alerts.server_lines import Line
from logproc.events import Events, Floats, Gathered
from logproc.flags import FLAGS, Flagger
from logproc.kinds import Kind, Kinds
from logproc.measure.catalog import catalog
from logproc.measure.table import Table
from logproc.settings import Settings
from logproc.sketch import bins_of, empty_bins

FOLD_AT: Final = 16_384
"""So many requests are gathered before they are added up: numpy's cost a call is then spread thin."""

FOLD_AT_BYTES: Final = 4 << 20
"""So many bytes of lines are kept at most until then."""

_EXACT: Final = float(1 << 53)
_UNSEEN: Final = -2
_NOWHERE: Final = -1

Labels = tuple[str, ...]


def _model(kind: Kind) -> Labels:
    return (kind.model,)


def _model_and_operation(kind: Kind) -> Labels:
    return (kind.model, kind.operation)


_HISTOGRAMS: Final[dict[str, tuple[str, Callable[[Kind], Labels | None]]]] = {
    "request_duration_seconds": (
        "duration_ms",
        lambda kind: None if kind.outcome == "rejected" else _model_and_operation(kind),
    ),
    "time_to_first_token_seconds": ("ttft_ms", lambda kind: _model_and_operation(kind) if kind.stream else None),
    "time_per_output_token_seconds": ("tpot_ms", _model_and_operation),
    "queue_time_seconds": ("queue_ms", _model),
    "prefill_time_seconds": ("prefill_ms", _model),
    "decode_time_seconds": ("decode_ms", _model),
}
"""Histogram → the column that it observes, and the labels of a kind; None where the kind does not count."""

_COUNTERS: Final[dict[str, tuple[str, Callable[[Kind], Labels | None]]]] = {
    "prompt_tokens": ("tokens", lambda kind: (kind.model, "prompt")),
    "completion_tokens": ("tokens", lambda kind: (kind.model, "completion")),
    "cached_tokens": ("cached_tokens", _model),
    "reasoning_tokens": ("reasoning_tokens", _model),
}
"""Column → the counter that sums it, and the labels of a kind."""


class Totals:
    """All counters, histograms and sketches of `measure`, in memory. Merging two is adding their numbers."""

    def __init__(self, settings: Settings) -> None:
        self.kinds = Kinds()
        self.gathered = Gathered(self.kinds)
        """Where the events of blocks go; `fold` takes them from there."""
        self.tables = {
            name: Table(metric, settings.metrics.max_series) for name, metric in catalog(settings).items()
        }  # fmt: skip
        self.duration_bins = empty_bins()
        self.ttft_bins = empty_bins()
        self.longest_ms = {"duration_ms": 0.0, "ttft_ms": 0.0}
        self.gatherer = Gatherer(settings.thresholds)
        self._finder = Finder(self.gatherer)
        self.buckets = Buckets(self.gatherer.columns)
        """One-second buckets of what was added up, until somebody takes them."""
        self.server_lines: list[Line] = []
        """Server lines, likewise."""
        self.newest_s: dict[str, int] = {}
        """The newest second read in each source."""
        self._flagger = Flagger(settings.thresholds)
        self._edges_ms = {name: np.array(self.tables[name].metric.edges) * 1000 for name in _HISTOGRAMS}
        self._rows: dict[str, npt.NDArray[np.int64]] = {}

    def fold_when_many(self) -> None:
        """Add up once enough was gathered, or there are too many kinds to go on with."""
        if len(self.gathered) >= FOLD_AT or self.gathered.kept_bytes >= FOLD_AT_BYTES or self.kinds.is_full:
            self.fold()

    def fold(self) -> None:
        """Add up what was gathered since the last time."""
        if len(self.gathered):
            lines = self.gathered.lines
            events = self.gathered.take()
            bits = self._flagger.bits(events, self.kinds)
            self._count(events, bits)
            self.gatherer.add(events, self.kinds, bits, self.buckets)
            self._finder.look(self.buckets.clearest, events, self.kinds, bits, lines)
            for name, (column, labels) in _HISTOGRAMS.items():
                self._observe(name, events.kind, getattr(events, column), labels)
            self._sketch(events)
        if self.kinds.is_full:
            self.kinds = Kinds(self.kinds.decoder)
            self.gathered = Gathered(self.kinds)
            self._rows.clear()
            self._flagger.forget()
            self.gatherer.forget()

    def _rows_of(
        self, key: str, table: str, labels: Callable[[Kind], Labels | None], present: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """The row of each kind; a kind gets its row when it is first present, so that nothing unseen is shown."""
        rows = self._rows.get(key, np.empty(0, np.int64))
        if len(rows) < len(self.kinds.list):
            more = np.full(len(self.kinds.list) - len(rows), _UNSEEN, np.int64)
            rows = self._rows[key] = np.concatenate([rows, more])
        for number in np.flatnonzero(present & (rows == _UNSEEN)).tolist():
            found = labels(self.kinds.list[number])
            rows[number] = _NOWHERE if found is None else self.tables[table].row(found)
        return rows

    def take_buckets(self) -> tuple[Buckets, list[Line]]:
        """The buckets and server lines that were added up since the last time."""
        taken = self.buckets, self.server_lines
        self.buckets, self.server_lines = Buckets(self.gatherer.columns), []
        return taken

    def _count(self, events: Events, bits: npt.NDArray[np.uint8]) -> None:
        kinds = len(self.kinds.list)
        by_kind = np.bincount(events.kind, minlength=kinds)
        self._add("requests", "requests", _status_labels, by_kind > 0, by_kind)
        self._add("finish_reasons", "finish_reasons", _finish_labels, by_kind > 0, by_kind)
        for column, (name, labels) in _COUNTERS.items():
            values: Floats | None = getattr(events, column)
            if values is not None:
                known = ~np.isnan(values)
                kind = events.kind[known]
                present = np.bincount(kind, minlength=kinds) > 0
                self._add(column, name, labels, present, _sums(kind, values[known], kinds))
        table = self.tables["flags"]
        for bit, flag in enumerate(FLAGS):
            raised = (bits & (1 << bit)) != 0
            if raised.any():
                counts = np.bincount(events.kind[raised], minlength=kinds)
                for number in np.flatnonzero(counts).tolist():
                    self._increase(table, (flag, self.kinds.list[number].model), int(counts[number]))

    def _add(
        self,
        key: str,
        name: str,
        labels: Callable[[Kind], Labels | None],
        present: npt.NDArray[np.bool_],
        counts: npt.NDArray[np.int64],
    ) -> None:
        table = self.tables[name]
        rows = self._rows_of(key, name, labels, present)
        used = present & (rows >= 0)
        np.add.at(table.cells[:, 0], rows[used], counts[used])
        if table.others:
            self._folded(table, int(counts[used & np.isin(rows, table.others)].sum()))

    def _folded(self, table: Table, count: int) -> None:
        self.tables["logproc_series_folded"].increase((table.metric.name,), count)

    def _increase(self, table: Table, labels: tuple[str, ...], by: int) -> None:
        row = table.row(labels)
        table.cells[row, 0] += by
        if row in table.others:
            self._folded(table, by)

    def _observe(
        self,
        name: str,
        kind: npt.NDArray[np.int32],
        values: Floats | None,
        labels: Callable[[Kind], Labels | None],
    ) -> None:
        if values is None:
            return
        known = ~np.isnan(values)
        if not known.all():
            kind, values = kind[known], values[known]
        present = np.bincount(kind, minlength=len(self.kinds.list)) > 0
        rows = self._rows_of(name, name, labels, present)[kind]
        if rows.size and rows.min() < 0:
            rows, values = rows[rows >= 0], values[rows >= 0]
        if not rows.size:
            return
        table = self.tables[name]
        width, count = table.metric.width, len(table)
        bucket = np.searchsorted(self._edges_ms[name], values, side="left")
        counts = np.bincount(rows * width + bucket, minlength=count * width).reshape(count, width)
        counts[:, -1] = _sums(rows, np.rint(values * 1000), count)
        table.cells[:count] += counts
        if table.others:
            self._folded(table, int(np.isin(rows, table.others).sum()))

    def _sketch(self, events: Events) -> None:
        durations = events.duration_ms[self._rows["request_duration_seconds"][events.kind] >= 0]
        if len(durations):
            self.duration_bins += bins_of(durations)
            self.longest_ms["duration_ms"] = max(self.longest_ms["duration_ms"], float(durations.max()))
        if events.ttft_ms is not None:
            ttft = events.ttft_ms[self.kinds.streams[events.kind] & ~np.isnan(events.ttft_ms)]
            if len(ttft):
                self.ttft_bins += bins_of(ttft)
                self.longest_ms["ttft_ms"] = max(self.longest_ms["ttft_ms"], float(ttft.max()))


def _status_labels(kind: Kind) -> Labels:
    return (kind.model, kind.operation, str(kind.status), kind.outcome)


def _finish_labels(kind: Kind) -> Labels | None:
    return (kind.model, kind.finish_reason) if kind.finish_reason else None


def _sums(rows: npt.NDArray[np.int32] | npt.NDArray[np.int64], values: Floats, count: int) -> npt.NDArray[np.int64]:
    """Exact sums of whole numbers by row."""
    if len(values) and float(values.max()) * len(values) >= _EXACT:
        sums = np.zeros(count, np.int64)
        np.add.at(sums, rows, values.astype(np.int64))
        return sums
    return np.bincount(rows, weights=values, minlength=count).astype(np.int64)
