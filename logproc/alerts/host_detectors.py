"""What is wrong with a host: gone, slow to start, its KV cache full, GPU memory full or growing, a queue growing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from logproc.alerts.alert import SEVERITIES, Cause, Kind
from logproc.alerts.hosts import GROWTH_EVERY_S, GROWTH_S, LEAST_WAITING, STEADY_S, Beat, Host
from logproc.alerts.reading import Reading
from logproc.settings import Levels, Thresholds

LEAST_GROWTH: Final = 0.01
"""Of the whole memory, within GROWTH_S."""
FULL_WITHIN_S: Final = 3600


def readings(host: Host, second: int, thresholds: Thresholds) -> Iterator[Reading]:
    """Judge a host at a second, by all that was heard until then."""
    gone = host.gone(second)
    silent = second - gone.heard if gone else 0
    yield _above("server_gone", silent, thresholds.server_gone_s, since=gone.heard + 1 if gone else second)
    if host.startup_s is not None and host.started is not None:
        recently = second - host.started <= STEADY_S
        value = host.startup_s if recently else 0.0
        yield _above("cold_start", value, thresholds.startup_s, since=int(host.started - host.startup_s))
    steady = host.steady(second)
    cache = [
        min(kv for _, _, kv in beats if kv is not None)
        for beats in steady.values()
        if all(kv is not None and (waiting is None or waiting > 0) for _, waiting, kv in beats)
    ]
    now = [beats[-1][2] or 0.0 for beats in steady.values()]
    yield _above(
        "kv_cache_full",
        max(cache, default=0.0),
        thresholds.kv_cache_ratio,
        now=max(now, default=0.0),
        since=second - STEADY_S + 1,
        n=sum(map(len, steady.values())),
    )
    yield _queue(host, second, thresholds.queue_growth, steady)
    yield from _memory(host, second, thresholds)


_CAUSE: Final[dict[Kind, Cause]] = {
    "server_gone": "unknown", "cold_start": "cold_start", "kv_cache_full": "kv_cache", "gpu_memory": "gpu_memory",
}  # fmt: skip


def _above(kind: Kind, value: float, levels: Levels, *, since: int, now: float | None = None, n: int = 1) -> Reading:
    level, bound = _level(value, levels)
    is_well = not _level(value if now is None else now, levels)[0]
    return Reading(kind, level, value, bound, n, is_well, since, {}, levels.for_s, _CAUSE.get(kind))


def _level(value: float, levels: Levels) -> tuple[int, float | None]:
    """The highest level that is reached, counted from 1, and its bound; 0 and the lowest where none is."""
    found, bound = 0, levels.lowest
    for number, severity in enumerate(SEVERITIES, 1):
        each = getattr(levels, severity)
        if each is not None and value >= each:
            found, bound = number, each
    return found, bound


def _queue(host: Host, second: int, levels: Levels, steady: dict[str, list[Beat]]) -> Reading:
    """So many wait in every heartbeat of the last minute: against what is usual, and against what runs."""
    usual = max(host.usual_waiting(second // 3600), LEAST_WAITING / 2)
    waiting = sum(
        min(w for _, w, _ in beats if w is not None)
        for beats in steady.values()
        if all(w is not None for _, w, _ in beats)
    )
    now = sum(beats[-1][1] or 0 for beats in steady.values())
    enough = waiting >= LEAST_WAITING
    level, bound = _level(waiting / usual if enough else 0.0, levels)
    well = not _level(now / usual, levels)[0] or now < LEAST_WAITING
    n = sum(map(len, steady.values()))
    return Reading(
        "queue_growing",
        level,
        float(waiting),
        bound and bound * usual,
        n,
        well,
        second - STEADY_S + 1,
        {"usual_waiting": round(usual, 2)},
    )


def _memory(host: Host, second: int, thresholds: Thresholds) -> Iterator[Reading]:
    """GPU memory against its bounds, and whether it grows so steadily that it will soon be full."""
    worst: Reading | None = None
    for gpu, known in host.memory.items():
        when, used, total = known[-1]
        if second - when > STEADY_S:
            continue
        found = [_above("gpu_memory", used / total, thresholds.gpu_memory_ratio, since=when)] if total else []
        found.append(_above("gpu_memory", float(used), thresholds.gpu_memory_bytes, since=when))
        full_in = _full_in(known)
        if full_in is not None:
            facts: dict[str, object] = {"growing": True, "full_in_s": round(full_in)}
            since = known[0][0]
            found.append(
                Reading("gpu_memory", 1, float(used), float(total), len(known), False, since, facts, 0.0, "gpu_memory")
            )
        for each in found:
            if worst is None or each.level > worst.level:
                worst = each._replace(facts={**each.facts, "gpu": gpu})
    yield worst or _above("gpu_memory", 0.0, thresholds.gpu_memory_ratio, since=second)


def _full_in(known: list[tuple[int, int, int]]) -> float | None:
    """In how many seconds the memory is full if it goes on growing as it does; None where it does not."""
    begin, end = known[0], known[-1]
    seconds, total = end[0] - begin[0], end[2]
    grown = end[1] - begin[1]
    if seconds < GROWTH_S - GROWTH_EVERY_S or not total or grown < LEAST_GROWTH * total:
        return None
    # Steady: each third of the time brought its part of it.
    thirds = [known[len(known) * place // 3][1] for place in range(3)] + [end[1]]
    if any(later - earlier < grown / 6 for earlier, later in pairwise(thirds)):
        return None
    left = (total - end[1]) * seconds / grown
    return left if left < FULL_WITHIN_S else None
