"""What Alertmanager sends to its webhook → deliveries: read, told apart from a repeat, queued; a group stays one."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from logproc.alerts.alert import Severity
from logproc.notify import queue, subjects
from logproc.notify.channel import ExternalAlert
from logproc.notify.deliveries import FULL, Deliveries
from logproc.notify.plan import RANK, is_silenced
from logproc.notify.queue import Delivery
from logproc.settings import Route

LONGEST_BODY: Final = 4 * 1024 * 1024
"""Bytes. Thousands of alerts; `max_alerts` in Alertmanager's webhook_config bounds it."""

REQUESTS: Final = "logproc_relay_requests"


class NotAWebhookError(Exception):
    """The body is none of Alertmanager's; the message says what is wrong with it, and nothing of what is in it."""


class QueueFullError(Exception):
    """Too much waits already."""


class Group(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Version 4 of Alertmanager's webhook, as far as it is used."""

    version: str
    group_key: str
    status: str
    receiver: str = ""
    common_labels: dict[str, str] = {}
    alerts: list[ExternalAlert]

    @property
    def is_firing(self) -> bool:
        """Whether any of it still fires."""
        return any(alert.status == "firing" for alert in self.alerts)

    @property
    def severity(self) -> Severity:
        """The gravest of what fires; of everything, where nothing fires any more."""
        told = [alert.severity for alert in self.alerts if alert.status == "firing" or not self.is_firing]
        return max(told, key=lambda severity: RANK[severity], default="warning")

    def state(self) -> str:
        """What two Alertmanagers of a cluster tell alike: the status of the group and of each alert in it."""
        each = sorted(f"{fingerprint(alert)}={alert.status}" for alert in self.alerts)
        return queue.digest(self.status, *each)


_decode: Final = msgspec.json.Decoder(Group).decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def read_group(body: bytes) -> Group:
    """A webhook body.

    Raises:
        NotAWebhookError: it is none.
    """
    try:
        group = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # the messages name fields and types, never values
        raise NotAWebhookError(f"no webhook of Alertmanager: {_without_values(error)}") from None
    if group.version != "4":
        raise NotAWebhookError('no webhook of Alertmanager: `version` is not "4"')
    if not group.alerts:
        raise NotAWebhookError("no webhook of Alertmanager: `alerts` is empty")
    return group


def _without_values(error: Exception) -> str:
    return str(error) if isinstance(error, msgspec.ValidationError) and "Invalid enum" not in str(error) else "no JSON"


def group_of(entry: bytes) -> Group:
    """A group as it was queued."""
    return _decode(entry)


def fingerprint(alert: ExternalAlert) -> str:
    """What tells an alert from others: Alertmanager's own fingerprint, else its labels."""
    return alert.fingerprint or queue.digest(*(f"{name}={alert.labels[name]}" for name in sorted(alert.labels)))


def enqueue(deliveries: Deliveries, name: str, route: Route, group: Group, now_ms: int) -> bool:
    """Queue a group for the channels of a route; True once that is durable, False when it is a repeat.

    A repeat tells of a group what was told last, within `dedupe` of it: the other Alertmanager of a pair, or a retry.

    Raises:
        QueueFullError: too much waits already; nothing was queued.
        sqlite3.Error: `notify.db` cannot be written; nothing was queued.
    """
    subject = f"group {queue.digest(name, group.receiver, group.group_key)}"
    state = group.state()
    with deliveries.writing() as connection:
        before = connection.execute("SELECT state, time_ms FROM relayed WHERE subject = ?", (subject,)).fetchone()
        if before and before[0] == state and 0 <= now_ms - before[1] < route.dedupe_s * 1000:
            queue.count(connection, REQUESTS, name, "duplicate")
            return False
        if sum(length for length, _ in queue.lengths(connection).values()) >= FULL:
            raise QueueFullError
        connection.execute(
            "INSERT OR REPLACE INTO relayed (subject, state, time_ms) VALUES (?, ?, ?)", (subject, state, now_ms)
        )
        entry_id = queue.digest(subject, state, str(now_ms))
        silenced = _is_silenced(connection, group, now_ms)
        for channel in route.to:
            kept_back = silenced if group.is_firing else queue.was_silenced(connection, subject, channel)
            delivery = Delivery(
                id=queue.delivery_id(entry_id, channel, ""),
                subject=subject,
                is_group=True,
                entry_id=entry_id,
                entry=_encode(group),
                is_firing=group.is_firing,
                rank=RANK[group.severity],
                channel=channel,
                created_ms=now_ms,
                size=len(group.alerts),
            )
            queue.add(connection, delivery, "silenced" if kept_back else "waiting")
            if kept_back:
                queue.count(connection, queue.DELIVERIES, channel, "silenced")
        queue.count(connection, REQUESTS, name, "queued")
    return True


def _is_silenced(connection: sqlite3.Connection, group: Group, now_ms: int) -> bool:
    """Whether all of it that fires is of a kind that is silenced (label `kind`, as `logproc rules` writes it)."""
    silences = subjects.silences(connection, now_ms)
    firing = [alert.labels for alert in group.alerts if alert.status == "firing"]
    return bool(silences) and all(
        is_silenced(labels.get("kind", ""), labels.get("model"), silences, now_ms) for labels in firing
    )
