"""Groups and steps of time, made of the durations of real requests, of rolled up minutes, or of both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, cast, get_args

import numpy as np

from logproc.sketch import BINS, bin_values, bins_at, bins_of
from logproc.stores.archive import HEAT_EDGES_MS, By, Coverage, Group, HeatOf, Percentiles, Step, Summary, Tokens
from logproc.stores.rollup import COUNTS, MINUTE_MS, TIMES, Ints, Rollup, RollupKind, Sketch, quantiles_by
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
    """
    keys = [_key(kind, by) for kind in minutes.kinds]
    rows = np.array([keys.index(key) for key in keys], np.int64)[minutes.kind] if len(minutes) else minutes.kind
    held = {keys[place]: minutes.rows(rows == place) for place in np.unique(rows).tolist()}
    nothing, none = Tally(), minutes.rows(np.zeros(len(minutes), np.bool_))
    groups = [_group(key, [tallies.get(key, nothing)], held.get(key, none)) for key in {*tallies, *held}]
    groups.sort(key=lambda group: (-group.requests, group.key is None, group.key or ""))
    total = _group(None, list(tallies.values()), minutes) if groups else None
    return Summary(groups, total, coverage)


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


def _group(key: str | None, tallies: Sequence[Tally], minutes: Rollup) -> Group:
    outcomes: Counter[str] = Counter()
    tokens: defaultdict[str | None, tuple[int, int]] = defaultdict(lambda: (0, 0))

    def add(model: str | None, prompt: int, completion: int) -> None:
        known = tokens[model]
        tokens[model] = known[0] + prompt, known[1] + completion

    for tally in tallies:
        outcomes += tally.outcomes
        for model, own in tally.tokens.items():
            add(model, *own)
    present, place = np.unique(minutes.kind, return_inverse=True)
    counts = np.zeros((len(present), len(COUNTS)), np.int64)
    np.add.at(counts, place, minutes.counts)
    for number, count in zip(present.tolist(), counts.tolist(), strict=True):
        kind = minutes.kinds[number]
        outcomes[kind.outcome] += count[_REQUESTS]
        add(kind.model, count[_PROMPT], count[_COMPLETION])
    duration, ttft = minutes.sketches
    p50, p95, p99 = _percentiles_ns([part for tally in tallies for part in tally.durations_ns], duration) or (0, 0, 0)
    first = _percentiles_ns([part for tally in tallies for part in tally.ttfts_ns], ttft)
    return Group(
        key,
        outcomes.total(),
        outcomes,
        sum(prompt for prompt, _ in tokens.values()),
        sum(completion for _, completion in tokens.values()),
        p50,
        p95,
        p99,
        first and _known([value / _NS_PER_MS for value in first]),
        {model: Tokens(*own) for model, own in tokens.items()},
    )


def _percentiles_ns(parts: Sequence[Ints], sketch: Sketch) -> tuple[int, int, int] | None:
    """Each the least value that so many percent of the values do not exceed; within 1 % where some are in a sketch.

    Of whole parts only: a rank is `ceil(percent * count / 100)`, in whole numbers.
    """
    values = np.concatenate([np.empty(0, np.int64), *parts])
    if not len(values) and not len(sketch.counts):
        return None
    if not len(sketch.counts):
        places = [-(-len(values) * percent // 100) - 1 for percent in PERCENTS]
        values.partition(places)
        return cast(tuple[int, int, int], tuple(values[places].tolist()))
    bins = bins_of(values / _NS_PER_MS) + np.bincount(sketch.bins, weights=sketch.counts, minlength=BINS).astype(
        np.int64
    )
    below = np.cumsum(bins)
    ranks = [-(-int(below[-1]) * percent // 100) for percent in PERCENTS]
    found = bin_values(np.searchsorted(below, ranks))
    return cast(tuple[int, int, int], tuple(round(each * _NS_PER_MS) for each in found.tolist()))


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
    time = minutes.minute[sketch.rows] * unit_ms // step_ms
    row = np.clip(np.searchsorted(_HEAT_BINS, sketch.bins, "right") - 1, 0, len(_HEAT_BINS) - 1)
    cells, places = np.unique(time * len(_HEAT_BINS) + row, return_inverse=True)
    counts = np.bincount(places, weights=sketch.counts).astype(np.int64)
    return {
        (cell // len(_HEAT_BINS) * step_ms, cell % len(_HEAT_BINS)): count
        for cell, count in zip(cells.tolist(), counts.tolist(), strict=True)
    }


def _known(percentiles: Sequence[float | None]) -> Percentiles:
    p50, p95, p99 = percentiles
    return None if p50 is None or p95 is None or p99 is None else (round(p50, 3), round(p95, 3), round(p99, 3))
