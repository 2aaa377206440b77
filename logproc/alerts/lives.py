"""The alerts that have begun and not ended, and the entries that tell of every change in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from logproc.alerts.alert import KINDS, Alert, Kind, State, alert_id
from logproc.alerts.clearest import examples
from logproc.alerts.diagnosis import Diagnosis
from logproc.alerts.evidence import diagnosis
from logproc.alerts.history import History
from logproc.alerts.life import Life
from logproc.alerts.reading import Reading
from logproc.alerts.sentences import sentences

BEHIND_S: Final = 60
"""What was found so long after it happened is recorded, not sent."""

Key = tuple[Kind, str, str]
"""Kind, model and host; empty where an alert has none."""


@dataclass(frozen=True)
class Finding:
    """What an entry says beside its state; see `Alert`."""

    value: float | None
    bound: float | None
    n: int
    diagnosis: Diagnosis
    facts: dict[str, Any] = field(default_factory=dict)


class Lives:
    """Leads each alert from its beginning to its end."""

    def __init__(self, history: History) -> None:
        self.open: dict[Key, Life] = {}
        self._history = history
        self._found: list[Alert] = []

    def has(self, kind: Kind, model: str = "", host: str = "") -> bool:
        """Whether there is such an alert now."""
        return (kind, model, host) in self.open

    def models_with(self, kind: Kind) -> set[str]:
        """The models with such an alert now; an empty name is all of them."""
        return {model for each, model, _ in self.open if each == kind}

    def has_host(self, host: str) -> bool:
        """Whether there is any alert about a host now."""
        return any(each == host for _, _, each in self.open)

    # --- what happens to one alert -----------------------------------------------------------------------------------

    def follow(self, key: Key, second: int, reading: Reading) -> None:
        """Let an alert that is judged by one reading at a time begin, go on or end."""
        life = self.open.get(key)
        state: State | None
        if life is None:
            if not reading.level:
                return
            life, state = self.begin(key, Life(reading.since, second, reading.level), reading.for_s)
        else:
            state = life.step(second, reading.level, reading.for_s, is_well=reading.is_well)
            if state == "resolved" or (reading.ends_at_once and reading.is_well):
                self.end(key, second)
                return
            if state is None:
                return
        kind, model, _ = key
        models = [model] if model else self._history.models(second)
        found = diagnosis(self._history, kind, models, life.since, second)
        if reading.cause is not None:
            found.cause = reading.cause
        self.write(key, second, state, Finding(reading.value, reading.bound, reading.n, found, reading.facts))

    def begin(self, key: Key, life: Life, for_s: float) -> tuple[Life, State]:
        """An alert begins: firing at once, or pending where it must hold for a while first."""
        self.open[key] = life
        life.firing = not for_s
        return life, "firing" if life.firing else "pending"

    def write(self, key: Key, second: int, state: State, finding: Finding) -> None:
        """Write an entry: its state or severity changes with this second."""
        (kind, model, host), life = key, self.open[key]
        labels = {name: each for name, each in (("model", model), ("host", host)) if each}
        since = time_text(life.since)
        models = [model] if model else self._history.models(second)
        named, clients = examples(self._history.clearest, kind, models, life.since, second)
        facts = {**finding.diagnosis.facts, **finding.facts}
        if clients:
            facts["clients"] = clients
        self._keep(
            life,
            Alert(
                id=alert_id(kind, labels, since),
                kind=kind,
                severity=life.severity,
                state=state,
                time=time_text(second + 1),
                since=since,
                model=model or None,
                host=host or None,
                value=finding.value if finding.value is None else round(finding.value, 4),
                bound=finding.bound,
                n=finding.n,
                cause=finding.diagnosis.cause,
                shares=finding.diagnosis.shares,
                facts=facts,
                examples=named,
            ),
        )

    def end(self, key: Key, second: int) -> None:
        """An alert ends with this second: its last entry."""
        life = self.open.pop(key)
        assert life.last is not None
        until = life.calm_since if life.firing and life.calm_since is not None else second
        self._keep(
            life,
            msgspec.structs.replace(
                life.last, state="resolved", time=time_text(second + 1), until=time_text(until), behind=False
            ),
        )

    def _keep(self, life: Life, alert: Alert) -> None:
        life.last = msgspec.structs.replace(alert, text=sentences(alert))
        self._found.append(life.last)

    # --- what is told ------------------------------------------------------------------------------------------------

    def take(self) -> list[Alert]:
        """The entries since the last time, in order of time."""
        found, self._found = self._found, []
        return sorted(found, key=lambda each: (each.time, KINDS.index(each.kind), each.model or "", each.host or ""))

    def mark_behind(self, found: list[Alert], judged: int, now_s: int) -> list[Alert]:
        """Mark what is long past; tell again what still fires and was only recorded so far."""
        marked = [
            msgspec.structs.replace(each, behind=True) if now_s - seconds_of(each.time) > BEHIND_S else each
            for each in found
        ]
        newest = {each.id: each for each in marked}
        for life in self.open.values():
            assert life.last is not None
            told = newest.get(life.last.id)
            if told is not None:
                life.told_behind = told.behind
            if life.told_behind and life.firing and now_s - judged <= BEHIND_S:
                life.told_behind = False
                marked.append(msgspec.structs.replace(life.last, time=time_text(judged + 1), behind=False))
        return marked


def time_text(second: int) -> str:
    """RFC 3339 of a second since 1970."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> int:
    """The second since 1970 of such a text."""
    return int(datetime.fromisoformat(text).timestamp())
