"""What the servers say of themselves: gone, slow to start, their KV cache full, GPU memory growing, queues growing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from logproc.alerts.alert import SEVERITIES, Cause, Kind
from logproc.kinds import LABEL_LENGTH
from logproc.record import HEARTBEAT, SERVER_STARTED, SERVER_STOPPED, ServerRecord
from logproc.settings import Levels, Thresholds

MOST_HOSTS: Final = 256
MOST_PROCESSES: Final = 64
"""Beyond these the one heard of least lately is forgotten."""
FORGET_S: Final = 86_400
"""A server that is gone so long will not come back."""

STEADY_S: Final = 60
STEADY_BEATS: Final = 4
"""Heartbeats within a minute that must all say the same."""
LEAST_WAITING: Final = 5
"""Fewer waiting requests are no queue."""

GROWTH_S: Final = 1200
GROWTH_EVERY_S: Final = 60
LEAST_GROWTH: Final = 0.01
"""Of the whole memory, within GROWTH_S."""
FULL_WITHIN_S: Final = 3600


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One server line as the detectors need it: `second` since 1970, load of all engines, KV cache of the worst."""

    second: int
    event: str
    host: str
    pid: str
    model: str | None = None
    startup_s: float | None = None
    running: int | None = None
    waiting: int | None = None
    kv: float | None = None
    gpus: tuple[tuple[str, int, int], ...] = ()
    """(name, bytes used, bytes in all) of each GPU whose memory is known."""


def line_of(record: ServerRecord, second: int) -> Line:
    """The facts of a server line; what is unknown stays so."""
    engines = record.engines or []
    running = [each.running for each in engines if each.running is not None]
    waiting = [each.waiting for each in engines if each.waiting is not None]
    kv = [each.kv_cache_usage for each in engines if each.kv_cache_usage is not None]
    gpus = [
        (each.gpu[:LABEL_LENGTH], each.memory_used_bytes, each.memory_total_bytes or 0)
        for each in record.gpus or []
        if each.memory_used_bytes is not None
    ]
    return Line(
        second,
        record.event,
        (record.host or "unknown")[:LABEL_LENGTH],
        str(record.pid),
        record.model and record.model[:LABEL_LENGTH],
        record.startup_s,
        sum(running) if running else None,
        sum(waiting) if waiting else None,
        max(kv) if kv else None,
        tuple(gpus[:64]),
    )


class Process(msgspec.Struct):
    """One server process."""

    first: int
    heard: int
    beats: bool = False
    stopped: bool = False
    replaced: bool = False
    """It went silent, but another began on the same host after it."""


class Host(msgspec.Struct):
    """One host: its processes, its newest heartbeats, and what is usual there."""

    first: int
    processes: dict[str, Process] = {}
    beats: list[tuple[int, str, int | None, int | None, float | None]] = []
    """(second, pid, running, waiting, KV cache) of the last minute."""
    memory: dict[str, list[tuple[int, int, int]]] = {}
    """By GPU (second, bytes used, bytes in all), one a minute and the newest."""
    started: int | None = None
    startup_s: float | None = None
    most_running: int = 0
    usual: list[tuple[float, float]] = msgspec.field(default_factory=lambda: [(0.0, 0.0)] * 24)
    """By hour of the day: weight and weighted sum of how many waited; older days weigh less."""
    today: tuple[int, int, int] = (0, 0, 0)
    """The present hour since 1970, heartbeats in it, and how many waited in them all together."""

    def take(self, line: Line) -> None:
        """Note a line; lines come in the order of their seconds."""
        process = self.processes.get(line.pid)
        if process is None:
            if len(self.processes) >= MOST_PROCESSES:
                del self.processes[min(self.processes, key=lambda pid: self.processes[pid].heard)]
            process = self.processes[line.pid] = Process(line.second, line.second)
            for other in self.processes.values():
                other.replaced |= other is not process and line.second - other.heard > 15
        process.heard = max(process.heard, line.second)
        if line.event == SERVER_STARTED:
            self.started, self.startup_s = line.second, line.startup_s
            process.stopped = process.replaced = False
        elif line.event == SERVER_STOPPED:
            process.stopped = True
        elif line.event == HEARTBEAT:
            process.beats, process.stopped, process.replaced = True, False, False
            self._beat(line)

    def _beat(self, line: Line) -> None:
        self.beats = [each for each in self.beats if each[0] > line.second - STEADY_S]
        self.beats.append((line.second, line.pid, line.running, line.waiting, line.kv))
        self.most_running = max(self.most_running, line.running or 0)
        hour = line.second // 3600
        if hour != self.today[0]:
            self._end_hour()
            self.today = (hour, 0, 0)
        if line.waiting is not None and line.waiting < 2 * LEAST_WAITING + self.usual_waiting(hour) * 4:
            self.today = (hour, self.today[1] + 1, self.today[2] + line.waiting)
        for gpu, used, total in line.gpus:
            known = self.memory.setdefault(gpu, [])
            if len(known) > 1 and known[-1][0] - known[-2][0] < GROWTH_EVERY_S:
                known.pop()
            known.append((line.second, used, total))
            while known[0][0] < line.second - GROWTH_S - GROWTH_EVERY_S:
                known.pop(0)

    def _end_hour(self) -> None:
        hour, beats, waited = self.today
        if beats:
            weight, total = self.usual[hour % 24]
            self.usual[hour % 24] = (0.8 * weight + 1, 0.8 * total + waited / beats)

    def usual_waiting(self, hour: int) -> float:
        """How many requests usually wait at this hour of the day; at all hours where this one is not known."""
        weight, total = self.usual[hour % 24]
        if not weight:
            weight, total = (sum(each) for each in zip(*self.usual, strict=True))
        return total / weight if weight else 0.0

    def gone(self, second: int) -> Process | None:
        """The process that has been silent for longest, of those that should be heard."""
        silent = [
            each
            for each in self.processes.values()
            if each.beats and not each.stopped and not each.replaced and second - each.heard <= FORGET_S
        ]
        return min(silent, key=lambda each: each.heard, default=None)

    def deadlines(self, levels: Levels) -> list[int]:
        """The seconds at which a process will have been silent for too long, if it stays so."""
        process = self.gone(max((each.heard for each in self.processes.values()), default=0))
        return [process.heard + math.ceil(level) for level in levels.all] if process else []

    def is_forgotten(self, second: int) -> bool:
        """Whether nothing is expected of it any more."""
        return all(second - each.heard > FORGET_S for each in self.processes.values())

    def steady(self, second: int) -> dict[str, list[tuple[int | None, int | None, float | None]]]:
        """What each process said within the last minute, if it said enough."""
        by_pid: dict[str, list[tuple[int | None, int | None, float | None]]] = {}
        for when, pid, running, waiting, kv in self.beats:
            if when > second - STEADY_S:
                by_pid.setdefault(pid, []).append((running, waiting, kv))
        return {pid: beats for pid, beats in by_pid.items() if len(beats) >= STEADY_BEATS}


class Reading(NamedTuple):
    """What one kind says of one host at one second; `is_well` says that an alert may end."""

    kind: Kind
    level: int
    value: float | None
    bound: float | None
    n: int
    is_well: bool
    since: int
    facts: dict[str, object]
    for_s: float = 0.0
    cause: Cause | None = None
    ends_at_once: bool = False
    """That all is well ends an alert without further waiting."""


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


def _queue(
    host: Host, second: int, levels: Levels, steady: dict[str, list[tuple[int | None, int | None, float | None]]]
) -> Reading:
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
    if worst is not None:
        yield worst


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
