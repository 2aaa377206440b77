"""Buckets and server lines → alerts: the one judge, of the live run and of replay alike.

It goes through log time second by second, in pieces of any length: what it finds does not depend on where they end.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

import msgspec

from logproc.alerts.alert import Alert, Kind
from logproc.alerts.buckets import Buckets
from logproc.alerts.columns import Columns
from logproc.alerts.drift import Drift
from logproc.alerts.history import History
from logproc.alerts.host_alerts import HostAlerts
from logproc.alerts.hosts import Host
from logproc.alerts.life import Life
from logproc.alerts.lives import Key, Lives
from logproc.alerts.server_lines import Line
from logproc.alerts.share_alerts import ShareAlerts
from logproc.alerts.silence import Silence
from logproc.alerts.usual import HOUR
from logproc.alerts.windows import LONG_S
from logproc.events import LATE_S
from logproc.settings import Thresholds

WARM_UP_S: Final = 180
"""A new model or a new server is not judged for so long: nothing is known of it."""


class State(msgspec.Struct):
    """What a judge knows beside buckets and hours."""

    judged: int | None
    first: dict[str, int]
    last: dict[str, int]
    lives: list[tuple[Key, Life]]
    hosts: dict[str, Host]
    lines: list[Line]
    unsure: list[tuple[Kind, str, int]]


class Judge:
    """Takes buckets and server lines in any order, judges second by second in order, and gives the alerts' entries."""

    def __init__(self, thresholds: Thresholds, *, warm_up_s: int = WARM_UP_S) -> None:
        self.columns = Columns.of(thresholds)
        self.history = History(self.columns)
        self.lives = Lives(self.history)
        self.judged: int | None = None
        """Every second up to it is done."""
        self.has_changed = False
        """Whether anything has, beside buckets and hours, that matters after a restart."""
        self._shares = ShareAlerts(thresholds, self.history, self.lives, warm_up_s)
        self._drift = Drift(thresholds.drift, self.columns, self.history.hours)
        self._silence = Silence(thresholds.silent_s, self.history.hours)
        self._hosts = HostAlerts(thresholds, self.lives, warm_up_s)

    def take(self, buckets: Buckets, lines: Iterable[Line] = ()) -> None:
        """Merge what was read. What lies more than a minute before the judged second is left out."""
        self.has_changed |= self.history.take(buckets, lines, self.judged)

    def state(self) -> State:
        """All that `restore` needs."""
        return State(
            self.judged,
            self.history.first,
            self.history.last,
            list(self.lives.open.items()),
            self._hosts.hosts,
            self.history.lines,
            [(kind, model, second) for (kind, model), second in self._shares.unsure.items()],
        )

    def restore(self, state: State) -> None:
        """Go on where another left off; the buckets and hours of its history are filled by the caller."""
        self.judged = state.judged
        self.history.first, self.history.last, self.history.lines = state.first, state.last, state.lines
        self.lives.open = dict(state.lives)
        self._hosts.hosts = state.hosts
        self._shares.unsure = {(kind, model): second for kind, model, second in state.unsure}

    def advance(self, to_second: int, now_s: int | None = None) -> list[Alert]:
        """Judge every second up to and including `to_second`; the entries, in order of time.

        `now_s` is the wall clock: with it, entries about what is long past are marked `behind`, and what still fires
        when that is over gets a new entry. Without it (in replay) nothing is behind.
        """
        if now_s is not None and self.judged is not None and self.judged > now_s + LATE_S:
            self._set_back(now_s)
        if self.judged is None:
            begin = self.history.next_data(-1)
            if begin is None or begin > to_second:
                return []
            self.judged = begin - 1
        found: list[Alert] = []
        while self.judged < to_second:
            start = self.judged + 1
            if self._is_idle(start):
                data = self.history.next_data(start)
                if data is None or data > to_second:
                    self.judged = to_second
                    break
                start = data
            end = min(to_second + 1, (start // HOUR + 1) * HOUR)
            self._judge(start, end)
            self.judged = end - 1
            entries = self.lives.take()
            self.has_changed |= bool(entries or self.lives.open or self._shares.unsure or self.history.hours.dirty)
            found += entries
            self.history.forget(self.judged)
            self._hosts.forget(self.judged)
        return found if now_s is None else self.lives.mark_behind(found, self.judged, now_s)

    def _set_back(self, now_s: int) -> None:
        """The clock was ahead, and is right again: what is read now must not be taken for late."""
        self.judged = now_s
        self.history.last = {model: min(second, now_s) for model, second in self.history.last.items()}
        self.has_changed = True

    def _is_idle(self, start: int) -> bool:
        """Whether nothing can change before something new is read."""
        if self.lives.open or self._hosts.hosts or self._shares.unsure:
            return False
        return self.history.is_over(start)

    def _judge(self, start: int, end: int) -> None:
        """The seconds from `start` to before `end`, all of one hour."""
        history, lives = self.history, self.lives
        history.forget_models(start)
        series = history.series(start - LONG_S, end)
        slow = self._shares.judge(series, start, end)
        drifting = partial(lives.models_with, "drift")
        for model, second, reading in self._drift.readings(series, slow, drifting, start, end):
            lives.follow(("drift", model, ""), second, reading)
        now = {model: rows[LONG_S:] for model, rows in series.items()}
        requests = {model: rows[:, 0] for model, rows in now.items()}
        silent = lives.models_with("traffic_silent")
        for model, second, reading in self._silence.readings(requests, history.last, silent, start, end):
            lives.follow(("traffic_silent", model, ""), second, reading)
        self._hosts.judge(history.lines, start, end)
        history.close(now, start)
