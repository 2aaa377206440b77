"""The scorecard: what requests of a range of time came to, beside the target of each figure. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from logproc.events import LEAST_TOKENS_FOR_SPEED
from logproc.report.seen import Bools, Floats, Seen
from logproc.settings import Levels, Settings

Unit = Literal["s", "1/s", "ratio", "tokens/s", "bytes"]

ALL: Final = "all models"
_ANSWERED: Final = ("ok", "empty", "truncated", "reasoning_only")


@dataclass(frozen=True)
class Figure:
    """One line of the scorecard.

    `value` and `before` (the range before of the same length) are None where nothing is known; `target` is None where
    there is none. `at_least`: whether the value should reach the target; else it should not exceed it.
    """

    name: str
    title: str
    unit: Unit
    value: float | None
    before: float | None
    target: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or nothing is known."""
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def trend(self) -> float | None:
        """The change against the range before, as a ratio of it: 0.1 is a tenth more."""
        if self.value is None or not self.before:
            return None
        return self.value / self.before - 1


@dataclass(frozen=True)
class Card:
    """The figures of one model, or of all of them."""

    model: str
    requests: int
    outcomes: Mapping[str, int]
    seconds: float
    """From when the first of the requests came to when the last of them ended."""
    figures: tuple[Figure, ...]

    @property
    def missed(self) -> tuple[Figure, ...]:
        """The figures that miss their target."""
        return tuple(figure for figure in self.figures if figure.met is False)


def scorecard(now: Seen, before: Seen, gpu_memory: tuple[float | None, float | None], settings: Settings) -> list[Card]:
    """A card for all requests, and one a model where there are several.

    Args:
        now: the requests of the range.
        before: those of the range before it.
        gpu_memory: the largest share of a GPU's memory in use, and the largest number of bytes; None where unknown.
        settings: targets and thresholds.
    """
    models = now.models
    cards = [_card(ALL if len(models) != 1 else models[0], now, before, settings, gpu_memory)]
    if len(models) > 1:
        for model in models:
            own, earlier = now.of(now.model == model), before.of(before.model == model)
            cards.append(_card(model, own, earlier, settings, None))
    return cards


def _card(
    model: str, now: Seen, before: Seen, settings: Settings, gpu_memory: tuple[float | None, float | None] | None
) -> Card:
    thresholds, targets = settings.thresholds, settings.targets
    own = thresholds.models.get(model)

    def level(name: str) -> float | None:
        levels: Levels = (own and getattr(own, name, None)) or getattr(thresholds, name)
        return levels.lowest

    one, other = _figures(now), _figures(before)

    def figure(name: str, title: str, unit: Unit, target: float | None = None, *, at_least: bool = False) -> Figure:
        return Figure(name, title, unit, one[name], other[name], target, at_least)

    of_server = gpu_memory is not None  # what a whole server should reach is asked of no single model
    figures = [
        figure(
            "requests_per_second", "requests a second", "1/s",
            targets.requests_per_second if of_server else None, at_least=True,
        ),
        figure(
            "server_tokens_per_second", "tokens a second, all requests", "tokens/s",
            targets.server_tokens_per_second if of_server else None, at_least=True,
        ),
        figure("ttft_p50_s", "time to first token, P50", "s"),
        figure("ttft_p95_s", "time to first token, P95", "s", targets.ttft_s),
        figure("duration_p50_s", "duration, P50", "s"),
        figure("duration_p95_s", "duration, P95", "s", level("duration_p95_s")),
        figure("duration_p99_s", "duration, P99", "s", level("duration_s")),
        figure("tokens_per_second_p5", "tokens a second of one request, P5", "tokens/s", level("tokens_per_second"),
               at_least=True),
        figure("error_ratio", "errors", "ratio", thresholds.error_ratio.lowest),
        figure("empty_ratio", "empty completions", "ratio", thresholds.empty_ratio.lowest),
    ]  # fmt: skip
    if gpu_memory is not None:
        ratio, octets = gpu_memory
        title = "GPU memory in use at most"
        figures += [
            Figure("gpu_memory_ratio", title, "ratio", ratio, None, thresholds.gpu_memory_ratio.lowest),
            Figure("gpu_memory_bytes", title, "bytes", octets, None, thresholds.gpu_memory_bytes.lowest),
        ]
    names, counts = np.unique(now.outcome, return_counts=True)
    outcomes = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
    told = [figure for figure in figures if figure.value is not None or figure.target is not None]
    return Card(model, len(now), outcomes, _seconds(now), tuple(told))


def _seconds(seen: Seen) -> float:
    if not len(seen):
        return 0.0
    return float(seen.time_s.max() - (seen.time_s - seen.duration_s).min())


def _figures(seen: Seen) -> dict[str, float | None]:
    seconds = _seconds(seen)
    served = seen.outcome != "rejected"
    durations = seen.duration_s[served]
    decode, completion = decodes(seen)
    answerable = (seen.status < 400) | (seen.status >= 500)
    error = (seen.status >= 500) | np.isin(seen.outcome, ("server_error", "stream_error"))
    error |= (seen.outcome == "rejected") & (seen.status < 300)
    answered = seen.generates & (seen.status < 300) & np.isin(seen.outcome, _ANSWERED)
    return {
        "requests_per_second": len(seen) / seconds if seconds else None,
        "server_tokens_per_second": float(np.nansum(seen.completion)) / seconds if seconds else None,
        "ttft_p50_s": _percentile(seen.ttft_s, 50),
        "ttft_p95_s": _percentile(seen.ttft_s, 95),
        "duration_p50_s": _percentile(durations, 50),
        "duration_p95_s": _percentile(durations, 95),
        "duration_p99_s": _percentile(durations, 99),
        "tokens_per_second_p5": _percentile((completion - 1) / decode, 5),
        "error_ratio": _ratio(error, answerable),
        "empty_ratio": _ratio(seen.empty, answered),
    }


def decodes(seen: Seen) -> tuple[Floats, Floats]:
    """Decode times (seconds) and completion tokens of the requests that tell them and have at least 16 tokens."""
    decode = np.where(np.isnan(seen.decode_s), seen.duration_s - seen.ttft_s, seen.decode_s)
    known = (seen.completion >= LEAST_TOKENS_FOR_SPEED) & (decode > 0)
    return decode[known], seen.completion[known]


def _percentile(values: Floats, rank: float) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.percentile(known, rank, method="inverted_cdf")) if len(known) else None


def _ratio(part: Bools, whole: Bools) -> float | None:
    total = int(whole.sum())
    return int((part & whole).sum()) / total if total else None
