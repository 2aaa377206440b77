"""From what waits to messages and back: which one a channel gets next, and what its answer means for the queue.

A message whose fate is not known, because the process was killed or no answer came, is sent again as it was, with the
same id, until the channel takes or refuses it. Everything else that was not taken waits again, and goes together with
what came meanwhile.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from logproc.alerts.alert import Alert
from logproc.notify import pace, queue, subjects
from logproc.notify.channel import Dead, Delivered, Outcome, Rejected, Retryable, Throttled, TooLong
from logproc.notify.deliveries import Deliveries
from logproc.notify.plan import is_silenced, next_channel
from logproc.notify.queue import DELIVERIES, NOTIFICATIONS, Delivery, Health

RESULTS: Final[dict[type[Outcome], str]] = {
    Delivered: "delivered",
    Throttled: "throttled",
    Retryable: "retryable",
    Dead: "dead",
    Rejected: "rejected",
    TooLong: "too_long",
}
"""Of one attempt to send a message."""

MESSAGES_PER_S: Final = 0.25
MESSAGES_AT_ONCE: Final = 4
"""What people can bear: at most so many messages a channel, whatever it would take. At most 20 in any minute."""

_decode: Final = msgspec.json.Decoder(Alert).decode


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that a worker is to send now; nobody else will."""

    message: str
    """Its id."""
    channel: str
    deliveries: tuple[Delivery, ...]
    is_repeat: bool = False
    """The channel may have taken it already: the answer to an earlier attempt is not known."""


