"""Holds what the channels took against what was to be told: nothing lost, nothing told twice under another id."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from logproc.alerts.alert import Alert
from tests.torture.notify.channels import Taken


def lost(entries: Iterable[Alert], taken: Mapping[str, Sequence[Taken]]) -> Iterator[str]:
    """Alerts of which a channel does not know how they stand."""
    newest: dict[str, Alert] = {}
    was_critical = set()
    for entry in entries:
        newest[entry.id] = entry
        if entry.severity == "critical":
            was_critical.add(entry.id)
    told = {name: {each for message in messages for each in message.entries} for name, messages in taken.items()}
    names = {name: {each for message in messages for each in message.names} for name, messages in taken.items()}
    for alert in newest.values():
        yield from (f"hook: {each}" for each in _unknown(alert, told["hook"]))
        if alert.model not in names["robot"]:
            yield f"robot: {alert.model} was never told"
        if alert.id in was_critical:
            yield from (f"frail, second: {each}" for each in _unknown(alert, told["frail"] | told["second"]))
            if alert.model not in names["mail"]:
                yield f"mail: {alert.model} was never told"


def _unknown(alert: Alert, told: set[tuple[str, str, str, str]]) -> Iterator[str]:
    if alert.state == "firing":
        if (alert.id, "firing", alert.severity, alert.time) not in told:
            yield f"{alert.model} fires as {alert.severity}, and that was not told"
    elif not any(state == "resolved" for each, state, _, _ in told if each == alert.id):
        yield f"{alert.model} has ended, and that was not told"


def lost_groups(groups: Mapping[str, str], taken: Mapping[str, Sequence[Taken]]) -> Iterator[str]:
    """Relayed alerts (name → status that was last answered with 200) of which a channel does not know the end."""
    for name, status in groups.items():
        told = [state for message in taken["hook"] for each, state, _, _ in message.entries if each == name]
        if status not in told:
            yield f"hook: {name} is {status}, and that was not told"
        if not any(name in message.names for message in taken["robot"]):
            yield f"robot: {name} was never told"


def told_twice(taken: Mapping[str, Sequence[Taken]]) -> Iterator[str]:
    """What a channel took under two ids, or two things under one id."""
    for name, messages in taken.items():
        shown: defaultdict[str, set[str]] = defaultdict(set)
        ids: defaultdict[tuple[str, str, str, str], set[str]] = defaultdict(set)
        for message in messages:
            if message.id:
                shown[message.id].add(message.shown)
                for entry in message.entries:
                    ids[entry].add(message.id)
        yield from (f"{name}: {len(texts)} texts under id {each}" for each, texts in shown.items() if len(texts) > 1)
        yield from (f"{name}: {entry} under {len(each)} ids" for entry, each in ids.items() if len(each) > 1)


def repeats(messages: Sequence[Taken]) -> int:
    """How many messages a channel took again, as they were."""
    return sum(count - 1 for count in Counter((each.id, each.shown) for each in messages).values())


def most_in_a_minute(times_ms: Iterable[int]) -> int:
    """The most messages in any 60 seconds."""
    times = sorted(times_ms)
    first = most = 0
    for last, time in enumerate(times):
        while time - times[first] >= 60_000:
            first += 1
        most = max(most, last - first + 1)
    return most
