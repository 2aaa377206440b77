"""What is known of each host: its processes, their newest heartbeats, and what is usual there."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from logproc.alerts.server_lines import Line
from logproc.record import HEARTBEAT, SERVER_STARTED, SERVER_STOPPED
from logproc.settings import Levels

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
"""Over so long the growth of GPU memory is watched."""
GROWTH_EVERY_S: Final = 60

Beat = tuple[int | None, int | None, float | None]
"""Running and waiting requests, and how full the KV cache is; None is unknown."""


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

    def steady(self, second: int) -> dict[str, list[Beat]]:
        """What each process said within the last minute, if it said enough."""
        by_pid: dict[str, list[Beat]] = {}
        for when, pid, running, waiting, kv in self.beats:
            if when > second - STEADY_S:
                by_pid.setdefault(pid, []).append((running, waiting, kv))
        return {pid: beats for pid, beats in by_pid.items() if len(beats) >= STEADY_BEATS}
