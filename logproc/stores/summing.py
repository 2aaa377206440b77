"""Groups and steps of time, made of the durations of real requests, of rolled up minutes, or of both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast, get_args

import numpy as np

from logproc.sketch import bins_at
from logproc.stores.archive import HEAT_EDGES_MS, By, Coverage, Group, HeatOf, Percentiles, Step, Summary, Tokens
from logproc.stores.rollup import (
    COUNTS,
    MINUTE_MS,
    TIMES,
    Ints,
    Rollup,
    RollupKind,
    Sketch,
    joined_sketches,
    quantiles_by,
    sketch_of,
)
from logproc.stores.sqlite_tally import Tally

_HEATS: Final = get_args(HeatOf)
_HEAT_BINS: Final = bins_at(np.array(HEAT_EDGES_MS[:-1]))

PERCENTS: Final = (50, 95, 99)
_RANKS: Final = (0.50, 0.95, 0.99)
_NS_PER_MS: Final = 1e6
_REQUESTS, _PROMPT, _COMPLETION = (COUNTS.index(name) for name in ("requests", "prompt_tokens", "completion_tokens"))
_SHARES: Final = [TIMES.index(name) for name in ("queue_ms", "prefill_ms", "decode_ms", "timed_ms")]


def summary(tallies: Mapping[str | None, Tally], minutes: Rollup, by: By | None, coverage: Coverage) -> Summary:
    """The groups of the tallies and of the minutes, put together by their key.

    `minutes` can be grouped by model, by outcome, or not at all; for anything else it is empty, or rows by who it was.
    Percentiles are those of real requests where there are no minutes, else within 1 %.
    """
    keys = [_key(kind, by) for kind in minutes.kinds]
    counts = np.zeros((len(keys), len(COUNTS)), np.int64)
    np.add.at(counts, minutes.kind, minutes.counts)
    sums: defaultdict[str | None, _Sums] = defaultdict(_Sums)
    everything = _Sums()
    for key, tally in tallies.items():
        for each in (sums[key], everything):
            each.add(tally.outcomes, tally.tokens)
    for key, kind, count in zip(keys, minutes.kinds, counts.tolist(), strict=True):
        if count[_REQUESTS]:
            for each in (sums[key], everything):
                each.add({kind.outcome: count[_REQUESTS]}, {kind.model: Tokens(count[_PROMPT], count[_COMPLETION])})
    number = {key: place for place, key in enumerate(sums)}
    group = np.array([number.get(key, 0) for key in keys], np.int64)[minutes.kind] if keys else minutes.kind
    all_one = np.zeros_like(group)
    times, total_times = [], []
    for name, sketch in zip(("durations_ns", "ttfts_ns"), minutes.sketches, strict=True):
        parts: list[list[Ints]] = [getattr(tallies.get(key), name, []) for key in sums]
        times.append(_percentiles_ns(parts, sketch, group))
        total_times.append(_percentiles_ns([[one for part in parts for one in part]], sketch, all_one)[0])
    groups = [_group(*each) for each in zip(sums, sums.values(), *times, strict=True)]
    groups.sort(key=lambda group: (-group.requests, group.key is None, group.key or ""))
    return Summary(groups, _group(None, everything, *total_times) if groups else None, coverage)


def _key(kind: RollupKind, by: By | None) -> str | None:
    match by:
        case None:
            return None
        case "outcome":
            return kind.outcome
        case "model":
            return kind.model
        case _:
            return kind.who


@dataclass(slots=True)
class _Sums:
    outcomes: Counter[str] = field(default_factory=Counter)
    tokens: dict[str | None, Tokens] = field(default_factory=dict)

    def add(self, outcomes: Mapping[str, int], tokens: Mapping[str | None, Tokens]) -> None:
        self.outcomes.update(outcomes)
        for model, own in tokens.items():
            known = self.tokens.get(model, Tokens(0, 0))
            self.tokens[model] = Tokens(known.prompt + own.prompt, known.completion + own.completion)


def _group(key: str | None, sums: _Sums, duration_ns: Sequence[int] | None, ttft_ns: Sequence[int] | None) -> Group:
    p50, p95, p99 = duration_ns or (0, 0, 0)
    return Group(
        key,
        sums.outcomes.total(),
        sums.outcomes,
        sum(tokens.prompt for tokens in sums.tokens.values()),
        sum(tokens.completion for tokens in sums.tokens.values()),
        p50,
        p95,
        p99,
        None if ttft_ns is None else _known([value / _NS_PER_MS for value in ttft_ns]),
        sums.tokens,
    )


def _percentiles_ns(values: Sequence[Sequence[Ints]], sketch: Sketch, group: Ints) -> list[tuple[int, int, int] | None]:
    """PERCENTS of each group: the least value that so many percent do not exceed; None where there is no value.

    Args:
        values: of each group, in parts; ns.
        sketch: further values, ms. Where there are any, all percentiles are within 1 %.
        group: the group of each row of the sketch.
    """
    parts = [np.concatenate([np.empty(0, np.int64), *each]) for each in values]
    if not len(sketch.counts):
        return [_exact_percentiles(part) if len(part) else None for part in parts]
    rows = np.repeat(np.arange(len(parts)) + len(group), [len(part) for part in parts])
    whole = joined_sketches([sketch, sketch_of(rows, np.concatenate(parts) / _NS_PER_MS)])
    found = quantiles_by(whole, np.concatenate([group, np.arange(len(parts))]), len(parts), _RANKS)
    return [
        None if None in each else cast(tuple[int, int, int], tuple(round((value or 0) * _NS_PER_MS) for value in each))
        for each in found
    ]


def _exact_percentiles(values: Ints) -> tuple[int, int, int]:
    """Of whole parts only: a rank is `ceil(percent * count / 100)`, in whole numbers."""
    places = [-(-len(values) * percent // 100) - 1 for percent in PERCENTS]
    values.partition(places)
    return cast(tuple[int, int, int], tuple(values[places].tolist()))


def steps(minutes: Rollup, step_ms: int, *, by_model: bool, unit_ms: int = MINUTE_MS) -> list[Step]:
    """The minutes (or other units of time) put together to steps, oldest first, one a model where so asked."""
    if not len(minutes):
        return []
    models = sorted({kind.model for kind in minutes.kinds}, key=lambda name: (name is None, name or ""))
    model_of = np.array([models.index(kind.model) if by_model else 0 for kind in minutes.kinds], np.int64)
    time_of = minutes.minute * unit_ms // step_ms
    keys, group = np.unique(time_of * len(models) + model_of[minutes.kind], return_inverse=True)
    counts = np.zeros((len(keys), len(COUNTS)), np.int64)
    np.add.at(counts, group, minutes.counts)
    times = np.zeros((len(keys), len(TIMES)))
    np.add.at(times, group, minutes.times)
    outcomes: list[Counter[str]] = [Counter() for _ in keys]
    pairs, places = np.unique(group * len(minutes.kinds) + minutes.kind, return_inverse=True)
    requests = np.bincount(places, weights=minutes.counts[:, _REQUESTS]).astype(np.int64)
    for pair, count in zip(pairs.tolist(), requests.tolist(), strict=True):
        outcomes[pair // len(minutes.kinds)][minutes.kinds[pair % len(minutes.kinds)].outcome] += count
    duration, ttft = (quantiles_by(sketch, group, len(keys), _RANKS) for sketch in minutes.sketches)
    return [
        Step(
            key // len(models) * step_ms,
            models[key % len(models)] if by_model else None,
            count[_REQUESTS],
            outcome,
            count[_PROMPT],
            count[_COMPLETION],
            _known(durations),
            _known(ttfts),
            *(round(time[place], 3) for place in _SHARES),
        )
        for key, count, time, outcome, durations, ttfts in zip(
            keys.tolist(), counts.tolist(), times.tolist(), outcomes, duration, ttft, strict=True
        )
    ]


def heat_counts(minutes: Rollup, of: HeatOf, step_ms: int, unit_ms: int = MINUTE_MS) -> dict[tuple[int, int], int]:
    """How many requests of each step fall into each row of HEAT_EDGES_MS."""
    sketch = minutes.sketches[_HEATS.index(of)]
    row = np.clip(np.searchsorted(_HEAT_BINS, sketch.bins, "right") - 1, 0, len(_HEAT_BINS) - 1)
    times, column = np.unique(minutes.minute * unit_ms // step_ms, return_inverse=True)
    counts = np.bincount(column[sketch.rows] * len(_HEAT_BINS) + row, weights=sketch.counts).astype(np.int64)
    return {
        (int(times[cell // len(_HEAT_BINS)]) * step_ms, cell % len(_HEAT_BINS)): int(counts[cell])
        for cell in np.flatnonzero(counts).tolist()
    }


def _known(percentiles: Sequence[float | None]) -> Percentiles:
    p50, p95, p99 = percentiles
    return None if p50 is None or p95 is None or p99 is None else (round(p50, 3), round(p95, 3), round(p99, 3))
