"""Buckets and server lines → alerts: the one judge, of the live run and of replay alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from logproc.alerts.alert import KINDS, Alert, Kind, alert_id
from logproc.alerts.alert import State as LifeState
from logproc.alerts.buckets import Buckets
from logproc.alerts.columns import Columns, Ints
from logproc.alerts.detectors import SHARES, Judged, ShareDetector, windows
from logproc.alerts.diagnosis import COLD_S, Diagnosis, Sums, Surroundings, diagnose
from logproc.alerts.drift import Drift
from logproc.alerts.hosts import MOST_HOSTS, Host, Line, Reading, readings
from logproc.alerts.life import Life
from logproc.alerts.percentile import percentile_s
from logproc.alerts.sentences import sentences
from logproc.alerts.silence import Silence
from logproc.alerts.usual import DAYS, HOUR, Hours
from logproc.alerts.windows import LONG_S, SHORT_S, begin_of
from logproc.events import LATE_S
from logproc.record import HEARTBEAT, SERVER_STARTED
from logproc.settings import Thresholds

KEEP_S: Final = 3600
"""One-second buckets are kept so long after they were judged."""
WARM_UP_S: Final = 180
"""A new model or a new server is not judged for so long: nothing is known of it."""
TOGETHER_S: Final = 10
"""When one model is bad and another may be, so long is waited for certainty whether it is both."""
LEAST_SEEN_S: Final = 30
"""At least so many seconds are diagnosed."""
ENOUGH: Final = 10
"""So many requests must a model have had to have a say in whether it is everything."""
WARM: Final = 20
"""A server that has answered so many requests since its start before something went wrong is no longer cold."""
BEHIND_S: Final = 60
"""What was found so long after it happened is recorded, not sent."""

Key = tuple[Kind, str, str]
"""Kind, model and host; empty where an alert has none."""


class State(msgspec.Struct):
    """What a judge knows beside buckets and hours."""

    judged: int | None
    first: dict[str, int]
    last: dict[str, int]
    lives: list[tuple[Key, Life]]
    hosts: dict[str, Host]
    lines: list[Line]
    unsure: list[tuple[Kind, str, int]]


_SLOW: Final = frozenset({"latency_p99", "latency_p95", "ttft", "tokens_per_second"})


class Judge:
    """Takes buckets and server lines in any order, judges second by second in order, and gives the alerts' entries.

    `first`, `last`: the first and the last second at which a model was seen. `judged`: every second up to it is done.
    """

    def __init__(self, thresholds: Thresholds, *, warm_up_s: int = WARM_UP_S) -> None:
        self.columns = Columns.of(thresholds)
        self.kept = Buckets(self.columns)
        self.hours = Hours(self.columns)
        self.hosts: dict[str, Host] = {}
        self.lives: dict[Key, Life] = {}
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.judged: int | None = None
        self.lines: list[Line] = []
        """Those not yet judged, and those of the last minutes."""
        self.unsure: dict[tuple[Kind, str], int] = {}
        """Since when a model waits to learn whether it is everything."""
        self._thresholds = thresholds
        self._warm_up_s = warm_up_s
        self._shares = [each for each in (ShareDetector(s, thresholds, self.columns) for s in SHARES) if each.is_on]
        self._silence = Silence(thresholds.silent_s, self.hours)
        self._drift = Drift(thresholds.drift, self.columns, self.hours)
        self.dirty: set[tuple[str, int]] = set()
        """Model and second of the buckets that have changed since they were last stored."""
        self.has_changed = False
        """Whether anything else has, that matters after a restart."""
        self._found: list[Alert] = []
        self._covered: dict[str, npt.NDArray[np.bool_]] = {}

    # --- taking ------------------------------------------------------------------------------------------------------

    def take(self, buckets: Buckets, lines: Iterable[Line] = ()) -> None:
        """Merge what was read. What lies more than a minute before the judged second is left out."""
        oldest = -1 if self.judged is None else self.judged - LATE_S
        for model, rows in buckets.rows.items():
            for second, row in rows.items():
                if second > oldest:
                    self.kept.add_row(model, second, row)
                    self.dirty.add((model, second))
                    if self.judged is not None and second <= self.judged:
                        self.hours.add(model, second // HOUR, row)
        wanted = [line for line in lines if line.second > oldest]
        self.lines += wanted
        self.has_changed |= bool(wanted)

    def state(self) -> State:
        """All that `restore` needs."""
        return State(
            self.judged,
            self.first,
            self.last,
            list(self.lives.items()),
            self.hosts,
            self.lines,
            [(kind, model, second) for (kind, model), second in self.unsure.items()],
        )

    def restore(self, state: State) -> None:
        """Go on where another left off; its `kept` and `hours` are filled by the caller."""
        self.judged, self.first, self.last = state.judged, state.first, state.last
        self.lives = dict(state.lives)
        self.hosts, self.lines = state.hosts, state.lines
        self.unsure = {(kind, model): second for kind, model, second in state.unsure}

    # --- judging -----------------------------------------------------------------------------------------------------

    def advance(self, to_second: int, now_s: int | None = None) -> list[Alert]:
        """Judge every second up to and including `to_second`; the entries, in order of time.

        `now_s` is the wall clock: with it, entries about what is long past are marked `behind`, and what still fires
        when that is over gets a new entry. Without it (in replay) nothing is behind.
        """
        if self.judged is None:
            begin = self._next_data(-1)
            if begin is None or begin > to_second:
                return []
            self.judged = begin - 1
        found: list[Alert] = []
        while self.judged < to_second:
            start = self.judged + 1
            if self._is_idle(start):
                data = self._next_data(start)
                if data is None or data > to_second:
                    self.judged = to_second
                    break
                start = data
            end = min(to_second + 1, (start // HOUR + 1) * HOUR)
            self._judge(start, end)
            self.has_changed |= bool(self.lives or self.unsure or self._found or self.hours.dirty)
            self.judged = end - 1
            self._found.sort(key=lambda each: (each.time, KINDS.index(each.kind), each.model or "", each.host or ""))
            found += self._found
            self._found = []
            self._forget()
        return found if now_s is None else self._told(found, now_s)

    def _next_data(self, start: int) -> int | None:
        """The first second from `start` on with anything in it."""
        seconds = [second for rows in self.kept.rows.values() for second in rows if second >= start]
        seconds += [line.second for line in self.lines if line.second >= start]
        return min(seconds, default=None)

    def _is_idle(self, start: int) -> bool:
        """Whether nothing can change before something new is read."""
        if self.lives or self.hosts or self.unsure:
            return False
        return all(start - last > DAYS * 24 * HOUR for last in self.last.values())

    def _forget(self) -> None:
        assert self.judged is not None
        self.kept.forget_before(self.judged - KEEP_S)
        self.lines = [line for line in self.lines if line.second > self.judged - LONG_S - COLD_S]
        first_hour = self.judged // HOUR - DAYS * 24 - 1
        self.hours.forget_before(first_hour)
        for model in [model for model, last in self.last.items() if last < first_hour * HOUR]:
            del self.first[model], self.last[model]
        for name in [name for name, host in self.hosts.items() if host.is_forgotten(self.judged)]:
            del self.hosts[name]

    def _judge(self, start: int, end: int) -> None:
        """The seconds from `start` to before `end`, all of one hour."""
        series = {}
        for model in sorted(self.kept.rows):
            rows = self.kept.series(model, start - LONG_S, end)
            requests = rows[:, 0]
            if requests.any():
                series[model] = rows
                if model not in self.first:
                    self.first[model] = start - LONG_S + int(np.flatnonzero(requests)[0])
        self._covered = {model: np.zeros(end - start, np.bool_) for model in series}
        self._judge_shares(series, start, end)
        for model, second, reading in self._drift.readings(series, self._covered, start, end):
            self._apply("drift", model, "", second, reading)
        requests_by_model = {model: rows[LONG_S:, 0] for model, rows in series.items()}
        for model, second, reading in self._silence.readings(requests_by_model, self.last, self._silent(), start, end):
            self._apply("traffic_silent", model, "", second, reading)
        self._judge_hosts(start, end)
        for model, rows in series.items():
            happened = np.flatnonzero(rows[LONG_S:, 0])
            if len(happened):
                self.last[model] = start + int(happened[-1])
                self.hours.add(model, start // HOUR, rows[LONG_S:].sum(axis=0))

    def _silent(self) -> set[str]:
        """The models of which it is known that they are silent; an empty name is all of them."""
        return {model for kind, model, _ in self.lives if kind == "traffic_silent"}

    # --- shares of requests ------------------------------------------------------------------------------------------

    def _judge_shares(self, series: dict[str, Ints], start: int, end: int) -> None:
        sums = {model: windows(rows) for model, rows in series.items()}
        for detector in self._shares:
            judged = {}
            for model, (short, long) in sums.items():
                usual = detector.usual(model, start // HOUR, self.hours)
                found = judged[model] = detector.judge(model, series[model], short, long, usual)
                cold = self.first[model] + self._warm_up_s - start
                if cold > 0:
                    found.level[:cold] = 0
                    found.is_odd[:cold] = False
            self._live(detector, judged, start, end)

    def _live(self, detector: ShareDetector, judged: dict[str, Judged], start: int, end: int) -> None:
        """Lead the lives of one kind through the seconds in which there is something to lead."""
        kind = detector.kind
        any_level = np.zeros(end - start, np.bool_)
        for each in judged.values():
            any_level |= each.level > 0
        place = 0
        while place < end - start:
            if not any(key[0] == kind for key in self.lives):
                ahead = np.flatnonzero(any_level[place:])
                if not len(ahead):
                    break
                place += int(ahead[0])
            self._second(detector, judged, start + place, place)
            place += 1

    def _second(self, detector: ShareDetector, judged: dict[str, Judged], second: int, place: int) -> None:
        """One second of one kind."""
        kind = detector.kind
        everything = self.lives.get((kind, "", ""))
        if everything is not None:
            level = max((int(each.level[place]) for each in judged.values()), default=0)
            is_well = all(bool(each.is_well[place]) for each in judged.values())
            self._share_step(detector, "", everything, second, level, is_well=is_well)
        else:
            for model in sorted(judged.keys() | {key[1] for key in self.lives if key[0] == kind}):
                found = judged.get(model)
                level = int(found.level[place]) if found else 0
                is_well = bool(found.is_well[place]) if found else True
                life = self.lives.get((kind, model, ""))
                if life is None and level:
                    who = self._who(kind, model, judged, second, place)
                    if who is None:
                        continue
                    self._begin_share(detector, who, sorted(judged) if not who else [model], second, level)
                    if not who:
                        break
                elif life is not None:
                    self._share_step(detector, model, life, second, level, is_well=is_well)
                else:
                    self.unsure.pop((kind, model), None)
        if kind in _SLOW:
            for (other, model, _), life in self.lives.items():
                if other == kind and life.firing:
                    for covered in [model] if model else self._covered:
                        if covered in self._covered:
                            self._covered[covered][place] = True

    def _who(self, kind: Kind, model: str, judged: dict[str, Judged], second: int, place: int) -> str | None:
        """Whether it is the model alone (its name) or everything (no name); None while that is not clear."""
        others = [other for other in judged if other != model and judged[other].seen[place] >= ENOUGH]
        alone = any(key[0] == kind for key in self.lives)
        bad = [judged[other].level[place] > 0 or bool(judged[other].is_odd[place]) for other in others]
        if others and not alone and all(bad):
            self.unsure.pop((kind, model), None)
            return ""
        if any(bad) and not alone and second - self.unsure.setdefault((kind, model), second) < TOGETHER_S:
            return None
        self.unsure.pop((kind, model), None)
        return model

    def _begin_share(self, detector: ShareDetector, who: str, models: list[str], second: int, level: int) -> None:
        window = sum(self.kept.series(model, second - LONG_S + 1, second + 1) for model in models)
        assert not isinstance(window, int)
        bad, of = detector.columns_of(level, window.sum(axis=0))
        since = second - LONG_S + 1 + begin_of(window[:, bad], window[:, of], 0.0)
        life = self.lives[detector.kind, who, ""] = Life(since, second, level)
        for_s = max(detector.for_s(model) for model in models)
        if for_s:
            self._share_entry(detector, who, life, second, "pending")
        else:
            life.firing = True
            self._share_entry(detector, who, life, second, "firing")

    def _share_step(
        self, detector: ShareDetector, who: str, life: Life, second: int, level: int, *, is_well: bool
    ) -> None:
        change = life.step(second, level, detector.for_s(who), is_well=is_well)
        if change == "resolved":
            self._end((detector.kind, who, ""), life, second)
        elif change is not None:
            self._share_entry(detector, who, life, second, change)

    def _share_entry(self, detector: ShareDetector, who: str, life: Life, second: int, state: LifeState) -> None:
        kind, models = detector.kind, [who] if who else sorted(self.kept.rows)
        now = self._total(models, max(life.since, second - KEEP_S), second + 1)
        bad, of = detector.columns_of(life.level, now)
        bound = detector.bound(who, life.level)
        share = int(now[bad]) / int(now[of]) if now[of] else 0.0
        value: float | None = share
        if kind in {"latency_p99", "latency_p95"}:
            value = percentile_s(now[self.columns.histogram("duration")], 0.99 if kind == "latency_p99" else 0.95)
        elif kind == "ttft":
            value = percentile_s(now[self.columns.histogram("ttft")], 0.95)
        elif kind == "tokens_per_second":
            sums = Sums(self.columns, now)
            value = sums["slow_completion_tokens"] / (sums["slow_decode_us"] / 1e6) if sums["slow_decode_us"] else None
        if value is not None and bound is not None:
            value = min(value, bound) if kind == "tokens_per_second" else max(value, bound)
        found = self._diagnosis(kind, models, life.since, second)
        self._tell(kind, who, "", life, second, state, value, bound, int(now[of]), found, {"share": round(share, 4)})

    # --- diagnosis ---------------------------------------------------------------------------------------------------

    def _total(self, models: list[str], start: int, end: int) -> Ints:
        total = np.zeros(len(self.columns), np.int64)
        for model in models:
            total += self.kept.total(model, start, end)
        return total

    def _diagnosis(self, kind: Kind, models: list[str], since: int, second: int) -> Diagnosis:
        """Compare what was since it began with the same hour of other days, or else with the hour before."""
        # A few seconds that begin with the first bad request would be all bad requests.
        begin = max(min(since, second - LEAST_SEEN_S + 1), second - KEEP_S)
        now = Sums(self.columns, self._total(models, begin, second + 1))
        days = [self.hours.usual(model, second // HOUR) for model in models]
        known = [each for each in days if each is not None]
        if len(known) == len(models) and models:
            before = np.sum([row for row, _ in known], axis=0)
            rate: float | None = sum(int(row[0]) / (count * HOUR) for row, count in known)
        else:
            first = min((self.first.get(model, begin) for model in models), default=begin)
            first = max(first, begin - KEEP_S)
            before = self._total(models, first, begin)
            rate = int(before[0]) / (begin - first) if begin > first else None
        usual = Sums(self.columns, before)
        return diagnose(kind, now, usual, self._surroundings(models, begin, second), second + 1 - begin, rate)

    def _surroundings(self, models: list[str], since: int, second: int) -> Surroundings:
        """What the newest heartbeats until `second` said, and whether it began when a server had just started."""
        newest: dict[tuple[str, str], Line] = {}
        started = None
        for line in self.lines:
            if line.event == HEARTBEAT and second - SHORT_S < line.second <= second:
                known = newest.get((line.host, line.pid))
                if known is None or line.second >= known.second:
                    newest[line.host, line.pid] = line
            elif line.event == SERVER_STARTED and since - COLD_S < line.second <= second:
                started = line.second if started is None else max(started, line.second)
        if started is not None and self._total(models, started, since)[0] >= WARM:
            started = None  # it has served well since then
        waiting = [each.waiting for each in newest.values() if each.waiting is not None]
        running = [each.running for each in newest.values() if each.running is not None]
        kv = [each.kv for each in newest.values() if each.kv is not None]
        return Surroundings(
            waiting=sum(waiting) if waiting else None,
            running=sum(running) if running else None,
            most_running=sum(host.most_running for host in self.hosts.values()) or None,
            kv=max(kv) if kv else None,
            started_ago_s=None if started is None else second - started,
        )

    # --- servers -----------------------------------------------------------------------------------------------------

    def _judge_hosts(self, start: int, end: int) -> None:
        by_host: dict[str, list[Line]] = {}
        for line in sorted((line for line in self.lines if start <= line.second < end), key=_order):
            by_host.setdefault(line.host, []).append(line)
        for name in by_host:
            if name not in self.hosts and len(self.hosts) < MOST_HOSTS:
                self.hosts[name] = Host(by_host[name][0].second)
        for name, host in sorted(self.hosts.items()):
            place = start
            for line in by_host.get(name, ()):
                for second in self._points(name, host, place, line.second):
                    self._judge_host(name, host, second)
                host.take(line)
                self._judge_host(name, host, line.second)
                place = line.second + 1
            for second in self._points(name, host, place, end):
                self._judge_host(name, host, second)

    def _points(self, name: str, host: Host, start: int, end: int) -> Iterator[int]:
        """The seconds from `start` to before `end` at which a host is judged though it says nothing."""
        found = {second for second in host.deadlines(self._thresholds.server_gone_s) if start <= second < end}
        if any(key[2] == name for key in self.lives):
            found |= set(range(start + -start % 10, end, 10))
        return iter(sorted(found))

    def _judge_host(self, name: str, host: Host, second: int) -> None:
        if second < host.first + self._warm_up_s:
            return
        for reading in readings(host, second, self._thresholds):
            self._apply(reading.kind, "", name, second, reading)

    # --- lives -------------------------------------------------------------------------------------------------------

    def _apply(self, kind: Kind, model: str, host: str, second: int, reading: Reading) -> None:
        """Lead the life of an alert that is judged by one reading at a time."""
        key = (kind, model, host)
        life = self.lives.get(key)
        state: LifeState | None
        if life is None:
            if not reading.level:
                return
            life = self.lives[key] = Life(reading.since, second, reading.level)
            state = "pending" if reading.for_s else "firing"
            life.firing = state == "firing"
        else:
            state = life.step(second, reading.level, reading.for_s, is_well=reading.is_well)
            if state == "resolved" or (reading.ends_at_once and reading.is_well):
                self._end(key, life, second)
                return
            if state is None:
                return
        models = [model] if model else sorted(self.kept.rows)
        found = self._diagnosis(kind, models, life.since, second)
        if reading.cause is not None:
            found.cause = reading.cause
        self._tell(
            kind, model, host, life, second, state, reading.value, reading.bound, reading.n, found, reading.facts
        )

    def _tell(
        self,
        kind: Kind,
        model: str,
        host: str,
        life: Life,
        second: int,
        state: LifeState,
        value: float | None,
        bound: float | None,
        n: int,
        found: Diagnosis,
        facts: dict[str, object],
    ) -> None:
        labels = {name: each for name, each in (("model", model), ("host", host)) if each}
        since = time_text(life.since)
        alert = Alert(
            id=alert_id(kind, labels, since),
            kind=kind,
            severity=life.severity,
            state=state,
            time=time_text(second + 1),
            since=since,
            model=model or None,
            host=host or None,
            value=value if value is None else round(value, 4),
            bound=bound,
            n=n,
            cause=found.cause,
            shares=found.shares,
            facts={**found.facts, **facts},
        )
        self._keep(life, msgspec.structs.replace(alert, text=sentences(alert)))

    def _end(self, key: Key, life: Life, second: int) -> None:
        del self.lives[key]
        assert life.last is not None
        until = life.calm_since if life.firing and life.calm_since is not None else second
        alert = msgspec.structs.replace(
            life.last, state="resolved", time=time_text(second + 1), until=time_text(until), behind=False
        )
        self._keep(life, msgspec.structs.replace(alert, text=sentences(alert)))

    def _keep(self, life: Life, alert: Alert) -> None:
        life.last = alert
        self._found.append(alert)

    def _told(self, found: list[Alert], now_s: int) -> list[Alert]:
        """Mark what is long past; tell again what still fires and was only recorded so far."""
        assert self.judged is not None
        marked = [
            msgspec.structs.replace(each, behind=True) if now_s - seconds_of(each.time) > BEHIND_S else each
            for each in found
        ]
        newest = {each.id: each for each in marked}
        for life in self.lives.values():
            assert life.last is not None
            told = newest.get(life.last.id)
            if told is not None:
                life.told_behind = told.behind
            if life.told_behind and life.firing and now_s - self.judged <= BEHIND_S:
                life.told_behind = False
                marked.append(msgspec.structs.replace(life.last, time=time_text(self.judged + 1), behind=False))
        return marked


def _order(line: Line) -> tuple[int, str, str, str]:
    return line.second, line.host, line.pid, line.event


def time_text(second: int) -> str:
    """RFC 3339 of a second since 1970."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> int:
    """The second since 1970 of such a text."""
    return int(datetime.fromisoformat(text).timestamp())
