"""What an alert is explained by: its requests beside those before it, and what the servers said meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from logproc.alerts.alert import Kind
from logproc.alerts.diagnosis import COLD_S, Diagnosis, Sums, Surroundings, diagnose
from logproc.alerts.history import KEEP_S, History
from logproc.alerts.server_lines import Line
from logproc.alerts.usual import HOUR
from logproc.alerts.windows import SHORT_S
from logproc.record import HEARTBEAT, SERVER_STARTED

LEAST_SEEN_S: Final = 30
"""At least so many seconds are diagnosed: a few that begin with the first bad request would be all bad requests."""
WARM: Final = 20
"""A server that has answered so many requests since its start before something went wrong is no longer cold."""


def diagnosis(history: History, kind: Kind, models: Sequence[str], since: int, second: int) -> Diagnosis:
    """Compare what was from `since` until `second` with the same hour of other days, or else with the hour before."""
    begin = max(min(since, second - LEAST_SEEN_S + 1), second - KEEP_S)
    now = Sums(history.columns, history.total(models, begin, second + 1))
    days = [history.hours.usual(model, second // HOUR) for model in models]
    known = [each for each in days if each is not None]
    rate: float | None
    if known and len(known) == len(models):
        before = np.sum([row for row, _ in known], axis=0)
        rate = sum(int(row[0]) / (count * HOUR) for row, count in known)
    else:
        first = max(min((history.first.get(model, begin) for model in models), default=begin), second - KEEP_S)
        before = history.total(models, first, begin)
        rate = int(before[0]) / (begin - first) if begin > first else None
    usual = Sums(history.columns, before)
    return diagnose(kind, now, usual, _surroundings(history, models, begin, second), second + 1 - begin, rate)


def _surroundings(history: History, models: Sequence[str], since: int, second: int) -> Surroundings:
    """What the newest heartbeats until `second` said, and whether it began when a server had just started."""
    newest: dict[tuple[str, str], Line] = {}
    started = None
    for line in history.lines:
        if line.event == HEARTBEAT and second - SHORT_S < line.second <= second:
            known = newest.get((line.host, line.pid))
            if known is None or line.second >= known.second:
                newest[line.host, line.pid] = line
        elif line.event == SERVER_STARTED and since - COLD_S < line.second <= second:
            started = line.second if started is None else max(started, line.second)
    if started is not None and history.total(models, started, since)[0] >= WARM:
        started = None  # it has served well since then
    waiting = [each.waiting for each in newest.values() if each.waiting is not None]
    running = [each.running for each in newest.values() if each.running is not None]
    kv = [each.kv for each in newest.values() if each.kv is not None]
    return Surroundings(
        waiting=sum(waiting) if waiting else None,
        running=sum(running) if running else None,
        kv=max(kv) if kv else None,
        started_ago_s=None if started is None else second - started,
    )
