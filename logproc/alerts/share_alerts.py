"""The alerts about shares of requests (slow, failed, empty): for one model, or one for all where it is everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from logproc.alerts.alert import Kind, State
from logproc.alerts.columns import Ints
from logproc.alerts.detectors import SHARES, Judged, ShareDetector, windows
from logproc.alerts.diagnosis import Sums
from logproc.alerts.evidence import diagnosis
from logproc.alerts.history import KEEP_S, History
from logproc.alerts.life import Life
from logproc.alerts.lives import Finding, Key, Lives
from logproc.alerts.percentile import percentile_s
from logproc.alerts.usual import HOUR
from logproc.alerts.windows import LONG_S, begin_of
from logproc.settings import Thresholds

TOGETHER_S: Final = 10
"""When one model is bad and another may be, so long is waited for certainty whether it is both."""
ENOUGH: Final = 10
"""So many requests must a model have had to have a say in whether it is everything."""

_SLOW: Final[frozenset[Kind]] = frozenset({"latency_p99", "latency_p95", "ttft", "tokens_per_second"})
_SHOWN: Final[dict[Kind, tuple[str, float]]] = {
    "latency_p99": ("duration", 0.99),
    "latency_p95": ("duration", 0.95),
    "ttft": ("ttft", 0.95),
}
"""The histogram and the rank of the percentile that is told as the value."""

Mask = npt.NDArray[np.bool_]


class ShareAlerts:
    """Leads the alerts of the six kinds in `detectors.SHARES`."""

    def __init__(self, thresholds: Thresholds, history: History, lives: Lives, warm_up_s: int) -> None:
        self.unsure: dict[tuple[Kind, str], int] = {}
        """Since when a model waits to learn whether it is everything."""
        self._detectors = [
            each for each in (ShareDetector(share, thresholds, history.columns) for share in SHARES) if each.is_on
        ]
        self._columns = sorted(set().union(*(each.columns for each in self._detectors)))
        self._history = history
        self._lives = lives
        self._warm_up_s = warm_up_s

    def judge(self, series: Mapping[str, Ints], start: int, end: int) -> dict[str, Mask]:
        """Judge the seconds from `start` to before `end`; `series` begins LONG_S before them. By model the seconds in
        which it is known to be slow, shape (seconds,).
        """
        slow = {model: np.zeros(end - start, np.bool_) for model in series}
        warm = {model: self._warm(model, rows, start - LONG_S) for model, rows in series.items()}
        sums = {model: windows(rows, self._columns) for model, rows in warm.items()}
        for detector in self._detectors:
            judged = {}
            for model, (short, long) in sums.items():
                usual = detector.usual(model, start // HOUR, self._history.hours)
                judged[model] = detector.judge(model, warm[model], short, long, usual)
            self._lead(detector, judged, start, end, slow)
        self.unsure = {key: since for key, since in self.unsure.items() if end - since <= 2 * TOGETHER_S}
        return slow

    def _warm(self, model: str, rows: Ints, start: int) -> Ints:
        """The seconds from `start` on without those in which the model was new."""
        cold = self._history.first[model] + self._warm_up_s - start
        if cold <= 0:
            return rows
        rows = rows.copy()
        rows[:cold] = 0
        return rows

    def _lead(
        self, detector: ShareDetector, judged: dict[str, Judged], start: int, end: int, slow: dict[str, Mask]
    ) -> None:
        """Lead the alerts of one kind through the seconds in which there is something to lead."""
        place = 0
        while place < end - start:
            unchanged = self._unchanged_for(detector.kind, judged, start + place, place, end - start - place)
            if unchanged and detector.kind in _SLOW:
                self._mark(detector.kind, slow, place, place + unchanged)
            place += unchanged
            if place < end - start:
                self._second(detector, judged, start + place, place)
                if detector.kind in _SLOW:
                    self._mark(detector.kind, slow, place, place + 1)
                place += 1

    def _unchanged_for(self, kind: Kind, judged: dict[str, Judged], second: int, place: int, most: int) -> int:
        """In how many seconds from `place` on there is nothing to lead."""
        lives = {model: self._lives.open[kind, model, ""] for model in self._lives.models_with(kind)}
        if lives and any(each == kind for each, _ in self.unsure):
            return 0
        together = lives.pop("", None)
        if together is not None:
            level = np.zeros(most, np.int8)
            is_well = np.ones(most, np.bool_)
            for each in judged.values():
                np.maximum(level, each.level[place:], out=level)
                is_well &= each.is_well[place:]
            return together.unchanged_for(second, level, is_well)
        for model, found in judged.items():
            if model in lives:
                most = min(most, lives.pop(model).unchanged_for(second, found.level[place:], found.is_well[place:]))
            else:
                begins = found.level[place : place + most] > 0
                most = int(np.argmax(begins)) if begins.any() else most
        for life in lives.values():  # of models without a request
            most = min(most, life.unchanged_for(second, np.zeros(most, np.int8), np.ones(most, np.bool_)))
        return most

    def _second(self, detector: ShareDetector, judged: dict[str, Judged], second: int, place: int) -> None:
        """One second of one kind."""
        kind = detector.kind
        if self._lives.has(kind):
            level = max((int(each.level[place]) for each in judged.values()), default=0)
            is_well = all(bool(each.is_well[place]) for each in judged.values())
            self._step(detector, "", second, level, is_well=is_well)
            return
        for model in sorted(judged.keys() | self._lives.models_with(kind)):
            found = judged.get(model)
            level = int(found.level[place]) if found else 0
            if self._lives.has(kind, model):
                self._step(detector, model, second, level, is_well=bool(found.is_well[place]) if found else True)
            elif level:
                who = self._who(kind, model, judged, second, place)
                if who is None:
                    continue
                seen = [other for other in sorted(judged) if judged[other].seen[place]]
                self._begin(detector, who, [model] if who else seen, second, level)
                if not who:
                    break
            else:
                self.unsure.pop((kind, model), None)

    def _mark(self, kind: Kind, slow: dict[str, Mask], place: int, end: int) -> None:
        for model in self._lives.models_with(kind):
            if self._lives.open[kind, model, ""].firing:
                for covered in [model] if model else slow:
                    if covered in slow:
                        slow[covered][place:end] = True

    def _who(self, kind: Kind, model: str, judged: dict[str, Judged], second: int, place: int) -> str | None:
        """Whether it is the model alone (its name) or everything (no name); None while that is not clear."""
        others = [other for other in judged if other != model and judged[other].seen[place] >= ENOUGH]
        alone = bool(self._lives.models_with(kind))
        bad = [judged[other].level[place] > 0 or bool(judged[other].is_odd[place]) for other in others]
        if others and not alone and all(bad):
            self.unsure.pop((kind, model), None)
            return ""
        if any(bad) and not alone:
            since = self.unsure.get((kind, model))
            if since is None or second - since > 2 * TOGETHER_S:
                since = self.unsure[kind, model] = second
            if second - since < TOGETHER_S:
                return None
        self.unsure.pop((kind, model), None)
        return model

    def _begin(self, detector: ShareDetector, who: str, models: Sequence[str], second: int, level: int) -> None:
        window = sum(self._history.seconds.series(model, second - LONG_S + 1, second + 1) for model in models)
        assert not isinstance(window, int)
        bad, of = detector.columns_of(level, window.sum(axis=0))
        since = second - LONG_S + 1 + begin_of(window[:, bad], window[:, of], 0.0)
        key: Key = (detector.kind, who, "")
        for_s = max(detector.for_s(model) for model in models)
        _, state = self._lives.begin(key, Life(since, second, level), for_s)
        self._write(detector, key, second, state)

    def _step(self, detector: ShareDetector, who: str, second: int, level: int, *, is_well: bool) -> None:
        key: Key = (detector.kind, who, "")
        change = self._lives.open[key].step(second, level, detector.for_s(who), is_well=is_well)
        if change == "resolved":
            self._lives.end(key, second)
        elif change is not None:
            self._write(detector, key, second, change)

    def _write(self, detector: ShareDetector, key: Key, second: int, state: State) -> None:
        kind, who, _ = key
        life, models = self._lives.open[key], [who] if who else self._history.models(second)
        begin = max(life.since, second - KEEP_S)
        now = self._history.total(models, begin, second + 1)
        bad, of = detector.columns_of(life.level, now)
        share = int(now[bad]) / int(now[of]) if now[of] else 0.0
        bound = detector.bound(who, life.level)
        found = diagnosis(self._history, kind, models, life.since, second)
        value = self._value(kind, now, share, bound)
        facts: dict[str, Any] = {"share": round(share, 4)}
        if not who and now[bad]:
            of_model = {model: self._history.total([model], begin, second + 1)[bad] / now[bad] for model in models}
            facts["models"] = {model: round(float(share), 3) for model, share in of_model.items() if share}
        self._lives.write(key, second, state, Finding(value, bound, int(now[of]), found, facts))

    def _value(self, kind: Kind, now: Ints, share: float, bound: float | None) -> float | None:
        """What is told to be wrong, in the unit of the threshold; never on the good side of the bound."""
        columns, value = self._history.columns, None
        if kind in _SHOWN:
            name, rank = _SHOWN[kind]
            value = percentile_s(now[columns.histogram(name)], rank)
        elif kind == "tokens_per_second":
            sums = Sums(columns, now)
            value = sums["slow_completion_tokens"] / (sums["slow_decode_us"] / 1e6) if sums["slow_decode_us"] else None
        else:
            value = share
        if value is None or bound is None:
            return value
        return min(value, bound) if kind == "tokens_per_second" else max(value, bound)
