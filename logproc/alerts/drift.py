"""Drift: latency or the length of answers is far from what it was at the same hour of past days."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from logproc.alerts.alert import SEVERITIES
from logproc.alerts.columns import Columns, Ints
from logproc.alerts.guard import Z
from logproc.alerts.reading import Reading
from logproc.alerts.usual import HOUR, LEAST_DAYS, Hours
from logproc.alerts.windows import LONG_S, rolling
from logproc.settings import Levels

DRIFT_EVERY_S: Final = 10
LEAST: Final = 30
"""So many requests are needed now, and ten times as many before."""
_DAY_TO_DAY: Final = 0.1
"""The least standard deviation, from day to day, of the mean logarithm: no two days are alike."""


class Drift:
    """Compares geometric means of the last minutes with those of past days."""

    def __init__(self, levels: Levels, columns: Columns, hours: Hours) -> None:
        self._levels = levels
        self._hours = hours
        self._at = columns.at
        self._logs = {
            name: [columns.at[f"log_{name}s"], columns.at[f"log_{name}"], columns.at[f"log_{name}_2"]]
            for name in ("duration", "completion")
        }

    def readings(
        self,
        series: dict[str, Ints],
        covered: dict[str, npt.NDArray[np.bool_]],
        drifting: Callable[[], set[str]],
        start: int,
        end: int,
    ) -> Iterator[tuple[str, int, Reading]]:
        """(model, second, reading), by model in order of time; `covered` where another alert says it, `drifting` are
        the models of which it is known now: these are well where there is nothing to compare.
        """
        if self._levels.lowest is None:
            return
        for model in sorted(series.keys() | drifting()):
            days = self._hours.same_hours(model, start // HOUR)
            can_tell = model in series and len(days) >= LEAST_DAYS
            if not can_tell and model not in drifting():
                continue
            usual = {name: _mean_of_days(days[:, places]) for name, places in self._logs.items()}
            sums = {}
            if can_tell:
                sums = {name: rolling(series[model][:, at], LONG_S, LONG_S) for name, at in self._logs.items()}
            seconds = np.arange(start, end)
            for place in np.flatnonzero(seconds % DRIFT_EVERY_S == DRIFT_EVERY_S - 1).tolist():
                second = start + place
                found = self._reading({name: each[place] for name, each in sums.items()}, usual, second)
                if found is None:
                    if model in drifting():
                        yield model, second, Reading("drift", 0, None, None, 0, True, second, {})
                    continue
                if found.level and covered[model][place]:
                    found = found._replace(level=0, is_well=False)
                elif found.level:
                    window = series[model][place + 1 : place + 1 + LONG_S, 0]
                    found = found._replace(since=second - LONG_S + 1 + int(np.flatnonzero(window)[0]))
                yield model, second, found

    def _reading(
        self, sums: dict[str, Ints], usual: dict[str, tuple[float, float] | None], second: int
    ) -> Reading | None:
        worst: Reading | None = None
        for name, (count, total, squares) in ((name, each.tolist()) for name, each in sums.items()):
            before = usual[name]
            if count < LEAST or before is None:
                continue
            mean = total / count / 1000
            variance = max(0.0, squares / count / 1e6 - mean * mean)
            delta = mean - before[0]
            error = Z * math.sqrt(variance / count) + 2 * before[1]
            if name == "completion":
                delta = abs(delta)
            value, least = math.exp(delta), math.exp(max(0.0, delta - error))
            level, bound = 0, self._levels.lowest
            for number, severity in enumerate(SEVERITIES, 1):
                each = getattr(self._levels, severity)
                if each is not None and least >= each:
                    level, bound = number, each
            assert bound is not None
            facts: dict[str, object] = {
                "what": "the length of answers" if name == "completion" else "duration",
                "what_zh": "回答长度" if name == "completion" else "耗时",
            }
            well = value < 1 + (bound - 1) * 0.75
            found = Reading("drift", level, value, bound, int(count), well, second - LONG_S + 1, facts,
                            for_s=self._levels.for_s)  # fmt: skip
            if worst is None or (found.level, found.value or 0.0) > (worst.level, worst.value or 0.0):
                worst = found._replace(is_well=found.is_well and (worst is None or worst.is_well))
        return worst


def _mean_of_days(days: Ints) -> tuple[float, float] | None:
    """Mean logarithm and its standard deviation from day to day; None where too little is known."""
    used = days[days[:, 0] >= LEAST]
    if len(used) < LEAST_DAYS:
        return None
    means = used[:, 1] / used[:, 0] / 1000
    return float(np.mean(means)), max(_DAY_TO_DAY, float(np.std(means)))
