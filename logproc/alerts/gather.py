"""Events → buckets: many thousand requests are added up by model and second in a few calls of numpy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from logproc.alerts.buckets import Buckets
from logproc.alerts.columns import COARSE, HISTOGRAM_BINS, LATENCY, SIZED, Columns, Ints, levels, severities
from logproc.events import TOO_LATE, Events, Floats
from logproc.flags import FLAGS
from logproc.kinds import Kind, Kinds
from logproc.record import GENERATION
from logproc.settings import Thresholds
from logproc.sketch import bins_at

MOST_MODELS: Final = 32
"""Later ones are one model, OTHER."""
OTHER: Final = "__other__"

_BY_KIND: Final = (
    "requests", "timed", "answerable", "errors", "generations", "disconnects", "stream_errors", "server_errors",
    "rejected_200",
)  # fmt: skip
"""What counts by the kind of a request alone."""

_LONGEST_US: Final = float(1 << 41)
"""25 days; a longer time is counted as this, so that sums of a second stay exact."""
_EMPTY: Final = 1
"""The flag `empty_completion`."""
_STALL: Final = 1 << FLAGS.index("stall")

Mask = npt.NDArray[np.bool_]


class Gatherer:
    """Adds events up into buckets; knows the thresholds, and the models by number."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.columns = Columns.of(thresholds)
        self._thresholds = thresholds
        self._levels = [(name, severity) for name in LATENCY for severity in severities(thresholds, name)]
        self._models: dict[str, int] = {}
        self._classes: dict[tuple[bool, ...], int] = {}
        self.forget()

    def know(self, models: Iterable[str]) -> None:
        """Models of an earlier run: these are never folded into OTHER."""
        for model in models:
            self._models.setdefault(model, len(self._models))

    def forget(self) -> None:
        """The kinds will be numbered anew."""
        self._known = 0
        self._model: list[int] = []
        self._class: list[int] = []
        self._bounds: list[list[float]] = []
        self._arrays: tuple[Ints, Ints, list[Floats]] = (np.empty(0, np.int64), np.empty(0, np.int64), [])

    def _learn(self, kinds: Kinds) -> None:
        for kind in kinds.list[self._known :]:
            model = kind.model if kind.model in self._models or len(self._models) < MOST_MODELS else OTHER
            self._model.append(self._models.setdefault(model, len(self._models)))
            counted = _counted(kind)
            self._class.append(self._classes.setdefault(counted, len(self._classes)))
            self._bounds.append(self._bounds_of(kind))
        if self._known < len(kinds.list):
            self._known = len(kinds.list)
            bounds = np.array(self._bounds).T
            self._arrays = (
                np.array(self._model),
                np.array(self._class),
                [np.ascontiguousarray(each) for each in bounds],
            )

    def _bounds_of(self, kind: Kind) -> list[float]:
        """Of each level the bound in ms (a token, for speeds), then what a request of no size may take."""
        own = self._thresholds.models.get(kind.model)
        size = own.slow_for_size if own and "slow_for_size" in own.model_fields_set else self._thresholds.slow_for_size
        found = []
        for name, severity in self._levels:
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
        self._learn(kinds)
        if len(events) and events.second.min() == TOO_LATE:
            keep = events.second != TOO_LATE
            events, flags = _only(events, keep), flags[keep]
        if not len(events):
            return
        base = int(events.second.min())
        span = int(events.second.max()) - base + 1
        group = self._arrays[0][events.kind] * span + (events.second - base)
        count = span * len(self._models)
        if count > 2 * len(events) + 4096:
            places, group = np.unique(group, return_inverse=True)
            count = len(places)
        else:
            places = np.arange(count)
        cells = self._cells(events, flags, group, count)
        used = np.flatnonzero(cells[0])
        rows, names = np.ascontiguousarray(cells[:, used].T), list(self._models)
        for place, row in zip(places[used].tolist(), rows, strict=True):
            buckets.add_row(names[place // span], base + place % span, row)

    def _cells(self, events: Events, flags: npt.NDArray[np.uint8], group: Ints, count: int) -> Ints:
        """The sums by group; shape (columns, groups)."""
        at = self.columns.at
        cells = np.zeros((len(self.columns), count), np.int64)
        classes = self._arrays[1][events.kind]
        by_class = np.bincount(group * len(self._classes) + classes, minlength=count * len(self._classes))
        table = np.array(list(self._classes), np.int64)
        for name, counts in zip(_BY_KIND, table.T @ by_class.reshape(count, -1).T, strict=True):
            cells[at[name]] = counts
        empty = np.flatnonzero(flags & _EMPTY)
        if len(empty):
            empty = empty[table[:, _BY_KIND.index("generations")][classes[empty]] > 0]
            cells[at["empties"]] = np.bincount(group[empty], minlength=count)
        stalled = np.flatnonzero(flags & _STALL)
        if len(stalled):
            cells[at["stalled"]] = np.bincount(group[stalled], minlength=count)
        timed = None
        is_timed = table[:, _BY_KIND.index("timed")] > 0
        if not is_timed.all():
            timed = is_timed[classes]
        slow = self._judge(events, group, cells)
        self._sum_up("", events, timed, group, cells)
        if len(slow):
            cells[at["slow_requests"]] = np.bincount(group[slow], minlength=count)
            self._sum_up("slow_", _only(events, slow), None, group[slow], cells)
        self._distribute(events, timed, flags & _EMPTY > 0, group, cells)
        return cells

    def _judge(self, events: Events, group: Ints, cells: Ints) -> Ints:
        """Count what is over each level; which requests are over any."""
        at, count, bounds = self.columns.at, cells.shape[1], self._arrays[2]
        base, per_prompt, per_token = bounds[-3:]
        ttft, speed = events.ttft_ms, events.tpot_ms
        cells[at["first_tokens"]] = 0 if ttft is None else np.bincount(group[~np.isnan(ttft)], minlength=count)
        cells[at["speeds"]] = 0 if speed is None else np.bincount(group[~np.isnan(speed)], minlength=count)
        found = []
        for (name, severity), bound in zip(self._levels, bounds, strict=False):
            values = ttft if name == "ttft_s" else speed if name == "tokens_per_second" else events.duration_ms
            if values is None:
                continue
            over = np.flatnonzero(values > bound[events.kind])
            if len(over) and name in SIZED:
                cells[at[f"{name}:{severity}:any_size"]] = np.bincount(group[over], minlength=count)
                over = over[~np.isnan(events.completion_tokens[over])]  # unknown is not zero
                kind = events.kind[over]
                prompt = np.nan_to_num(events.prompt_tokens[over])
                if events.cached_tokens is not None:
                    prompt = np.maximum(prompt - np.nan_to_num(events.cached_tokens[over]), 0)
                usual = base[kind] + per_prompt[kind] * prompt
                if name != "ttft_s":
                    usual += per_token[kind] * np.nan_to_num(events.completion_tokens[over])
                over = over[values[over] > usual]
            if len(over):
                cells[at[f"{name}:{severity}"]] = np.bincount(group[over], minlength=count)
                found.append(over)
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def _sum_up(self, prefix: str, events: Events, timed: Mask | None, group: Ints, cells: Ints) -> None:
        """The columns SIZES, of all or of the slow ones."""
        at, count = self.columns.at, cells.shape[1]

        def add(name: str, values: Floats, counted: str | None = None) -> None:
            known = ~np.isnan(values)
            if counted is not None:
                cells[at[prefix + counted]] = np.bincount(group[known], minlength=count)
            weights = values if known.all() else np.where(known, values, 0.0)
            cells[at[prefix + name]] = np.bincount(group, weights=weights, minlength=count)

        duration = _microseconds(events.duration_ms)
        add("duration_us", duration if timed is None else np.where(timed, duration, 0.0))
        add("prompt_tokens", events.prompt_tokens, "prompts")
        add("completion_tokens", events.completion_tokens, "completions")
        if events.cached_tokens is not None:
            add("cached_tokens", events.cached_tokens)
            add("cacheable_tokens", np.where(np.isnan(events.cached_tokens), 0.0, events.prompt_tokens))
        if events.ttft_ms is not None:
            add("ttft_us", _microseconds(events.ttft_ms))
        if events.stall_max_ms is not None:
            add("stall_us", _microseconds(events.stall_max_ms))
        queue, prefill, decode = events.queue_ms, events.prefill_ms, events.decode_ms
        if queue is not None and prefill is not None and decode is not None:
            known = ~np.isnan(queue + prefill + decode)
            if not known.all():
                group, duration = group[known], duration[known]
                queue, prefill, decode = queue[known], prefill[known], decode[known]
            cells[at[prefix + "engine"]] = np.bincount(group, minlength=count)
            add("engine_duration_us", duration)
            add("queue_us", _microseconds(queue))
            add("prefill_us", _microseconds(prefill))
            add("decode_us", _microseconds(decode))

    def _distribute(self, events: Events, timed: Mask | None, is_empty: Mask, group: Ints, cells: Ints) -> None:
        """Histograms of duration and TTFT, and logarithms of duration and completion."""
        at, count = self.columns.at, cells.shape[1]
        for name, values, mask in (("duration", events.duration_ms, timed), ("ttft", events.ttft_ms, None)):
            if values is None:
                continue
            known = ~np.isnan(values) if mask is None else mask
            which, seen = (group, values) if known.all() else (group[known], values[known])
            places = which * HISTOGRAM_BINS + COARSE[bins_at(seen)]
            counts = np.bincount(places, minlength=count * HISTOGRAM_BINS).reshape(count, HISTOGRAM_BINS)
            cells[self.columns.histogram(name)] = counts.T
        for name, values in (("duration", events.duration_ms), ("completion", events.completion_tokens)):
            known = (values > 0) & ~is_empty
            if timed is not None:
                known &= timed
            which, seen = (group, values) if known.all() else (group[known], values[known])
            logarithm = np.rint(np.log(seen) * 1000)
            cells[at[f"log_{name}s"]] = np.bincount(which, minlength=count)
            cells[at[f"log_{name}"]] = np.bincount(which, weights=logarithm, minlength=count)
            cells[at[f"log_{name}_2"]] = np.bincount(which, weights=logarithm * logarithm, minlength=count)


def _counted(kind: Kind) -> tuple[bool, ...]:
    """Which of `_BY_KIND` a request of this kind counts for."""
    is_2xx = 200 <= kind.status < 300
    stream_error = kind.outcome == "stream_error"
    server_error = kind.status >= 500 or kind.outcome == "server_error"
    rejected_200 = kind.outcome == "rejected" and is_2xx
    answerable = not 400 <= kind.status < 500
    generation = (
        kind.operation in GENERATION and is_2xx and kind.outcome in {"ok", "empty", "truncated", "reasoning_only"}
    )
    error = answerable and (stream_error or server_error or rejected_200)
    left = kind.outcome == "client_disconnect"
    timed = kind.outcome != "rejected"
    return (True, timed, answerable, error, generation, left, stream_error, server_error, rejected_200)


def _microseconds(values_ms: Floats) -> Floats:
    return np.minimum(np.rint(values_ms * 1000), _LONGEST_US)


def _only(events: Events, which: npt.NDArray[Any]) -> Events:
    """Some of the events, by mask or by place."""
    columns = {each.name: getattr(events, each.name) for each in fields(events)}
    return replace(events, **{name: column[which] for name, column in columns.items() if column is not None})
