"""What `/metrics` says of deliveries: committed counters, queues, and how long ago each channel took something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from logproc.measure.exposition import Gauge
from logproc.notify import relay
from logproc.notify.deliveries import Deliveries
from logproc.notify.queue import DELIVERIES, ESCALATIONS, NOTIFICATIONS
from logproc.notify.sending import RESULTS

ENDS: Final = ("delivered", "silenced", "rejected", "passed_on", "gone")
RELAYED: Final = ("queued", "duplicate")


def gauges(deliveries: Deliveries, routes: Iterable[str], now_ms: int) -> list[Gauge]:
    """Every metric of delivery. Raises sqlite3.Error when `notify.db` cannot be read."""
    standings = deliveries.standings()
    counted = {(name, channel, result): value for name, channel, result, value in deliveries.counters()}

    def counter(name: str, text: str, label: str, values: Iterable[str], results: Iterable[str]) -> Gauge:
        known = {
            (value, result): 0 for value in values for result in results
        }  # the first increase shall be seen as one
        known |= {(value, result): count for (metric, value, result), count in counted.items() if metric == name}
        samples = [({label: value, "result": result}, count) for (value, result), count in known.items()]
        return Gauge(name, text, samples, "counter")

    def gauge(name: str, text: str, values: Mapping[str, float | None]) -> Gauge:
        return Gauge(name, text, [({"channel": each}, value) for each, value in values.items() if value is not None])

    return [
        counter(NOTIFICATIONS, "Messages sent to a channel, by what came of it.", "channel",
                standings, RESULTS.values()),
        counter(DELIVERIES, "Alert entries that a channel was to be told of, by what became of them.", "channel",
                standings, ENDS),
        Gauge(ESCALATIONS, "Alerts that a channel was told of because nobody saw to them.",
              [({"channel": name}, counted.get((ESCALATIONS, name, ""), 0)) for name in standings], "counter"),
        counter(relay.REQUESTS, "Webhooks of Alertmanager that were taken.", "route", routes, RELAYED),
        gauge("logproc_notifications_waiting", "Deliveries that a channel has not taken yet.",
              {name: each.waiting[0] for name, each in standings.items()}),
        gauge("logproc_notifications_oldest_seconds", "How long the oldest of them has waited.",
              {name: max(0.0, (now_ms - each.waiting[1]) / 1000) if each.waiting[1] is not None else 0.0
               for name, each in standings.items()}),
        gauge("logproc_notifications_last_success_timestamp_seconds", "When a channel last took a message.",
              {name: each.health.last_success_ms / 1000 if each.health.last_success_ms is not None else None
               for name, each in standings.items()}),
        gauge("logproc_notifications_failing", "Whether a channel's last answer was a failure.",
              {name: float(each.health.failing_since_ms is not None) for name, each in standings.items()}),
    ]  # fmt: skip
