"""Deliveries → the message that tells them: the newest of each alert, and a digest where they are many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from logproc.alerts.alert import Alert
from logproc.decode import time_ms
from logproc.notify.channel import ExternalAlert, Message, Reason
from logproc.notify.plan import ESCALATION
from logproc.notify.queue import Delivery
from logproc.notify.relay import Group, fingerprint, group_of

IN_FULL: Final = 3
"""So many alerts are told in full; more are a digest."""

_decode: Final = msgspec.json.Decoder(Alert).decode
_FAR_MS: Final = 1 << 47


def message_of(message_id: str, deliveries: Iterable[Delivery]) -> Message:
    """The message, a pure function of its deliveries: at every attempt it is the same.

    What began and ended meanwhile is told once, as it is now. Of a relayed group every alert is told as it was last.
    """
    alerts: dict[str, Alert] = {}
    groups: dict[str, Group] = {}
    external: dict[tuple[str, str], ExternalAlert] = {}
    occasions = set()
    for delivery in sorted(deliveries, key=lambda each: each.created_ms):
        occasions.add(delivery.occasion)
        if delivery.is_group:
            group = groups[delivery.subject] = group_of(delivery.entry)
            external |= {(delivery.subject, fingerprint(alert)): alert for alert in group.alerts}
            continue
        alert = _decode(delivery.entry)
        before = alerts.get(delivery.subject)
        if before is None or _order(before) <= _order(alert):
            alerts[delivery.subject] = alert
    only = next(iter(groups.values())) if len(groups) == 1 and not alerts else None
    return Message(
        id=message_id,
        alerts=tuple(alerts.values()),
        external=tuple(external.values()),
        digest=len(alerts) + len(external) > IN_FULL,
        reason=_reason(occasions),
        group=only.common_labels if only else {},
    )


def _order(alert: Alert) -> tuple[int, bool]:
    return time_ms(alert.time, _FAR_MS), alert.state == "resolved"


def _reason(occasions: set[str]) -> Reason:
    if "" in occasions:
        return "new"
    return "escalation" if ESCALATION in occasions else "reminder"
