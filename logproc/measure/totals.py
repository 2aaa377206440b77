"""Columns → rows of whole numbers: everything is added up by kind, many thousand requests at a time."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from logproc.events import Events, Floats, Kinds, concatenate
from logproc.flags import FLAGS, Flagger
from logproc.measure.catalog import catalog
from logproc.measure.sketch import bins_of, empty_bins
from logproc.measure.table import Table
from logproc.settings import Settings

FOLD_AT: Final = 16_384
"""So many requests are gathered before they are added up: numpy's cost a call is then spread thin."""

_EXACT: Final = float(1 << 53)

_COUNTERS: Final = {
    "prompt_tokens": "tokens",
    "completion_tokens": "tokens",
    "cached_tokens": "cached_tokens",
    "reasoning_tokens": "reasoning_tokens",
}
_HISTOGRAMS: Final = {
    "request_duration_seconds": "duration_ms",
    "time_to_first_token_seconds": "ttft_ms",
    "time_per_output_token_seconds": "tpot_ms",
    "queue_time_seconds": "queue_ms",
    "prefill_time_seconds": "prefill_ms",
    "decode_time_seconds": "decode_ms",
}


class Totals:
    """All counters, histograms and sketches of `measure`, in memory. Merging two is adding their numbers."""

    def __init__(self, settings: Settings) -> None:
        self.kinds = Kinds()
        self.tables = {
            name: Table(metric, settings.metrics.max_series) for name, metric in catalog(settings).items()
        }  # fmt: skip
        self.duration_bins = empty_bins()
        self.ttft_bins = empty_bins()
        self.longest_ms = {"duration_ms": 0.0, "ttft_ms": 0.0}
        self._flagger = Flagger(settings.thresholds)
        self._edges_ms = {name: np.array(self.tables[name].metric.edges) * 1000 for name in _HISTOGRAMS}
        self._pending: list[Events] = []
        self._pending_count = 0
        self._rows: dict[str, npt.NDArray[np.int64]] = {}
        self._known_kinds = 0

    def add(self, events: Events) -> None:
        """Take the events of one batch; they are added up by and by."""
        self._pending.append(events)
        self._pending_count += len(events)
        if self._pending_count >= FOLD_AT:
            self.fold()

    def fold(self) -> None:
        """Add up what was taken since the last time."""
        if self._pending:
            events = concatenate(self._pending)
            self._pending.clear()
            self._pending_count = 0
            self._learn_rows()
            self._count(events)
            for name, column in _HISTOGRAMS.items():
                self._observe(name, events.kind, getattr(events, column))
            self._sketch(events)
        if self.kinds.is_full:
            self.kinds = Kinds()
            self._known_kinds = 0
            self._rows.clear()
            self._flagger.forget()

    def _learn_rows(self) -> None:
        """The row of each kind in each table; -1 where the kind does not count there."""
        new = self.kinds.list[self._known_kinds :]
        if not new:
            return
        self._known_kinds = len(self.kinds.list)
        rows: dict[str, list[int]] = {}

        def put(key: str, table: str, labels: tuple[str, ...] | None) -> None:
            rows.setdefault(key, []).append(-1 if labels is None else self.tables[table].row(labels))

        for kind in new:
            model, both = (kind.model,), (kind.model, kind.operation)
            put("requests", "requests", (*both, str(kind.status), kind.outcome))
            put("finish_reasons", "finish_reasons", (kind.model, kind.finish_reason) if kind.finish_reason else None)
            put("prompt_tokens", "tokens", (kind.model, "prompt"))
            put("completion_tokens", "tokens", (kind.model, "completion"))
            put("cached_tokens", "cached_tokens", model)
            put("reasoning_tokens", "reasoning_tokens", model)
            put("request_duration_seconds", "request_duration_seconds", both if kind.outcome != "rejected" else None)
            put("time_to_first_token_seconds", "time_to_first_token_seconds", both if kind.stream else None)
            put("time_per_output_token_seconds", "time_per_output_token_seconds", both)
            for name in ("queue_time_seconds", "prefill_time_seconds", "decode_time_seconds"):
                put(name, name, model)
        for key, more in rows.items():
            known = self._rows.get(key, np.empty(0, np.int64))
            self._rows[key] = np.concatenate([known, np.array(more, np.int64)])

    def _count(self, events: Events) -> None:
        kinds = len(self.kinds.list)
        by_kind = np.bincount(events.kind, minlength=kinds)
        for name in ("requests", "finish_reasons"):
            self._add(name, self._rows[name], by_kind)
        for column, name in _COUNTERS.items():
            values: Floats | None = getattr(events, column)
            if values is not None:
                known = ~np.isnan(values)
                sums = _sums(events.kind[known], values[known], kinds)
                self._add(name, self._rows[column], sums)
        bits = self._flagger.bits(events, self.kinds)
        table = self.tables["flags"]
        for bit, flag in enumerate(FLAGS):
            raised = (bits & (1 << bit)) != 0
            if raised.any():
                counts = np.bincount(events.kind[raised], minlength=kinds)
                for number in np.flatnonzero(counts).tolist():
                    self._increase(table, (flag, self.kinds.list[number].model), int(counts[number]))

    def _add(self, name: str, rows: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
        table = self.tables[name]
        used = (rows >= 0) & (counts != 0)
        np.add.at(table.cells[:, 0], rows[used], counts[used])
        if table.other_row >= 0:
            folded = int(counts[used & (rows == table.other_row)].sum())
            self.tables["logproc_series_folded"].increase((table.metric.name,), folded)

    def _increase(self, table: Table, labels: tuple[str, ...], by: int) -> None:
        row = table.row(labels)
        table.cells[row, 0] += by
        if row == table.other_row:
            self.tables["logproc_series_folded"].increase((table.metric.name,), by)

    def _observe(self, name: str, kind: npt.NDArray[np.int32], values: Floats | None) -> None:
        if values is None:
            return
        table = self.tables[name]
        rows = self._rows[name][kind]
        used = (rows >= 0) & ~np.isnan(values)
        if not used.all():
            rows, values = rows[used], values[used]
        if not len(rows):
            return
        width, count = table.metric.width, len(table)
        bucket = np.searchsorted(self._edges_ms[name], values, side="left")
        counts = np.bincount(rows * width + bucket, minlength=count * width).reshape(count, width)
        counts[:, -1] = _sums(rows, np.rint(values * 1000), count)
        table.cells[:count] += counts
        if table.other_row >= 0:
            folded = int((rows == table.other_row).sum())
            self.tables["logproc_series_folded"].increase((table.metric.name,), folded)

    def _sketch(self, events: Events) -> None:
        durations = events.duration_ms[self._rows["request_duration_seconds"][events.kind] >= 0]
        if len(durations):
            self.duration_bins += bins_of(durations)
            self.longest_ms["duration_ms"] = max(self.longest_ms["duration_ms"], float(durations.max()))
        if events.ttft_ms is not None:
            streams = self._rows["time_to_first_token_seconds"][events.kind] >= 0
            ttft = events.ttft_ms[streams & ~np.isnan(events.ttft_ms)]
            if len(ttft):
                self.ttft_bins += bins_of(ttft)
                self.longest_ms["ttft_ms"] = max(self.longest_ms["ttft_ms"], float(ttft.max()))


def _sums(rows: npt.NDArray[np.int32] | npt.NDArray[np.int64], values: Floats, count: int) -> npt.NDArray[np.int64]:
    """Exact sums of whole numbers by row."""
    if len(values) and float(values.max()) * len(values) >= _EXACT:
        sums = np.zeros(count, np.int64)
        np.add.at(sums, rows, values.astype(np.int64))
        return sums
    return np.bincount(rows, weights=values, minlength=count).astype(np.int64)
