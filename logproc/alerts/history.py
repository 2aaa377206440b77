"""What the detectors look back on: the buckets of the last hour, the hours of the last weeks, and the server lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np

from logproc.alerts.buckets import Buckets
from logproc.alerts.clearest import BACK_S, SLOT_S, Slots, merge
from logproc.alerts.columns import Columns, Ints
from logproc.alerts.diagnosis import COLD_S
from logproc.alerts.server_lines import Line
from logproc.alerts.silence import FORGOTTEN_S
from logproc.alerts.usual import DAYS, HOUR, Hours
from logproc.alerts.windows import LONG_S
from logproc.events import LATE_S
from logproc.record import SERVER_STARTED

KEEP_S: Final = 3600
"""One-second buckets are kept so long after they were judged."""


class History:
    """Everything that was read, as far back as anybody looks; also what was read ahead of the second in judgement.

    What is asked of it therefore always names the seconds that are meant. `first` and `last` are the first and the last
    second at which a model was seen, of those that were judged.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.seconds = Buckets(columns)
        self.hours = Hours(columns)
        self.lines: list[Line] = []
        """Those not yet judged, and those that may still explain something."""
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.clearest: Slots = {}
        """Requests that show trouble, of the last minutes."""
        self.dirty: set[tuple[str, int]] = set()
        """Model and second of the buckets that have changed since they were last stored."""
        self.dirty_slots: set[tuple[str, int]] = set()
        """The same of `clearest`."""

    def take(self, buckets: Buckets, lines: Iterable[Line], judged: int | None) -> bool:
        """Merge what was read; what lies more than LATE_S before the `judged` second is left out. Whether there was
        anything among it that is not told by the buckets alone: server lines, and what belongs to a closed hour.
        """
        oldest = -1 if judged is None else judged - LATE_S
        has_news = False
        for model, rows in buckets.rows.items():
            for second, row in rows.items():
                if second > oldest:
                    self.seconds.add_row(model, second, row)
                    self.dirty.add((model, second))
                    if judged is not None and second <= judged:
                        has_news = True
                        self.hours.add(model, second // HOUR, row)
                        if row[0]:
                            self.last[model] = max(self.last.get(model, -1), second)
        more = {key: sorts for key, sorts in buckets.clearest.items() if (key[1] + 1) * SLOT_S > oldest}
        merge(self.clearest, more)
        self.dirty_slots |= more.keys()
        wanted = [line for line in lines if line.second > oldest]
        next_second = 0 if judged is None else judged + 1  # what comes late is judged as soon as it comes
        self.lines += [
            line if line.second >= next_second else msgspec.structs.replace(line, second=next_second) for line in wanted
        ]
        return has_news or bool(wanted)

    def next_data(self, start: int) -> int | None:
        """The first second from `start` on with anything in it."""
        seconds = [second for rows in self.seconds.rows.values() for second in rows if second >= start]
        seconds += [line.second for line in self.lines if line.second >= start]
        return min(seconds, default=None)

    def series(self, start: int, end: int) -> dict[str, Ints]:
        """By model with a request in them the seconds from `start` to before `end`; shape (seconds, columns)."""
        found = {}
        for model in sorted(self.seconds.rows):
            rows = self.seconds.series(model, start, end)
            requests = rows[:, 0]
            if requests.any():
                found[model] = rows
                if model not in self.first:
                    self.first[model] = start + int(np.flatnonzero(requests)[0])
        return found

    def close(self, series: dict[str, Ints], start: int) -> None:
        """The seconds from `start` on, given by model, were judged: they belong to their hour now."""
        for model, rows in series.items():
            happened = np.flatnonzero(rows[:, 0])
            if len(happened):
                self.last[model] = start + int(happened[-1])
                self.hours.add(model, start // HOUR, rows.sum(axis=0))

    def models(self, second: int) -> list[str]:
        """The models that were seen within the hour that ends with `second`."""
        return [
            model
            for model, rows in sorted(self.seconds.rows.items())
            if any(second - KEEP_S < each <= second for each in rows)
        ]

    def total(self, models: Iterable[str], start: int, end: int) -> Ints:
        """All columns of some models over the seconds from `start` to before `end`; shape (columns,)."""
        total = np.zeros(len(self.columns), np.int64)
        for model in models:
            total += self.seconds.total(model, start, end)
        return total

    def is_over(self, second: int) -> bool:
        """Whether no model was seen for so long that nothing is expected of any."""
        return all(second - last > FORGOTTEN_S for last in self.last.values())

    def forget(self, judged: int) -> None:
        """Let go of what nobody looks back on after the `judged` second."""
        self.seconds.forget_before(judged - KEEP_S)
        first_slot = (judged - BACK_S - LATE_S) // SLOT_S
        for key in [key for key in self.clearest if key[1] < first_slot]:
            del self.clearest[key]
        for_starts = judged - KEEP_S - COLD_S  # whatever is diagnosed began within KEEP_S
        self.lines = [
            line
            for line in self.lines
            if line.second > (for_starts if line.event == SERVER_STARTED else judged - LONG_S)
        ]
        first_hour = judged // HOUR - DAYS * 24 - 1
        self.hours.forget_before(first_hour)

    def forget_models(self, second: int) -> None:
        """Let go of models that were not seen for so long before `second` that they would be new."""
        first_hour = second // HOUR - DAYS * 24 - 1
        for model in [model for model, last in self.last.items() if last < first_hour * HOUR]:
            del self.first[model], self.last[model]
