"""Events → buckets: many thousand requests are added up by model and second in a few calls of numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from logproc.alerts.buckets import Buckets
from logproc.alerts.columns import EDGES_MS, HISTOGRAM_BINS, LATENCY, PARTS, SIZED, Columns, Ints, levels, severities
from logproc.alerts.kind_counts import BY_KIND, counted
from logproc.events import TOO_LATE, Events, Floats
from logproc.flags import FLAGS
from logproc.kinds import Kind, Kinds
from logproc.settings import Thresholds

MOST_MODELS: Final = 32
"""Later ones are one model, OTHER."""
OTHER: Final = "__other__"

_TIMED, _ERROR, _GENERATION = (BY_KIND.index(name) for name in ("timed", "errors", "generations"))

_BY_REQUEST: Final = (
    "first_tokens", "speeds", "prompts", "completions", "engine", "empties", "stalled", "log_durations",
    "log_completions",
)  # fmt: skip
"""What counts by what a single request tells: a bit each."""
_CLASSES: Final = 64
"""More classes of kinds than there can be."""

_LONGEST_US: Final = float(1 << 41)
"""25 days; a longer time is counted as this, so that sums of a second stay exact."""
_EMPTY: Final = 1 << FLAGS.index("empty_completion")
_STALL: Final = 1 << FLAGS.index("stall")
_BIN: Final = HISTOGRAM_BINS / math.log(EDGES_MS[-1] / EDGES_MS[0])
_LEAST: Final = math.log(EDGES_MS[0])

Mask = npt.NDArray[np.bool_]


class Gatherer:
    """Adds events up into buckets; knows the thresholds, and the models by number."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.columns = Columns.of(thresholds)
        self._thresholds = thresholds
        self.levels = [(name, severity) for name in LATENCY for severity in severities(thresholds, name)]
        self.models: dict[str, int] = {}
        """By name the number of each."""
        self._classes: dict[tuple[bool, ...], int] = {}
        self._counted = [self.columns.at[name] for name in (*BY_KIND, *_BY_REQUEST)]
        self._patterns: tuple[bytes, Floats] = b"", np.empty(0)
        self.forget()

    def know(self, models: Iterable[str]) -> None:
        """Models of an earlier run: these are never folded into OTHER."""
        for model in models:
            self.models.setdefault(model, len(self.models))

    def forget(self) -> None:
        """The kinds will be numbered anew."""
        self._known = 0
        self._of_kind: list[tuple[int, int, list[float]]] = []
        self.model_of_kind: Ints = np.empty(0, np.int64)
        self._class: npt.NDArray[np.uint16] = np.empty(0, np.uint16)
        self.bounds: list[Floats] = []
        """By kind the bound of each of `levels`, ms (a token, for speeds), then of SlowForSize: ms, ms a token, ms."""
        self._lowest: list[float] = []
        self.is_error: Mask = np.empty(0, np.bool_)
        self.is_empty: Mask = np.empty(0, np.bool_)
        """By kind whether it counts as an error, or has no text where there should be one."""

    def learn(self, kinds: Kinds) -> None:
        """Get to know the kinds that are new."""
        if self._known == len(kinds.list):
            return
        for kind in kinds.list[self._known :]:
            model = kind.model if kind.model in self.models or len(self.models) < MOST_MODELS else OTHER
            number = self.models.setdefault(model, len(self.models))
            number_of_class = self._classes.setdefault(counted(kind), len(self._classes))
            self._of_kind.append((number, number_of_class, self._bounds_of(kind)))
        self._known = len(kinds.list)
        models, classes, bounds = zip(*self._of_kind, strict=True)
        self.model_of_kind, self._class = np.array(models), np.array(classes, np.uint16)
        of_class = np.array(list(self._classes), np.bool_)
        self.is_error = of_class[:, _ERROR].take(self._class)
        is_empty = np.array([kind.outcome == "empty" for kind in kinds.list])
        self.is_empty = is_empty & of_class[:, _GENERATION].take(self._class)
        self.bounds = [np.ascontiguousarray(each) for each in np.array(bounds).T]
        self._lowest = [float(np.min(each, where=~np.isnan(each), initial=np.inf)) for each in self.bounds]

    def _bounds_of(self, kind: Kind) -> list[float]:
        """Of each level the bound in ms (a token, for speeds), then what a request of no size may take."""
        own = self._thresholds.models.get(kind.model)
        size = own.slow_for_size if own and "slow_for_size" in own.model_fields_set else self._thresholds.slow_for_size
        found = []
        for name, severity in self.levels:
            level = getattr(levels(self._thresholds, kind.model, name), severity)
            if level is None or kind.outcome == "rejected" or (name == "ttft_s" and not kind.stream):
                found.append(np.nan)  # nothing is greater
            elif name == "tokens_per_second":
                found.append(1000 / level if level else np.nan)
            else:
                found.append(level * 1000)
        sizes = (size.ttft_base_s * 1000, size.ttft_per_1k_prompt_s, size.s_per_token * 1000) if size else (0.0,) * 3
        return [*found, *sizes]

    def add(self, events: Events, kinds: Kinds, flags: npt.NDArray[np.uint8], buckets: Buckets) -> None:
        """Add events to the buckets; `flags` are their bits as `Flagger.bits` gives them."""
        self.learn(kinds)
        if len(events) and events.second.min() == TOO_LATE:
            keep = events.second != TOO_LATE
            events, flags = _only(events, keep), flags[keep]
        if not len(events):
            return
        base = int(events.second.min())
        span = int(events.second.max()) - base + 1
        group = self.model_of_kind.take(events.kind) * span + (events.second - base)
        count = span * len(self.models)
        if count > 2 * len(events) + 4096:  # old lines beside new ones: the time between may be years
            places, group = np.unique(group, return_inverse=True)
            count = len(places)
        else:
            places = np.arange(count)
        cells = self._cells(events, flags, group, count)
        used = np.flatnonzero(cells[:, 0])
        models, seconds = np.divmod(places[used], span)
        ends = np.searchsorted(models, np.arange(len(self.models)), side="right").tolist()
        start = 0
        for model, end in zip(self.models, ends, strict=True):
            if end > start:
                buckets.add_rows(model, (seconds[start:end] + base).tolist(), cells[used[start:end]])
            start = end

    def _cells(self, events: Events, flags: npt.NDArray[np.uint8], group: Ints, count: int) -> Ints:
        """The sums by group; shape (groups, columns)."""
        cells = np.zeros((count, len(self.columns)), np.int64)
        classes = self._class.take(events.kind)
        of_class = np.array(list(self._classes), np.bool_)
        timed = None if of_class[:, _TIMED].all() else of_class[:, _TIMED].take(classes)
        is_empty = (flags & _EMPTY) != 0
        self._sum_up("", events, timed, group, cells)
        logs = self._distribute(events, timed, is_empty, group, cells)
        is_stalled = (flags & _STALL) != 0
        told = (events.ttft_ms, events.tpot_ms, events.prompt_tokens, events.completion_tokens, _engine(events))
        self._count(
            classes,
            [*(None if each is None else ~np.isnan(each) for each in told), is_empty, is_stalled, *logs],
            group,
            cells,
        )
        slow = self._judge(events, group, cells)
        if len(slow):
            at, which = self.columns.at, group[slow]
            events = _only(events, slow)
            cells[:, at["slow_requests"]] = np.bincount(which, minlength=count)
            for name, values in (
                ("prompts", events.prompt_tokens),
                ("completions", events.completion_tokens),
                ("engine", _engine(events)),
            ):
                if values is not None:
                    cells[:, at[f"slow_{name}"]] = np.bincount(which[~np.isnan(values)], minlength=count)
            self._sum_up("slow_", events, None, which, cells)
        return cells

    def _count(self, classes: npt.NDArray[np.uint16], bits: list[Mask | None], group: Ints, cells: Ints) -> None:
        """Count what is only to be counted, all of it at once: requests that are alike in all of it are one pattern."""
        code = classes.copy()
        for place, bit in enumerate(bits):
            if bit is not None:
                code |= bit.astype(np.uint16) << np.uint16(place + 6)
        found = np.flatnonzero(np.bincount(code))
        number = np.zeros(found[-1] + 1, np.int64)
        number[found] = np.arange(len(found))
        counts = np.bincount(group * len(found) + number.take(code), minlength=len(cells) * len(found))
        patterns = self._patterns_of(found.tobytes(), found)
        # Whole numbers as floats: exact, and multiplied many times as fast.
        summed = counts.reshape(len(cells), len(found)).astype(np.float64) @ patterns
        cells[:, self._counted] = summed.astype(np.int64)

    def _patterns_of(self, key: bytes, codes: Ints) -> Floats:
        """What a request of each pattern counts for, of BY_KIND and _BY_REQUEST; `key` are the codes as bytes."""
        if self._patterns[0] != key:
            classes, found = list(self._classes), []
            for code in codes.tolist():
                of_class = classes[code % _CLASSES]
                bits = [bool(code >> (place + 6) & 1) for place in range(len(_BY_REQUEST))]
                bits[_BY_REQUEST.index("empties")] &= of_class[_GENERATION]
                found.append([*of_class, *bits])
            self._patterns = key, np.array(found, np.float64)
        return self._patterns[1]

    def _judge(self, events: Events, group: Ints, cells: Ints) -> Ints:
        """Count what is over each level; which requests are over any."""
        at, count, bounds = self.columns.at, len(cells), self.bounds
        base, per_prompt, per_token = bounds[-3:]
        found = []
        for (name, severity), bound, lowest in zip(self.levels, bounds, self._lowest, strict=False):
            values = {"ttft_s": events.ttft_ms, "tokens_per_second": events.tpot_ms}.get(name, events.duration_ms)
            if values is None:
                continue
            over = np.flatnonzero(values > lowest)
            over = over[values[over] > bound.take(events.kind[over])]
            if len(over) and name in SIZED:
                cells[:, at[f"{name}:{severity}:any_size"]] = np.bincount(group[over], minlength=count)
                over = over[~np.isnan(events.completion_tokens[over])]  # unknown is not zero
                kind = events.kind[over]
                usual = base.take(kind) + per_prompt.take(kind) * events.uncached(over)
                if name != "ttft_s":
                    usual += per_token.take(kind) * events.completion_tokens[over]
                over = over[values[over] > usual]
            if len(over):
                cells[:, at[f"{name}:{severity}"]] = np.bincount(group[over], minlength=count)
                found.append(over)
        if not found:
            return np.empty(0, np.int64)
        if len(found) == 1:
            return found[0]
        is_slow = np.zeros(len(events), np.bool_)
        for over in found:
            is_slow[over] = True
        return np.flatnonzero(is_slow)

    def _sum_up(self, prefix: str, events: Events, timed: Mask | None, group: Ints, cells: Ints) -> None:
        """The sums of SIZES, of all or of the slow ones."""
        at, count = self.columns.at, len(cells)

        def add(name: str, values: Floats | None, known: Mask | None = None) -> None:
            if values is None:
                return
            if known is None:
                known = ~np.isnan(values)
            weights = values if known.all() else np.where(known, values, 0.0)
            cells[:, at[prefix + name]] = np.bincount(group, weights=weights, minlength=count)

        duration = _microseconds(events.duration_ms)
        add("duration_us", duration, timed)
        add("prompt_tokens", events.prompt_tokens)
        add("completion_tokens", events.completion_tokens)
        if events.cached_tokens is not None:
            add("cached_tokens", events.cached_tokens)
            add("cacheable_tokens", events.prompt_tokens, ~np.isnan(events.cached_tokens + events.prompt_tokens))
        if events.ttft_ms is not None:
            add("ttft_us", _microseconds(events.ttft_ms))
        if events.stall_max_ms is not None:
            add("stall_us", _microseconds(events.stall_max_ms))
        engine = _engine(events)
        if engine is not None:
            known = ~np.isnan(engine)
            add("engine_duration_us", duration, known)
            for part in PARTS:
                add(f"{part}_us", _microseconds(getattr(events, f"{part}_ms")), known)

    def _distribute(
        self, events: Events, timed: Mask | None, is_empty: Mask, group: Ints, cells: Ints
    ) -> tuple[Mask, Mask]:
        """Histograms of duration and TTFT, and logarithms of duration and completion; whose logarithms were taken."""
        at, count = self.columns.at, len(cells)
        duration, completion = events.duration_ms, events.completion_tokens
        usable = ~is_empty if timed is None else timed & ~is_empty
        logs = []
        for name, values in (("duration", duration), ("completion", completion)):
            known = (values > 0) & usable
            logarithm = np.log(np.where(known, values, 1.0))
            whole = np.rint(logarithm * 1000)
            cells[:, at[f"log_{name}"]] = np.bincount(group, weights=whole, minlength=count)
            cells[:, at[f"log_{name}_2"]] = np.bincount(group, weights=whole * whole, minlength=count)
            logs.append(known)
        self._histogram("duration", duration, timed, group, cells)
        if events.ttft_ms is not None:
            self._histogram("ttft", events.ttft_ms, ~np.isnan(events.ttft_ms), group, cells)
        return logs[0], logs[1]

    def _histogram(self, name: str, values: Floats, known: Mask | None, group: Ints, cells: Ints) -> None:
        if known is not None and not known.all():
            which = np.flatnonzero(known)
            group, values = group.take(which), values.take(which)
        places = ((np.log(np.maximum(values, 1.0)) - _LEAST) * _BIN).astype(np.int64)
        places = np.clip(places, 0, HISTOGRAM_BINS - 1) + group * HISTOGRAM_BINS
        counts = np.bincount(places, minlength=len(cells) * HISTOGRAM_BINS)
        cells[:, self.columns.histogram(name)] = counts.reshape(len(cells), HISTOGRAM_BINS)


def _engine(events: Events) -> Floats | None:
    """The engine's time of each request; NaN where not all of its parts are known, None where none is."""
    if events.queue_ms is None or events.prefill_ms is None or events.decode_ms is None:
        return None
    return events.queue_ms + events.prefill_ms + events.decode_ms


def _microseconds(values_ms: Floats) -> Floats:
    return np.minimum(np.rint(values_ms * 1000), _LONGEST_US)


def _only(events: Events, which: npt.NDArray[Any]) -> Events:
    """Some of the events, by mask or by place."""
    columns = {each.name: getattr(events, each.name) for each in fields(events)}
    return replace(events, **{name: column[which] for name, column in columns.items() if column is not None})