class Sending:
    """Hands out messages, one at a time for each channel, and settles them. From any thread.

    Raises:
        sqlite3.Error: from every method, when `notify.db` cannot be read or written; nothing was changed then.
    """

    def __init__(self, deliveries: Deliveries, chance: random.Random | None = None) -> None:
        self._deliveries = deliveries
        self._outlets = deliveries.outlets
        self._fallbacks = {name: each.fallback for name, each in self._outlets.items() if each.fallback is not None}
        self._most = {name: each.limits.digest_size for name, each in self._outlets.items()}
        self._chance = chance or random.Random()

    def claim(self, channel: str, now_ms: int) -> Claim | float:
        """The next message for a channel, or how many seconds there is nothing to do (infinite: until called)."""
        with self._deliveries.reading() as connection:
            if not queue.opened(connection, channel, 1):
                return float("inf")
            health = queue.health(connection, channel)
            if health.is_paused(now_ms):
                if health.is_out(now_ms) and self._can_hand_over(connection, channel, now_ms):
                    with self._deliveries.writing() as writing:
                        self._hand_over(writing, channel, now_ms)
                    return 0.0
                return health.until_ms(now_ms) / 1000 - now_ms / 1000
            return self._claim(channel, now_ms)

    def _claim(self, channel: str, now_ms: int) -> Claim | float:
        limits = self._outlets[channel].limits
        per_s, burst = min(limits.per_s, MESSAGES_PER_S), min(limits.burst, MESSAGES_AT_ONCE)
        with self._deliveries.writing(tell=False) as connection:
            bucket = queue.bucket(connection, limits.key, burst, now_ms).filled(per_s, burst, now_ms)
            wait_s = bucket.wait_s(per_s)
            if wait_s > 0:
                return wait_s
            opened = queue.opened(connection, channel)
            chosen = [delivery for delivery in opened if delivery.message is not None]
            if not chosen:
                waiting = self._unsilenced(connection, opened, now_ms)
                chosen = pace.next_message(waiting, tokens=bucket.tokens, most=self._most[channel])
            if not chosen:
                return float("inf")
            before = chosen[0].message
            message = before or queue.message_id(chosen)
            queue.mark(connection, chosen, "sending", now_ms, message)
            queue.save_bucket(connection, limits.key, bucket.taken())
            return Claim(message, channel, tuple(chosen), is_repeat=before is not None)

    def _unsilenced(
        self, connection: sqlite3.Connection, waiting: Sequence[Delivery], now_ms: int
    ) -> Sequence[Delivery]:
        """Without what was silenced since it was planned, and without the ends of which nobody heard the beginning."""
        silences = subjects.silences(connection, now_ms)
        if not silences:
            return waiting
        muted = set()
        for delivery in waiting:
            if not delivery.is_group and delivery.is_firing:
                alert = _decode(delivery.entry)
                if is_silenced(alert.kind, alert.model, silences, now_ms):
                    muted.add(delivery.subject)
        kept_back = [
            each for each in waiting if each.subject in muted and (each.is_firing or not self._heard(connection, each))
        ]
        for each in kept_back:
            queue.mark(connection, [each], "silenced", now_ms)
            queue.mark_tried(connection, each, "silenced", now_ms)
            queue.count(connection, DELIVERIES, each.channel, "silenced")
        gone = {each.id for each in kept_back}
        return [each for each in waiting if each.id not in gone]

    def _heard(self, connection: sqlite3.Connection, delivery: Delivery) -> bool:
        """Whether its channel, or one that it was passed on from, was told of a beginning."""
        names = (delivery.channel, *delivery.tried)
        return any(queue.has_heard(connection, delivery.subject, name) for name in names)

    def settle(self, claim: Claim, outcome: Outcome, now_ms: int, *, in_doubt: bool = False) -> None:
        """What became of a message. `in_doubt`: there was no answer, so the channel may have taken it all the same."""
        with self._deliveries.writing() as connection:
            channel, deliveries = claim.channel, claim.deliveries
            queue.count(connection, NOTIFICATIONS, channel, RESULTS[type(outcome)])
            before = queue.health(connection, channel)
            subjects_told = len({delivery.subject for delivery in deliveries})
            is_unsure = in_doubt or claim.is_repeat  # what this answer says of an attempt, it does not say of others
            match outcome:
                case Delivered():
                    queue.mark(connection, deliveries, "delivered", now_ms, claim.message)
                    queue.count(connection, DELIVERIES, channel, "delivered", len(deliveries))
                    queue.save_health(connection, channel, Health(last_success_ms=now_ms))
                    self._most[channel] = min(self._outlets[channel].limits.digest_size, 2 * self._most[channel])
                case Throttled(after_s, why):
                    self._keep(connection, claim, now_ms, is_unsure=is_unsure)
                    queue.save_health(connection, channel, before.failed(now_ms, after_s, why))
                case Retryable(why, after_s):
                    self._keep(connection, claim, now_ms, is_unsure=is_unsure)
                    wait_s = max(after_s or 0.0, pace.retry_s(before.failures + 1, self._chance))
                    queue.save_health(connection, channel, before.failed(now_ms, wait_s, why))
                case Dead(why):
                    self._keep(connection, claim, now_ms, is_unsure=is_unsure)
                    queue.save_health(connection, channel, before.failed(now_ms, pace.DEAD_S, why, is_dead=True))
                    self._hand_over(connection, channel, now_ms)
                case Rejected(why) | TooLong(why):
                    queue.save_health(
                        connection, channel, replace(Health(problem=why), last_success_ms=before.last_success_ms)
                    )
                    if subjects_told > 1:  # which of them it is shows when they come in smaller messages
                        self._most[channel] = subjects_told // 2
                        queue.mark(connection, deliveries, "waiting", now_ms)
                    else:
                        self._refused(connection, channel, deliveries, now_ms)

    def _keep(self, connection: sqlite3.Connection, claim: Claim, now_ms: int, *, is_unsure: bool) -> None:
        """It waits again; as the same message while the channel may have taken it."""
        if is_unsure:
            queue.mark(connection, claim.deliveries, "sending", now_ms, claim.message)
        else:
            queue.mark(connection, claim.deliveries, "waiting", now_ms)

    def _refused(
        self, connection: sqlite3.Connection, channel: str, deliveries: Iterable[Delivery], now_ms: int
    ) -> None:
        """The channel will never take these: another one may."""
        well = self._well(connection, now_ms)
        for delivery in deliveries:
            target = self._target(connection, delivery, well, back=False)
            if target is not None:
                queue.add(connection, _for_another(delivery, target))
            queue.mark(connection, [delivery], "rejected", now_ms)
            queue.count(connection, DELIVERIES, channel, "rejected" if target is None else "passed_on")

    def _can_hand_over(self, connection: sqlite3.Connection, channel: str, now_ms: int) -> bool:
        well = self._well(connection, now_ms)
        return any(
            self._target(connection, delivery, well) is not None for delivery in queue.opened(connection, channel)
        )

    def _hand_over(self, connection: sqlite3.Connection, channel: str, now_ms: int) -> None:
        """What waits for a channel that is out goes to others, where there are any that are not."""
        well = self._well(connection, now_ms)
        for delivery in queue.opened(connection, channel):
            target = self._target(connection, delivery, well)
            if target is not None:
                queue.add(connection, _for_another(delivery, target))
                queue.mark(connection, [delivery], "passed_on", now_ms)
                queue.count(connection, DELIVERIES, channel, "passed_on")

    def _well(self, connection: sqlite3.Connection, now_ms: int) -> frozenset[str]:
        """The channels that are not out."""
        return frozenset(name for name in self._outlets if not queue.health(connection, name).is_out(now_ms))

    def _target(
        self, connection: sqlite3.Connection, delivery: Delivery, well: Container[str], *, back: bool = True
    ) -> str | None:
        """The channel that is to take it over: one that is well, and has not refused just this."""

        def cannot(name: str) -> bool:
            return name not in well or queue.was_rejected(connection, _for_another(delivery, name).id)

        return next_channel(delivery.channel, delivery.tried if back else (), self._fallbacks, cannot)


def _for_another(delivery: Delivery, channel: str) -> Delivery:
    """The same for another channel."""
    return replace(
        delivery,
        id=queue.delivery_id(delivery.entry_id, channel, delivery.occasion),
        channel=channel,
        tried=tuple(dict.fromkeys((*delivery.tried, delivery.channel))),
        message=None,
    )
