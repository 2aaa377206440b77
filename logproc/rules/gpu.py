"""Rules on the memory of GPUs: what is in use, and what will be if it goes on growing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from logproc.rules.ladder import KEEP_S, Measured, Rung, runbook, rungs, trials
from logproc.rules.promql import HELD
from logproc.rules.rule import Alerting, Fired, Group, Series, Trial
from logproc.rules.trial import (
    ENOUGH_MINUTES,
    HOST,
    flat,
    judged_at,
    lag,
    merged,
    percentage,
    plain,
    series,
    single,
    size,
)
from logproc.settings import Levels, Thresholds

AHEAD: Final = "4h"
_AHEAD_S: Final = 4 * 3600

_GPU: Final = "GPU-1"
_TOTAL: Final = 10**12
"""Of the GPU of the trials: more than any level."""


def groups(thresholds: Thresholds, namespace: str) -> Iterator[Group]:
    """One group: in use by ratio, in use by bytes, growing."""
    used, total = f"{namespace}_gpu_memory_used_bytes", f"{namespace}_gpu_memory_total_bytes"
    ratio, octets = thresholds.gpu_memory_ratio, thresholds.gpu_memory_bytes

    def gpu(share: float) -> Series:
        return _gpu(used, total, flat(math.ceil(share * _TOTAL)))

    by_ratio = _ladder(ratio, f"max by (host, gpu) ({used} / {total} {HELD})", "humanizePercentage", "")
    by_bytes = _ladder(octets, f"max by (host, gpu) ({used} {HELD})", "humanize1024", "B")
    tried = [
        *trials(by_ratio, _measured(gpu, percentage, ratio)),
        *trials(by_bytes, _measured(lambda level: _gpu(used, total, flat(level)), size, octets)),
    ]
    growing = _growing(used, total)
    rules = (*(rung.rule for rung in (*by_ratio, *by_bytes)), growing)
    yield Group(f"{namespace}_gpu_memory", (), rules, (*tried, *_growing_trials(growing, used, total)))


def _gpu(used: str, total: str, values: str) -> Series:
    where = {"host": HOST, "gpu": _GPU}
    return merged(series(used, values, **where), series(total, flat(_TOTAL), **where))


def _ladder(levels: Levels, measured: str, template: str, unit: str) -> list[Rung]:
    name = "GpuMemoryBytes" if unit else "GpuMemoryRatio"

    def rule(severity: str, level: float) -> Alerting:
        return Alerting(
            name,
            "gpu_memory",
            severity,
            f"{measured} >= {plain(level)}",
            f"{{{{ $labels.gpu }}}} of {{{{ $labels.host }}}}: {{{{ $value | {template} }}}}{unit} of memory in use",
            f"{{{{ $labels.host }}}} 的 {{{{ $labels.gpu }}}}：显存已用 {{{{ $value | {template} }}}}{unit}",
            runbook("gpu_memory"),
            levels.for_s,
            KEEP_S[severity],
        )

    return rungs(levels, rule)


def _measured(seen: Callable[[float], Series], told: Callable[[float], str], levels: Levels) -> Measured:
    return Measured(
        labels={"host": HOST, "gpu": _GPU},
        series=seen,
        beyond=float,
        within=lambda level: level * 0.99,
        passes=lambda value, level: value >= level,
        told=told,
        at_s=judged_at(ENOUGH_MINUTES * 60, levels.for_s),
    )


def _growing(used: str, total: str) -> Alerting:
    """Full in four hours by the line through the last hour, which must have risen throughout: a start is no leak."""
    return Alerting(
        "GpuMemoryGrowing",
        "gpu_memory",
        "warning",
        f"max by (host, gpu) (\n"
        f"  (\n"
        f"    predict_linear({used}[1h], {_AHEAD_S}) > {total}\n"
        f"    and min_over_time({used}[20m]) > max_over_time({used}[20m] offset 25m)\n"
        f"    and min_over_time({used}[20m] offset 25m) > max_over_time({used}[20m] offset 50m)\n"
        f"  ) {HELD}\n"
        f")",
        f"{{{{ $labels.gpu }}}} of {{{{ $labels.host }}}}: its memory grows and will be full within {AHEAD}",
        f"{{{{ $labels.host }}}} 的 {{{{ $labels.gpu }}}}：显存持续增长，预计 {AHEAD} 内用尽",
        runbook("gpu_memory"),
        keep_s=KEEP_S["warning"],
    )


def _growing_trials(rule: Alerting, used: str, total: str) -> Iterator[Trial]:
    half, step = _TOTAL // 2, _TOTAL // 200
    at_s = judged_at(80 * 60)
    growing = _gpu(used, total, f"{half}+{step}x100")
    fires = (Fired(rule, {"host": HOST, "gpu": _GPU}),)
    yield single(rule.name, "growing for more than an hour", merged(growing, lag()), at_s, fires)
    started = _gpu(used, total, f"0+{half // 20}x20 {flat(half)}")
    yield single(rule.name, "filled at the start, then constant", merged(started, lag()), judged_at(60 * 60))
    yield single(rule.name, "constant and nearly full", merged(_gpu(used, total, flat(_TOTAL - 1)), lag()), at_s)
