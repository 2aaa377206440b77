"""Traffic that falls silent where there usually is some."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from logproc.alerts.alert import SEVERITIES
from logproc.alerts.columns import Ints
from logproc.alerts.reading import Reading
from logproc.alerts.usual import HOUR, LEAST_DAYS, Hours
from logproc.settings import Levels

EXPECTED: Final = 10.0
"""So many requests must have been expected for their absence to mean something."""
AGAIN_S: Final = 300
"""As long as it is silent it is looked again so often whether there usually is traffic."""
_RECENT_DAYS: Final = 7
FORGOTTEN_S: Final = (24 * _RECENT_DAYS + 1) * HOUR
"""After so long without a request none is expected any more."""
_NEVER: Final = -1


class Silence:
    """Tells when a model has had no request for longer than allowed."""

    def __init__(self, levels: Levels, hours: Hours) -> None:
        self._hours = hours
        self._bounds = [
            (number, math.ceil(bound), bound)
            for number, severity in enumerate(SEVERITIES, 1)
            if (bound := getattr(levels, severity)) is not None
        ]
        self._for_s = levels.for_s

    def readings(
        self, requests: dict[str, Ints], last: dict[str, int], silent: set[str], start: int, end: int
    ) -> Iterator[tuple[str, int, Reading]]:
        """(model, second, reading) in order of time; the model is empty where it is all of several.

        `requests` are counts by model and second from `start` to before `end`, `last` the last second with a request
        before that, `silent` those of which it is known already.
        """
        if not self._bounds:
            return
        seconds = np.arange(start, end)
        newest, points = {}, []
        for model in sorted(last.keys() | requests.keys()):
            counts, before = requests.get(model), last.get(model, _NEVER)
            here = np.full(len(seconds), before)
            if counts is not None:
                here = np.maximum.accumulate(np.where(counts > 0, seconds, here))
            newest[model] = here
            gap = seconds - here
            wanted = (gap > self._bounds[0][1]) & (gap <= FORGOTTEN_S) & (seconds % AGAIN_S == 0)
            for _, bound, _ in self._bounds:
                wanted |= gap == bound
            wanted &= here != _NEVER
            ended = seconds - np.concatenate([[before], here[:-1]])
            wanted |= (gap == 0) & (ended >= self._bounds[0][1])  # the first request after silence
            if {"", model} & silent and 0 < start - before < self._bounds[0][1]:  # requests that came late ended it
                wanted[:1] = True
            points += [(int(second), model) for second in seconds[wanted]]
        silent = set(silent)
        for second, model in sorted(points):
            place = second - start
            if second - newest[model][place] < self._bounds[0][1]:
                for key in sorted({"", model} & silent):
                    silent.discard(key)
                    yield key, second, Reading("traffic_silent", 0, 0.0, None, 0, True, second, {}, ends_at_once=True)
                continue
            gap = second - int(newest[model][place])
            if {"", model} & silent and gap > self._bounds[-1][1] + self._for_s + AGAIN_S:
                continue  # it fires as gravely as it can
            found = self._reading(model, int(newest[model][place]), second)
            if not found.level or "" in silent:
                continue
            others = [other for other in newest if other != model]
            expected = any(self._expected(other, second - HOUR, second) for other in others)
            all_silent = expected and all(second - newest[other][place] >= self._bounds[0][1] for other in others)
            key = "" if all_silent and model not in silent else model
            silent.add(key)
            yield key, second, found

    def _reading(self, model: str, last: int, second: int) -> Reading:
        expected = self._expected(model, last + 1, second)
        level, value = 0, float(second - last)
        bound = self._bounds[0][2]
        if expected >= EXPECTED:
            for number, least, each in self._bounds:
                if second - last >= least:
                    level, bound = number, each
        facts: dict[str, object] = {"expected_requests": round(expected)}
        return Reading("traffic_silent", level, value, bound, 0, False, last + 1, facts, for_s=self._for_s)

    def _expected(self, model: str, start: int, end: int) -> float:
        """How many requests there usually are between two seconds, carefully reckoned.

        After a week without a request none is usual any more, so no more than that is looked at from `start` on.
        """
        rows = self._hours.rows.get(model, {})
        first = min(rows, default=0)
        expected = 0.0
        if end // HOUR - 24 * LEAST_DAYS < first:
            return expected
        for hour in range(start // HOUR, min(end // HOUR, start // HOUR + 24 * _RECENT_DAYS) + 1):
            same = [hour - 24 * day for day in range(1, _RECENT_DAYS + 1) if hour - 24 * day >= first]
            if len(same) >= LEAST_DAYS:
                rate = _lower_quartile([int(rows[each][0]) if each in rows else 0 for each in same]) / HOUR
                expected += rate * (min(end, (hour + 1) * HOUR) - max(start, hour * HOUR))
        return expected


def _lower_quartile(values: list[int]) -> float:
    """As numpy's quantile 0.25, which takes fifty times as long for so few."""
    ordered = sorted(values)
    place = 0.25 * (len(ordered) - 1)
    low = int(place)
    return ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (place - low)
