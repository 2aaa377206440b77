"""What is usual for a model at an hour of the day: hourly buckets of the last 28 days."""

from __future__ import annotations

from typing import Final

import numpy as np

from logproc.alerts.columns import Columns, Ints

HOUR: Final = 3600
DAYS: Final = 28
LEAST_HOURS: Final = 24
LEAST_OF_HOUR: Final = 10
"""So many hours, each with so many requests, must be known."""
LEAST_DAYS: Final = 2
"""With fewer days it is not known what is usual at an hour."""


class Hours:
    """The sums of each hour by model; `rows[model][hour]` has the shape (columns,), hours since 1970."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.rows: dict[str, dict[int, Ints]] = {}
        self.dirty: set[tuple[str, int]] = set()
        """What has changed since it was last stored."""

    def add(self, model: str, hour: int, row: Ints) -> None:
        """Add to an hour."""
        mine = self.rows.setdefault(model, {})
        known = mine.get(hour)
        mine[hour] = row.copy() if known is None else known + row
        self.dirty.add((model, hour))

    def forget_before(self, hour: int) -> None:
        """Drop older hours, and models of which nothing is left."""
        for model, rows in list(self.rows.items()):
            for each in [each for each in rows if each < hour]:
                del rows[each]
                self.dirty.add((model, each))
            if not rows:
                del self.rows[model]

    def same_hours(self, model: str, hour: int) -> Ints:
        """The same hour of the day on each of the past days on which the model was known; shape (days, columns)."""
        rows = self.rows.get(model, {})
        first = min(rows, default=hour)
        nothing = np.zeros(len(self.columns), np.int64)
        days = [rows.get(hour - 24 * day, nothing) for day in range(1, DAYS + 1) if hour - 24 * day >= first]
        return np.array(days).reshape(len(days), len(self.columns))

    def usual_share(self, model: str, hour: int, bad: int, of: int) -> float | None:
        """The share of `bad` in `of` (columns) that is usual in the hours of the last week; None while few are known.

        The median of the hours: a day of trouble does not make trouble usual. The newest hour is left out, since late
        records may still join it.
        """
        rows = self.rows.get(model, {})
        found = [
            float(row[bad]) / float(row[of])
            for each, row in rows.items()
            if hour - 24 * 7 <= each < hour - 1 and row[of] >= LEAST_OF_HOUR
        ]
        return float(np.median(found)) if len(found) >= LEAST_HOURS else None

    def usual(self, model: str, hour: int) -> tuple[Ints, int] | None:
        """The sums of the same hour of past days, and of how many; None where too few are known.

        Only the quicker half of the days is taken: on others there may have been trouble.
        """
        days = self.same_hours(model, hour)
        used = days[days[:, self.columns.at["requests"]] > 0]
        if len(used) < LEAST_DAYS:
            return None
        mean = used[:, self.columns.at["duration_us"]] / np.maximum(used[:, self.columns.at["timed"]], 1)
        quick = np.argsort(mean, kind="stable")[: (len(used) + 1) // 2]
        return used[quick].sum(axis=0), len(quick)
