"""Simple detectors over the same data, as many people build them: what ours must be better than.

Each looks at a minute of each model every fifteen seconds: the mean duration and TTFT, the shares of errors and of
empty answers, requests, waiting requests, KV cache and GPU memory. An alert ends when nothing was odd for a minute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.detection.scoring import Episode
from benchmarks.detection.service import (
    DISCONNECT,
    EMPTY,
    REJECTED,
    REJECTED_200,
    SERVER_ERROR,
    STREAM_ERROR,
    Heartbeats,
    Requests,
)

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

STEP_S: Final = 15
WINDOW: Final = 4
"""Steps that are judged together."""
HISTORY: Final = 240
"""An hour of steps."""
SIGMAS: Final = 3.0
ALPHA: Final = 0.05
GONE_STEPS: Final = 2
SILENT_STEPS: Final = 20

KINDS: Final = {
    "duration": "latency_p99", "ttft": "ttft", "errors": "errors", "empty": "empty", "requests": "traffic_silent",
    "waiting": "queue_growing", "kv": "kv_cache_full", "gpu": "gpu_memory",
}  # fmt: skip


@dataclass
class Signals:
    """What one model and its server did in steps of fifteen seconds; arrays grow with the week."""

    bounds_s: tuple[float, float]
    """(duration, TTFT) above which a request is slow."""
    counts: dict[str, list[Floats]] = field(default_factory=dict)

    def take(self, begin: float, end: float, requests: Requests, beats: Heartbeats) -> None:
        """Add a stretch of time."""
        steps = int(end - begin) // STEP_S
        place = np.clip(((requests.finish - begin) // STEP_S).astype(np.int64), 0, steps - 1)
        duration = requests.finish - requests.arrival
        timed = ~np.isin(requests.outcome, (REJECTED, REJECTED_200))
        streams = ~np.isnan(requests.ttft)
        answerable = ~np.isin(requests.outcome, (REJECTED, DISCONNECT))
        errors = np.isin(requests.outcome, (SERVER_ERROR, STREAM_ERROR, REJECTED_200))
        columns: dict[str, tuple[Floats | Mask, Mask]] = {
            "requests": (np.ones(len(requests)), np.ones(len(requests), np.bool_)),
            "timed": (np.ones(len(requests)), timed),
            "duration": (duration, timed),
            "slow": (duration > self.bounds_s[0], timed),
            "streams": (np.ones(len(requests)), streams),
            "ttft": (np.nan_to_num(requests.ttft), streams),
            "slow_ttft": (np.nan_to_num(requests.ttft) > self.bounds_s[1], streams),
            "answerable": (np.ones(len(requests)), answerable),
            "errors": (errors, answerable),
            "empty": (requests.outcome == EMPTY, answerable),
        }
        for name, (values, which) in columns.items():
            found: Floats = np.bincount(place[which], weights=values[which].astype(float), minlength=steps).astype(
                float
            )
            self.counts.setdefault(name, []).append(found)
        beat = np.clip(((beats.time - begin) // STEP_S).astype(np.int64), 0, steps - 1)
        for name, gauge in (("waiting", beats.waiting), ("kv", beats.kv_usage), ("gpu", beats.gpu_bytes)):
            highest = np.full(steps, np.nan)
            highest[beat] = gauge
            self.counts.setdefault(name, []).append(highest)

    def window(self, name: str) -> Floats:
        """The sums over the last minute, at each step."""
        until = np.cumsum(np.concatenate(self.counts[name]))
        before = np.concatenate([np.zeros(WINDOW), until[:-WINDOW]])
        found: Floats = until - before
        return found

    def gauge(self, name: str) -> Floats:
        """The newest value at each step, NaN where there was none for half a minute."""
        values = np.concatenate(self.counts[name])
        earlier = np.concatenate([[np.nan], values[:-1]])
        found: Floats = np.where(np.isnan(values), earlier, values)
        return found

    def values(self) -> dict[str, Floats]:
        """One number a step for each of KINDS; NaN where nothing is known."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = {
                name: self.window(name) / self.window(of)
                for name, of in (("duration", "timed"), ("ttft", "streams"), ("errors", "answerable"),
                                 ("empty", "answerable"))
            }  # fmt: skip
        return means | {"requests": self.window("requests")} | {n: self.gauge(n) for n in ("waiting", "kv", "gpu")}


