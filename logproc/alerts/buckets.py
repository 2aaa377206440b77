"""One-second buckets of log time: a row of whole numbers for each model and second. Merging is adding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from logproc.alerts.clearest import Slots, merge
from logproc.alerts.columns import Columns, Ints


class Packed(NamedTuple):
    """Buckets on their way to another process: by model the seconds, shape (n,), and their rows, shape (n, columns)."""

    rows: dict[str, tuple[Ints, Ints]]
    clearest: Slots


class Buckets:
    """The buckets of some stretch of log time, by model; seconds in which nothing happened take no room.

    `rows[model][second]` has the shape (columns,), seconds since 1970. A row is never changed, only replaced.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.rows: dict[str, dict[int, Ints]] = {}
        self.clearest: Slots = {}
        """Requests that show trouble, beside the numbers."""

    def add_row(self, model: str, second: int, row: Ints) -> None:
        """Merge what happened in one second."""
        mine = self.rows.setdefault(model, {})
        known = mine.get(second)
        mine[second] = row if known is None else known + row

    def add_rows(self, model: str, seconds: list[int], rows: Ints) -> None:
        """Merge what happened in several seconds, each given once; shape (seconds, columns)."""
        mine = self.rows.setdefault(model, {})
        known = mine.keys() & seconds
        if known:
            both = {second: mine[second] for second in known}
            mine.update(zip(seconds, rows, strict=True))
            for second, row in both.items():
                mine[second] = mine[second] + row
        else:
            mine.update(zip(seconds, rows, strict=True))

    def add(self, other: Buckets) -> None:
        """Merge others of the same columns into these."""
        for model, rows in other.rows.items():
            for second, row in rows.items():
                self.add_row(model, second, row)
        merge(self.clearest, other.clearest)

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def pack(self) -> Packed:
        """What travels well between processes."""
        rows = {
            model: (np.fromiter(rows, np.int64, len(rows)), np.array(list(rows.values())))
            for model, rows in self.rows.items()
        }
        return Packed(rows, self.clearest)

    @classmethod
    def unpack(cls, columns: Columns, packed: Packed) -> Buckets:
        """The other way round."""
        buckets = cls(columns)
        for model, (seconds, rows) in packed.rows.items():
            buckets.rows[model] = dict(zip(seconds.tolist(), rows, strict=True))
        buckets.clearest = packed.clearest
        return buckets

    def series(self, model: str, start: int, end: int) -> Ints:
        """All columns of a model over the seconds from `start` to before `end`; shape (seconds, columns)."""
        found = np.zeros((end - start, len(self.columns)), np.int64)
        rows = self.rows.get(model)
        if rows:
            for second in rows.keys() & range(start, end) if len(rows) < end - start else range(start, end):
                row = rows.get(second)
                if row is not None:
                    found[second - start] = row
        return found

    def total(self, model: str, start: int, end: int) -> Ints:
        """All columns of a model summed up over the seconds from `start` to before `end`; shape (columns,)."""
        rows = self.rows.get(model, {})
        if end - start < len(rows):
            within = [rows[second] for second in range(start, end) if second in rows]
        else:
            within = [row for second, row in rows.items() if start <= second < end]
        return np.sum(within, axis=0) if within else np.zeros(len(self.columns), np.int64)

    def forget_before(self, second: int) -> None:
        """Drop the seconds before `second`, and models of which nothing is left."""
        for model, rows in list(self.rows.items()):
            for each in [each for each in rows if each < second]:
                del rows[each]
            if not rows:
                del self.rows[model]
