"""The alert: one entry of its life, immutable, as it is committed in `measure.db`, shown, and sent to people."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final, Literal

import msgspec

from logproc.decode import time_ms

Kind = Literal[
    "latency_p99",
    "latency_p95",
    "ttft",
    "tokens_per_second",
    "errors",
    "empty",
    "traffic_silent",
    "server_gone",
    "cold_start",
    "kv_cache_full",
    "gpu_memory",
    "queue_growing",
    "drift",
]
KINDS: Final[tuple[Kind, ...]] = Kind.__args__  # type: ignore[attr-defined]
"""The closed list."""

Severity = Literal["warning", "critical", "disaster"]
SEVERITIES: Final[tuple[Severity, ...]] = ("warning", "critical", "disaster")
"""From mild to grave."""

State = Literal["pending", "firing", "resolved"]

Cause = Literal[
    "queue", "prefill", "decode", "stall", "client", "long_prompts", "cache_misses", "long_answers", "cold_start",
    "kv_cache", "gpu_memory", "batch", "errors", "no_output", "unknown",
]  # fmt: skip
"""What explains most of it. The first five are also the names in `shares`."""
CAUSES: Final[tuple[Cause, ...]] = Cause.__args__  # type: ignore[attr-defined]


_ANY_TIME: Final = 1 << 47
"""An alert's own time is never too far in the future."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry in the life of an alert: every change of state or severity is a new one.

    Times are RFC 3339 texts in UTC, log time. `value` and `bound` are in the unit of the threshold (seconds, tokens a
    second, a ratio, bytes). `n` is how many requests (or heartbeats) it was judged by.
    """

    id: str
    """The same for every entry of one alert, see `alert_id`."""
    kind: Kind
    severity: Severity
    state: State
    time: str
    """When this change happened."""
    since: str
    """Since when something is wrong."""
    until: str | None = None
    """Until when it was, once it is resolved."""
    model: str | None = None
    """None where it is everything, or a server."""
    host: str | None = None
    value: float | None = None
    bound: float | None = None
    n: int = 0
    cause: Cause | None = None
    shares: dict[str, float] = {}
    """Of the excess over what is usual for the model: queue, prefill, decode, stall, client; they add up to 1."""
    facts: dict[str, Any] = {}
    """What else the diagnosis found, as data: growth of prompts, cache hit rate, models and clients concerned, …"""
    examples: list[str] = []
    """`event.id` of at most five requests that show it most clearly."""
    text: dict[str, str] = {}
    """Two plain sentences, by language: `en`, `zh`."""
    behind: bool = False
    """Written while logproc was catching up with old lines: recorded, not sent. What still fires when it has caught up
    gets an entry of its own then."""

    @property
    def labels(self) -> dict[str, str]:
        """What tells this alert from others of its kind."""
        return {name: value for name, value in (("model", self.model), ("host", self.host)) if value is not None}


def alert_id(kind: Kind, labels: dict[str, str], since: str) -> str:
    """The id of an alert, 16 hex digits: whoever finds the same alert in the same log gives it the same id."""
    told = "\0".join([kind, *(f"{name}={labels[name]}" for name in sorted(labels)), since])
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def entry_id(alert: Alert) -> str:
    """The `event.id` of an entry as a document, 22 base64url characters: time first, as in every id."""
    told = f"{alert.id}\0{alert.state}\0{alert.severity}\0{alert.time}"
    milliseconds = time_ms(alert.time, _ANY_TIME)
    octets = milliseconds.to_bytes(6, "big") + hashlib.blake2b(told.encode(), digest_size=10).digest()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