def fixed(signals: Signals) -> list[tuple[str, Mask]]:
    """The thresholds of the default settings, as they are, without a guard: (kind, odd at each step)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        slow = signals.window("slow") / signals.window("timed") > 0.01
        first = signals.window("slow_ttft") / signals.window("streams") > 0.01
    values = signals.values()
    requests = np.concatenate(signals.counts["requests"])
    beats = ~np.isnan(np.concatenate(signals.counts["kv"]))
    return [
        ("latency_p99", slow),
        ("ttft", first),
        ("errors", values["errors"] > 0.05),
        ("empty", values["empty"] > 0.01),
        ("queue_growing", values["waiting"] > 5),
        ("kv_cache_full", values["kv"] > 0.95),
        ("traffic_silent", _none_for(requests > 0, SILENT_STEPS)),
        ("server_gone", _none_for(beats, GONE_STEPS)),
    ]


def held(signals: Signals) -> list[tuple[str, Mask]]:
    """The same thresholds, but passed for five minutes without a break: what people add to a rule that fires often."""
    waited = {"traffic_silent", "server_gone"}
    return [(kind, odd if kind in waited else _without_a_break(odd, 20)) for kind, odd in fixed(signals)]


def rolling(signals: Signals) -> list[tuple[str, Mask]]:
    """More than three standard deviations from the mean of the last hour."""
    return [(KINDS[name], _away(values, *_past(values), name)) for name, values in signals.values().items()]


def rolling_held(signals: Signals) -> list[tuple[str, Mask]]:
    """The same for two minutes without a break: of 30 settings the best on the seeds for tuning."""
    return [(kind, _without_a_break(odd, 8)) for kind, odd in rolling(signals)]


def ewma(signals: Signals) -> list[tuple[str, Mask]]:
    """More than three standard deviations from an exponentially weighted mean."""
    return [(KINDS[name], _away(values, *_weighted(values), name)) for name, values in signals.values().items()]


def _away(values: Floats, mean: Floats, sd: Floats, name: str) -> Mask:
    with np.errstate(invalid="ignore"):
        low = values < mean - SIGMAS * sd
        return low if name == "requests" else values > mean + SIGMAS * sd


def _past(values: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)

    def over_the_hour(each: Floats) -> Floats:
        until = np.concatenate([[0.0], np.cumsum(each)])
        at = np.arange(len(each))
        found: Floats = until[at] - until[np.maximum(0, at - HISTORY)]
        return found

    count = over_the_hour(known.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = over_the_hour(filled) / count
        sd = np.sqrt(np.maximum(over_the_hour(filled * filled) / count - mean * mean, 0.0))
    young = (count < HISTORY / 4) | (np.arange(len(values)) < HISTORY)
    return np.where(young, np.nan, mean), sd


def _weighted(values: Floats) -> tuple[Floats, Floats]:
    mean, variance, seen = np.nan, 0.0, 0
    means, sds = [], []
    for value in values.tolist():
        means.append(mean if seen >= HISTORY else np.nan)
        sds.append(variance**0.5)
        if not math.isnan(value):
            away = value - mean if seen else 0.0
            mean = mean + ALPHA * away if seen else value
            variance = (1 - ALPHA) * (variance + ALPHA * away * away)
            seen += 1
    return np.array(means), np.array(sds)


def _without_a_break(odd: Mask, steps: int) -> Mask:
    """Whether it was so at each of so many steps."""
    until = np.concatenate([np.zeros(steps, np.int64), np.cumsum(odd)])
    found: Mask = until[steps:] - until[:-steps] == steps
    return found


def _none_for(there: Mask, steps: int) -> Mask:
    """Whether there was nothing for so many steps."""
    at = np.arange(len(there))
    last = np.maximum.accumulate(np.where(there, at, -1))
    found: Mask = (at - last >= steps) & (last >= 0)
    return found


def episodes(odd: Sequence[tuple[str, Mask]], model: str, host: str) -> list[Episode]:
    """The alerts of one model: what is odd at less than a minute's distance is one."""
    found = []
    for kind, mask in odd:
        at = np.flatnonzero(mask)
        if not len(at):
            continue
        cuts = np.flatnonzero(np.diff(at) > WINDOW)
        of_host = kind in {"queue_growing", "kv_cache_full", "gpu_memory", "server_gone"}
        for first, last in zip(at[[0, *(cuts + 1)]].tolist(), at[[*cuts, len(at) - 1]].tolist(), strict=True):
            fires, ends = (first + 1) * STEP_S, (last + 1 + WINDOW) * STEP_S
            found.append(Episode(fires, ends, kind, None if of_host else model, host if of_host else None))
    return found


def random(ours: Sequence[Episode], seconds: float, rng: np.random.Generator) -> list[Episode]:
    """As many alerts as ours and as long, at random times."""
    begins = rng.uniform(0, seconds, len(ours)).tolist()
    return [Episode(begin, begin + each.ends - each.fires, None) for begin, each in zip(begins, ours, strict=True)]
