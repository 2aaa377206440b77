"""Rules on the inference servers, by what their heartbeats tell: gone, slow to start, KV cache full, queue growing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from logproc.alerts.hosts import LEAST_WAITING
from logproc.rules.ladder import KEEP_S, Measured, Rung, runbook, rungs, trials
from logproc.rules.promql import HELD
from logproc.rules.rule import Alerting, Group, Recording, Series, Trial
from logproc.rules.trial import (  # fmt: skip
    ENOUGH_MINUTES,
    HOST,
    MODEL,
    duration,
    flat,
    judged_at,
    lag,
    merged,
    percentage,
    plain,
    rising,
    series,
    single,
)
from logproc.settings import Levels, Thresholds

START_KNOWN_AFTER: Final = "15m"
"""So long a slow start is told."""

_USUAL_MINUTES: Final = 180
"""So long everything is as usual in the trial of the queue."""


def groups(thresholds: Thresholds, namespace: str) -> Iterator[Group]:
    """A group for each thing that a heartbeat tells."""
    yield _gone(thresholds.server_gone_s, f"{namespace}_last_heartbeat_timestamp_seconds")
    yield _cold_start(thresholds.startup_s, f"{namespace}_server_startup_seconds")
    yield _kv_cache(
        thresholds.kv_cache_ratio, f"{namespace}_kv_cache_usage_ratio", f"{namespace}_engine_requests_waiting"
    )
    yield _queue(thresholds.queue_growth, f"{namespace}_engine_requests_waiting")


def _group(metric: str, ladder: list[Rung], tried: Iterator[Trial], *recordings: Recording) -> Group:
    return Group(metric, recordings, tuple(rung.rule for rung in ladder), tuple(tried))


def _gone(levels: Levels, metric: str) -> Group:
    """The age of the newest heartbeat of a host, at the scrape: whatever the interval of scraping is."""

    def rule(severity: str, level: float) -> Alerting:
        return Alerting(
            "ServerGone",
            "server_gone",
            severity,
            f"min by (host) (timestamp({metric}) - {metric} {HELD}) >= {level:g}",
            "{{ $labels.host }}: no heartbeat of the inference server for {{ $value | humanizeDuration }}, "
            "and it did not say that it stops",
            "{{ $labels.host }}：推理服务已有 {{ $value | humanizeDuration }} 没有心跳，且没有正常停止的记录",
            runbook("server_gone"),
            levels.for_s,
            KEEP_S[severity],
        )

    def beats(silent_since_s: float) -> Series:
        """Heartbeats that end at 0, or go on (a negative age)."""
        values = rising(60) if silent_since_s <= 0 else flat(0)
        return series(metric, values, host=HOST, pid="1")

    ladder = rungs(levels, rule)
    longest = max(levels.all, default=0.0)
    at_s = judged_at(longest + 60, levels.for_s)
    measured = Measured(
        labels={"host": HOST},
        series=beats,
        beyond=lambda _: at_s,
        within=lambda _: 0,
        passes=lambda age, level: age >= level,
        told=lambda _: duration(at_s),
        at_s=at_s,
    )

    def tried() -> Iterator[Trial]:
        yield from trials(ladder, measured)
        if ladder:
            ended = merged(series(metric, "0+60x2 stale", host=HOST, pid="1"), lag())
            yield single("ServerGone", "it said that it stops", ended, at_s)
            restarted = merged(beats(1), series(metric, rising(60), host=HOST, pid="2"), lag())
            yield single("ServerGone", "killed, and started again on the same host", restarted, at_s)

    return _group(metric, ladder, tried())


def _cold_start(levels: Levels, metric: str) -> Group:
    """A start that took long, told for a quarter of an hour: the gauge itself stays as long as the server."""

    def rule(severity: str, level: float) -> Alerting:
        newest = f"max by (model) ({metric} {HELD})"
        return Alerting(
            "ColdStart",
            "cold_start",
            severity,
            f"{newest} > {level:g}\n"
            f"unless on(model) {newest} == on(model) max by (model) ({metric} offset {START_KNOWN_AFTER})",
            f"{{{{ $labels.model }}}}: the server took {{{{ $value | humanizeDuration }}}} to start, over {level:g} s",
            f"{{{{ $labels.model }}}}：服务启动耗时 {{{{ $value | humanizeDuration }}}}，超过 {level:g} 秒",
            runbook("cold_start"),
            0.0,
            KEEP_S[severity],
        )

    def started(took_s: float) -> Series:
        return series(metric, flat(took_s), model=MODEL)

    ladder = rungs(levels, rule)
    measured = Measured(
        labels={"model": MODEL},
        series=started,
        beyond=lambda level: math.floor(level) + 1,
        within=float,
        passes=lambda took_s, level: took_s > level,
        told=lambda took_s: duration(int(took_s)),
        at_s=judged_at(ENOUGH_MINUTES * 60),
    )

    def tried() -> Iterator[Trial]:
        yield from trials(ladder, measured)
        if ladder:
            long_ago = merged(started(math.floor(max(levels.all)) + 1), lag())
            yield single("ColdStart", "a start of long ago", long_ago, judged_at(20 * 60))

    return _group(metric, ladder, tried())


def _kv_cache(levels: Levels, metric: str, waiting: str) -> Group:
    """Full for two minutes on end while requests wait: for a moment it is so under any load."""

    def rule(severity: str, level: float) -> Alerting:
        return Alerting(
            "KvCacheFull",
            "kv_cache_full",
            severity,
            f"max by (host) (\n"
            f"  (min_over_time({metric}[2m]) unless min_over_time({waiting}[2m]) == 0) {HELD}\n"
            f") >= {level:g}",
            "{{ $labels.host }}: the KV cache is {{ $value | humanizePercentage }} full, and requests wait",
            "{{ $labels.host }}：KV 缓存已用 {{ $value | humanizePercentage }}，请求正在排队",
            runbook("kv_cache_full"),
            levels.for_s,
            KEEP_S[severity],
        )

    def used(share: float) -> Series:
        return series(metric, flat(share), host=HOST, pid="1", engine="0")

    ladder = rungs(levels, rule)
    at_s = judged_at(ENOUGH_MINUTES * 60, levels.for_s)
    measured = Measured(
        labels={"host": HOST},
        series=used,
        beyond=float,
        within=lambda level: level * 0.99,
        passes=lambda share, level: share >= level,
        told=percentage,
        at_s=at_s,
    )

    def tried() -> Iterator[Trial]:
        yield from trials(ladder, measured)
        if ladder:
            spikes = series(metric, " ".join(["1 0.2"] * 500), host=HOST, pid="1", engine="0")
            yield single("KvCacheFull", "full for moments only", merged(spikes, lag()), at_s)
            idle = series(waiting, flat(0), host=HOST, pid="1", engine="0")
            yield single("KvCacheFull", "full, but no request waits", merged(used(1), idle, lag()), at_s)

    return _group(metric, ladder, tried())


def _queue(levels: Levels, metric: str) -> Group:
    """More requests wait than usual: than on average over the last day, but for the last ten minutes."""
    recorded = f"host:{metric}:avg5m"
    usual = f"avg_over_time({recorded}[1d] offset 10m)"

    def rule(severity: str, level: float) -> Alerting:
        return Alerting(
            "QueueGrowing",
            "queue_growing",
            severity,
            f"{recorded} > clamp_min({level:g} * {usual}, {LEAST_WAITING})\nand {recorded} offset 1h",
            '{{ $labels.host }}: {{ $value | printf "%.0f" }} requests wait in the queue, '
            f"more than {level:g} times as many as usual",
            f'{{{{ $labels.host }}}}：队列中有 {{{{ $value | printf "%.0f" }}}} 个请求等待，超过平时的 {level:g} 倍',
            runbook("queue_growing"),
            levels.for_s,
            KEEP_S[severity],
        )

    def waiting(usually: int, now: float) -> Series:
        values = f"{usually}+0x{_USUAL_MINUTES} {flat(now)}"
        return series(metric, values, host=HOST, pid="1", engine="0")

    ladder = rungs(levels, rule)
    at_s = judged_at((_USUAL_MINUTES + ENOUGH_MINUTES) * 60, levels.for_s)
    measured = Measured(
        labels={"host": HOST},
        series=lambda now: waiting(4, now),
        beyond=lambda level: max(math.ceil(level * 4), LEAST_WAITING) * 2,
        within=lambda _: 4,
        passes=lambda now, level: now > max(level * 4, LEAST_WAITING),
        told=plain,
        at_s=at_s,
    )

    def tried() -> Iterator[Trial]:
        yield from trials(ladder, measured)
        if ladder:
            yield single("QueueGrowing", "long, but as long as usual", merged(waiting(100, 100), lag()), at_s)
            yield single("QueueGrowing", "grown from nothing to little", merged(waiting(0, 4), lag()), at_s)

    return _group(metric, ladder, tried(), Recording(recorded, f"sum by (host) (avg_over_time({metric}[5m]) {HELD})"))
