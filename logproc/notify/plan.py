"""Who is to be told what, and when: pure functions of what is known of an alert, the settings, silences and the time.

Nothing here remembers anything: the same question is asked when an alert changes, and again while it fires, so that an
end of a silence, a repetition and an escalation need no timers of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from logproc.alerts.alert import SEVERITIES, Alert, Severity
from logproc.settings import Alerts, Route

ESCALATION: Final = "escalation"
REMINDER: Final = "reminder"

RANK: Final[dict[str, int]] = {severity: place for place, severity in enumerate(SEVERITIES)}
"""From mild to grave."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Until when one kind of alert (of one model) is not to be told. Times are ms since 1970."""

    id: str
    kind: str
    until_ms: int
    model: str | None = None
    """None: of every model, and of servers."""
    created_ms: int = 0
    by: str = ""
    comment: str = ""

    def mutes(self, kind: str, model: str | None, now_ms: int) -> bool:
        """Whether an alert of this kind and model is not to be told now."""
        return self.kind == kind and self.model in (None, model) and now_ms < self.until_ms


@dataclass(frozen=True, slots=True)
class Told:
    """What one channel has last been told of an alert, or is about to be: what waits in its queue counts."""

    entry_id: str
    is_firing: bool
    first_ms: int
    """When it was first told of this alert."""
    last_ms: int
    waits: bool = False
    """Whether the channel has not taken it yet."""


@dataclass(frozen=True, slots=True)
class Known:
    """An alert as it stands: its newest entry, and what came of it."""

    alert: Alert
    entry_id: str
    told: Mapping[str, Told] = field(default_factory=dict)
    """By channel."""
    acknowledged: Severity | None = None
    """How grave it was when somebody acknowledged it."""

    @property
    def is_acknowledged(self) -> bool:
        """An acknowledgement holds until the alert becomes graver."""
        return self.acknowledged is not None and RANK[self.acknowledged] >= RANK[self.alert.severity]


@dataclass(frozen=True, slots=True)
class Need:
    """One thing to tell one channel."""

    channel: str
    occasion: str = ""
    """Empty for the entry itself; else why the same entry is told (again). Unique for the entry and the channel."""
    is_silenced: bool = False
    """To be recorded, and not told."""


def is_silenced(kind: str, model: str | None, silences: Iterable[Silence], now_ms: int) -> bool:
    """Whether any of the silences mutes an alert of this kind and model now."""
    return any(silence.mutes(kind, model, now_ms) for silence in silences)


def needs(
    known: Known,
    alerts: Alerts,
    silences: Iterable[Silence],
    now_ms: int,
    refresh_s: Mapping[str, float] = MappingProxyType({}),
) -> list[Need]:
    """What has to be told of an alert now; nothing when everybody knows.

    - Pending alerts, those found while catching up, and all of them where Prometheus decides, are not told.
    - A firing alert is told to the channels of its severity, and to those that heard of it at another severity.
    - An end is told to whoever was told of a beginning, though it be silenced by now; and to nobody else.
    - What fires on unacknowledged is told again after `repeat`, and to further channels as `escalate` says.
    - Channels in `refresh_s` forget: they are told again so often, acknowledged or not.
    """
    alert = known.alert
    if alerts.decide == "prometheus":
        return []
    if alert.state == "resolved":  # found while catching up or not
        return [Need(channel) for channel, told in known.told.items() if told.is_firing]
    if alert.behind or alert.state == "pending":
        return []
    silenced = is_silenced(alert.kind, alert.model, silences, now_ms)
    routed = channels(alert.severity, alerts)
    heard = [channel for channel in known.told if channel not in routed]
    changed = [
        Need(channel, is_silenced=silenced)
        for channel in (*routed, *heard)
        if channel not in known.told or known.told[channel].entry_id != known.entry_id
    ]
    if silenced:
        return [need for need in changed if need.channel in routed]
    every_s: dict[str, float] = dict(refresh_s)
    escalated: list[str] = []
    if not known.is_acknowledged:
        escalated = [each for each in _escalated(known, alerts, now_ms) if each not in routed]
        if alerts.repeat_s is not None:
            every_s |= {each: min(alerts.repeat_s, refresh_s.get(each, math.inf)) for each in (*routed, *escalated)}
    new = [Need(channel, ESCALATION) for channel in escalated if channel not in known.told]
    return changed + new + _repeated(known, every_s, now_ms)


def channels(severity: Severity, alerts: Alerts) -> list[str]:
    """The channels of every route for this severity, each once."""
    return list(dict.fromkeys(channel for route in _routes(severity, alerts) for channel in route.to))


def _routes(severity: Severity, alerts: Alerts) -> list[Route]:
    """The routes that name the severity; where none does, those of the next milder one that a route names.

    So an alert that grew graver than anybody thought of is not kept back.
    """
    for rank in range(RANK[severity], -1, -1):
        if routes := [route for route in alerts.routes.values() if SEVERITIES[rank] in route.severity]:
            return routes
    return []


def _escalated(known: Known, alerts: Alerts, now_ms: int) -> list[str]:
    """The channels that are to hear of it because nobody acknowledged it in time."""
    due: dict[str, None] = {}
    for route in _routes(known.alert.severity, alerts):
        first = min((known.told[channel].first_ms for channel in route.to if channel in known.told), default=None)
        if route.escalate is not None and first is not None and now_ms - first >= route.escalate.after_s * 1000:
            due |= dict.fromkeys(route.escalate.to)
    return list(due)


def _repeated(known: Known, every_s: Mapping[str, float], now_ms: int) -> list[Need]:
    told = ((channel, known.told[channel], span_s) for channel, span_s in every_s.items() if channel in known.told)
    return [
        Need(channel, f"{REMINDER} {last.last_ms}")
        for channel, last, span_s in told
        if last.entry_id == known.entry_id and not last.waits and now_ms - last.last_ms >= span_s * 1000
    ]


def next_channel(
    channel: str, tried: Sequence[str], fallbacks: Mapping[str, str], is_out: Callable[[str], bool]
) -> str | None:
    """Where to take what a channel cannot deliver: the first along its fallbacks, else of those tried, that is not out.

    None where there is none: then it waits where it is.
    """
    chain = [channel]
    while (further := fallbacks.get(chain[-1])) is not None and further not in chain:
        chain.append(further)
    return next((each for each in (*chain[1:], *tried) if each != channel and not is_out(each)), None)
