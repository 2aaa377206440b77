"""Rules on what is usual: traffic that falls silent, latency and lengths that drift away from those of past days."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from logproc.alerts.silence import EXPECTED
from logproc.alerts.usual import LEAST_DAYS
from logproc.rules.ladder import KEEP_S, Rung, runbook, rungs
from logproc.rules.promql import HELD, LAG_LIMIT_S, span
from logproc.rules.rule import Alerting, Check, Fired, Group, Recording, Series, Trial
from logproc.rules.trial import MODEL, flat, judged_at, lag, merged, plain, rising, series
from logproc.settings import Levels, Thresholds

LEAST_WINDOW_S: Final = 120.0
"""In a shorter one a usual scrape interval leaves too few samples to see that nothing came."""

BUSY_DAYS: Final = (1, 2, 7)
"""So many days ago it must have been busy at this time, as far as known: with the weekday of today among them."""

PAST_DAYS: Final = (1, 2, 3, 4, 5, 6, 7)

LEAST_MEAN_OF: Final = 100
"""A mean of fewer requests an hour says little."""

_DAY_MINUTES: Final = 1440
_HISTORY_MINUTES: Final = LEAST_DAYS * _DAY_MINUTES + 70
"""So long everything is as usual in a trial."""
_SAMPLES: Final = _HISTORY_MINUTES + 1500


def groups(thresholds: Thresholds, namespace: str) -> Iterator[Group]:
    """Silence and drift; a trial over days is slow, so that there is one of each alone."""
    yield _silence(thresholds.silent_s, f"{namespace}_requests_total", f"{namespace}_requests")
    yield _drift(thresholds.drift, namespace)


def _on_days(recorded: str, days: Iterable[int], indent: str) -> str:
    """A recorded series as it was at this time on past days, side by side."""
    past = (f'label_replace({recorded} offset {day}d, "day", "{day}", "", "")' for day in days)
    return f"\n{indent}or ".join(past)


def _silence(levels: Levels, metric: str, name: str) -> Group:
    """Nothing for some time, though there was enough at this time on past days."""

    def window(level: float) -> float:
        return max(level, LEAST_WINDOW_S)

    def rule(severity: str, level: float) -> Alerting:
        told = span(window(level))
        recorded = f"model:{name}:increase{told}"
        past = f"(\n  {_on_days(recorded, BUSY_DAYS, '  ')}\n)"
        return Alerting(
            "TrafficSilent",
            "traffic_silent",
            severity,
            f"{recorded} == 0\n"
            f"and on(model) min by (model) {past} > {EXPECTED:g}\n"
            f"and on(model) count by (model) {past} >= {LEAST_DAYS}",
            f"{{{{ $labels.model }}}}: no request for {told}, though over {EXPECTED:g} came at this time on past days",
            f"{{{{ $labels.model }}}}：{told} 内没有请求，而过去几天同一时段都超过 {EXPECTED:g} 个",
            runbook("traffic_silent"),
            levels.for_s,
            KEEP_S[severity],
        )

    ladder = rungs(levels, rule)
    recordings = (
        Recording(f"model:{name}:increase{span(each)}", f"sum by (model) (increase({metric}[{span(each)}]) {HELD})")
        for each in sorted({window(rung.level) for rung in ladder})
    )
    rules = tuple(rung.rule for rung in ladder)
    return Group(f"{name}_silence", tuple(recordings), rules, tuple(_silence_trials(ladder, metric, levels, window)))


def _silence_trials(
    ladder: list[Rung], metric: str, levels: Levels, window: Callable[[float], float]
) -> Iterator[Trial]:
    """One model falls silent after days, one goes on, one had few requests anyway; one is seen by who lags."""
    if not ladder:
        return
    last = _HISTORY_MINUTES
    least = min(window(rung.level) for rung in ladder)

    def counted(per_minute: float, model: str, *, goes_on: bool = False, **where: str) -> Series:
        values = f"0+{plain(per_minute)}x{last} " + flat(math.ceil(per_minute * last))
        labels = {"operation": "chat", "status": "200", "outcome": "ok", **where}
        return series(metric, rising(per_minute, _SAMPLES) if goes_on else values, model=model, **labels)

    seen = merged(
        counted(60 * 2 * EXPECTED / least, MODEL),
        counted(60 * 2 * EXPECTED / least, "busy", goes_on=True),
        counted(0.9 * 60 * EXPECTED / max(window(rung.level) for rung in ladder), "rarely-used"),
        counted(60 * 2 * EXPECTED / least, "held-back", instance="lagging:9470"),
        lag(0, _SAMPLES),
        lag(LAG_LIMIT_S, _SAMPLES, instance="lagging:9470"),
    )
    times = [(judged_at((last + 1) * 60 + window(rung.level), levels.for_s), rung.rule) for rung in ladder]
    name = ladder[0].rule.name
    yield Trial(
        f"{name}: one of several models falls silent",
        seen,
        tuple(
            Check(name, at_s, tuple(Fired(rule, {"model": MODEL}) for noticed_s, rule in times if noticed_s <= at_s))
            for at_s in sorted({judged_at(last * 60), *(noticed_s for noticed_s, _ in times)})
        ),
    )


def _drift(levels: Levels, namespace: str) -> Group:
    """The mean of the last hour against the median of the same hour on past days."""
    duration, length = f"{namespace}_request_duration_seconds", f"{namespace}_completion_tokens"
    tokens = f"{namespace}_tokens_total"
    count = f"sum by (model) (increase({duration}_count[1h]) {HELD})"
    recordings = [
        *_drift_recordings(duration, f"sum by (model) (increase({duration}_sum[1h]) {HELD})", count),
        *_drift_recordings(length, f'sum by (model) (increase({tokens}{{type="completion"}}[1h]) {HELD})', count),
    ]
    slower = _drift_rungs(
        levels,
        "DriftOfLatency",
        lambda level: f"model:{duration}:drift > {level:g}",
        ("requests of the last hour took", "请求耗时"),
    )
    longer = _drift_rungs(
        levels,
        "DriftOfLength",
        lambda level: f"model:{length}:drift > {level:g} or model:{length}:drift < 1 / {level:g}",
        ("answers of the last hour were", "回答长度"),
    )
    rules = tuple(rung.rule for rung in (*slower, *longer))
    return Group(
        f"{namespace}_drift", tuple(recordings), rules, tuple(_drift_trials(slower, longer, levels, namespace))
    )


def _drift_trials(slower: list[Rung], longer: list[Rung], levels: Levels, namespace: str) -> Iterator[Trial]:
    """Models whose requests, and others whose answers, become so many times as long after days of one length."""
    if not slower:
        return
    last = _HISTORY_MINUTES
    at_s = judged_at((last + 70) * 60, levels.for_s)
    ratios = [ratio for rung in slower for ratio in (rung.level * 0.99, rung.level * 1.24)]
    latencies = {f"latency-{ratio:.4g}": ratio for ratio in ratios}
    lengths = {f"length-{ratio:.4g}": ratio for ratio in (*ratios, 1 / ratios[-1])}

    def model(name: str, times_slower: float, times_longer: float) -> Series:
        """100 requests a minute of 2 s and 100 tokens, at first."""
        duration, where = f"{namespace}_request_duration_seconds", {"model": name, "operation": "chat"}

        def grows(step: float, times: float) -> str:
            return f"0+{plain(step)}x{last} {plain(step * last)}+{plain(step * times)}x1500"

        return merged(
            series(f"{duration}_sum", grows(200, times_slower), **where),
            series(f"{duration}_count", grows(100, 1), **where),
            series(f"{namespace}_tokens_total", grows(10_000, times_longer), model=name, type="completion"),
        )

    def fires(ladder: list[Rung], models: dict[str, float], *, both_ways: bool) -> tuple[Fired, ...]:
        return tuple(
            Fired(rung.rule, {"model": name}, f"{ratio:.1f}")
            for name, ratio in models.items()
            for rung in ladder
            if (max(ratio, 1 / ratio) if both_ways else ratio) > rung.level
        )

    seen = merged(
        *(model(name, ratio, 1) for name, ratio in latencies.items()),
        *(model(name, 1, ratio) for name, ratio in lengths.items()),
        lag(0, _SAMPLES),
    )
    before_s = judged_at(last * 60)
    checks = (
        Check(slower[0].rule.name, before_s),
        Check(longer[0].rule.name, before_s),
        Check(slower[0].rule.name, at_s, fires(slower, latencies, both_ways=False)),
        Check(longer[0].rule.name, at_s, fires(longer, lengths, both_ways=True)),
    )
    yield Trial("drift: requests take longer, answers become longer and shorter", seen, checks)


def _drift_recordings(name: str, summed: str, count: str) -> Iterator[Recording]:
    mean, usual = f"model:{name}:mean1h", f"model:{name}:usual_mean1h"
    past = f"\n  {_on_days(mean, PAST_DAYS, '  ')}\n"
    yield Recording(mean, f"{summed}\n/ ({count} >= {LEAST_MEAN_OF})")
    yield Recording(usual, f"quantile by (model) (0.5, {past})\nand count by (model) ({past}) >= {LEAST_DAYS}")
    yield Recording(f"model:{name}:drift", f"{mean} / {usual}")


def _drift_rungs(levels: Levels, alert: str, expr: Callable[[float], str], sentence: tuple[str, str]) -> list[Rung]:
    english, chinese = sentence

    def rule(severity: str, level: float) -> Alerting:
        times = '{{ $value | printf "%.1f" }}'
        return Alerting(
            alert,
            "drift",
            severity,
            expr(level),
            f"{{{{ $labels.model }}}}: {english} {times} times as long as at this time on past days",
            f"{{{{ $labels.model }}}}：最近一小时的{chinese}是过去几天同一时段的 {times} 倍",
            runbook("drift"),
            levels.for_s,
            KEEP_S[severity],
        )

    return [rung for rung in rungs(levels, rule) if rung.level > 1]  # everything is once as long as usual
