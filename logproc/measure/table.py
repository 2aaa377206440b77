"""One metric's rows of whole numbers: a row per label set, folded into `__other__` beyond the limit."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from logproc.measure.catalog import Metric

OTHER: Final = "__other__"
OPEN: Final = frozenset({"model", "operation", "host", "pid"})
"""Labels whose values come from outside: these fold, so that errors stay errors."""
MOST_OTHERS: Final = 500
"""Of the others so many combinations are kept apart among what is folded."""

Cells = npt.NDArray[np.int64]


class Table:
    """Rows of int64: `cells[row]` is [count] of a counter, or [count per bucket …, +Inf, sum in µs] of a histogram.

    Row numbers are stable: they are the keys of the rows in the database.
    """

    def __init__(self, metric: Metric, max_series: int) -> None:
        self.metric = metric
        self.labels: list[tuple[str, ...]] = []
        self.cells: Cells = np.zeros((8, metric.width), np.int64)
        self._max_series = max_series
        self._rows: dict[tuple[str, ...], int] = {}
        self._stored: Cells = np.zeros((8, metric.width), np.int64)
        self._stored_rows = 0
        self.others: list[int] = []
        """The rows of what is folded."""

    def __len__(self) -> int:
        return len(self.labels)

    def row(self, labels: tuple[str, ...]) -> int:
        """The row of a label set; one of `__other__` when there are too many already."""
        row = self._rows.get(labels)
        if row is None and len(self.labels) - len(self.others) >= self._max_series:
            labels = self._fold(labels)
            row = self._rows.get(labels)
        return self.admit(labels) if row is None else row

    def _fold(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(self.others) >= MOST_OTHERS:
            return (OTHER,) * len(labels)
        return tuple(OTHER if name in OPEN else value for name, value in zip(self.metric.labels, labels, strict=True))

    def admit(self, labels: tuple[str, ...]) -> int:
        """Add a label set (also one from the database, in the order of its rows)."""
        row = self._rows[labels] = len(self.labels)
        self.labels.append(labels)
        if OTHER in labels:
            self.others.append(row)
        if row >= len(self.cells):
            more = np.zeros_like(self.cells)
            self.cells = np.concatenate([self.cells, more])
            self._stored = np.concatenate([self._stored, more])
        return row

    def increase(self, labels: tuple[str, ...], by: int = 1) -> None:
        """Add to one counter; for rare things, not for every line."""
        row = self.row(labels)  # first: a new row may need a larger array
        self.cells[row, 0] += by

    def dirty(self) -> tuple[list[int], list[int]]:
        """The rows that differ from what was last stored, and those that were never stored."""
        known = self._stored_rows
        changed = (self.cells[:known] != self._stored[:known]).any(axis=1)
        rows: list[int] = np.flatnonzero(changed).tolist()
        return rows, list(range(known, len(self.labels)))

    def stored(self) -> None:
        """What is here now was committed."""
        count = self._stored_rows = len(self.labels)
        self._stored[:count] = self.cells[:count]

    def committed(self) -> Cells:
        """A view of the cells as last stored; rows beyond it are not committed yet."""
        return self._stored[: self._stored_rows]
