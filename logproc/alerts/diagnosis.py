"""Why it is so: which part of the excess over the usual is queue, prefill, decode, stall or client; what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from logproc.alerts.alert import Cause, Kind
from logproc.alerts.columns import Columns, Ints
from logproc.alerts.guard import LEAST_BAD

GREW: Final = 1.5
"""By so much something must have grown to be told as the cause."""
LONGER: Final = 1.3
"""By so much prompts or answers must have grown."""
FULL: Final = 0.95
"""So much of the KV cache is full."""
FEWER_CACHED: Final = 0.75
"""To this part of the usual the cached tokens of a request must have fallen, and their share of the prompt too."""
STALLED: Final = 0.02
"""So large a share of the answers must have paused for longer than `stall_s`."""
COLD_S: Final = 300
"""So long after its start a server is cold."""

SHARES: Final = ("queue", "prefill", "decode", "stall", "client")


@dataclass(frozen=True)
class Surroundings:
    """What the servers said meanwhile; None is unknown."""

    waiting: int | None = None
    running: int | None = None
    most_running: int | None = None
    kv: float | None = None
    started_ago_s: int | None = None


@dataclass
class Diagnosis:
    """The cause, the shares of the excess (they add up to 1; empty when there is none), and facts as data."""

    cause: Cause
    shares: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


class Sums:
    """Sums by name, and the means that can be made of them; None is unknown."""

    def __init__(self, columns: Columns, row: Ints) -> None:
        self._at, self._row = columns.at, row.tolist()

    def __getitem__(self, name: str) -> int:
        value: int = self._row[self._at[name]]
        return value

    def mean(self, total: str, count: str) -> float | None:
        """A mean; None where nothing was counted."""
        return self[total] / self[count] if self[count] else None

    @property
    def hit_rate(self) -> float | None:
        """The share of prompt tokens found in the prefix cache."""
        return self.mean("cached_tokens", "cacheable_tokens")

    @property
    def token_s(self) -> float | None:
        """Decode seconds a token, by the engine."""
        return (
            self["decode_us"] / self["completion_tokens"] / 1e6
            if self["engine"] and self["completion_tokens"]
            else None
        )


def diagnose(
    kind: Kind, now: Sums, usual: Sums, around: Surroundings, seconds: int, usual_rate: float | None
) -> Diagnosis:
    """The diagnosis of an alert about requests: `now` since it began (`seconds` long), `usual` as it was before."""
    changes = _changes(now, usual, around, seconds, usual_rate)
    if kind in {"errors", "empty"}:
        own: Cause = "errors" if kind == "errors" else "no_output"
        cause: Cause = "cold_start" if changes.get("server_started_s") is not None else own
        return Diagnosis(cause, {}, _errors(now) | changes)
    shares = _shares(kind, now, usual, around)
    if _is_stalled(now, usual):
        changes["stalled"] = now["stalled"]
    return Diagnosis(_cause(shares, changes), shares, changes)


def _is_stalled(now: Sums, usual: Sums) -> bool:
    """Whether answers that had begun paused, more than usual: then new requests wait for the same reason."""
    share = now["stalled"] / max(1, now["first_tokens"])
    return now["stalled"] > 0 and share >= max(STALLED, 3 * (usual.mean("stalled", "first_tokens") or 0.0))


def _errors(now: Sums) -> dict[str, Any]:
    names = ("stream_errors", "server_errors", "rejected_200", "empties", "disconnects")
    return {name: now[name] for name in names if now[name]}


def _changes(now: Sums, usual: Sums, around: Surroundings, seconds: int, usual_rate: float | None) -> dict[str, Any]:
    """What is different from the usual, as factors."""
    found: dict[str, Any] = {}

    def factor(name: str, value: float | None, before: float | None) -> None:
        if value is not None and before:
            found[name] = round(value / before, 2)

    factor("requests_factor", now["requests"] / max(seconds, 1), usual_rate)
    factor("prompt_factor", now.mean("prompt_tokens", "prompts"), usual.mean("prompt_tokens", "prompts"))
    factor(
        "answer_factor", now.mean("completion_tokens", "completions"), usual.mean("completion_tokens", "completions")
    )
    factor("token_time_factor", now.token_s, usual.token_s)
    if now.hit_rate is not None:
        found["cache_hit_rate"] = round(now.hit_rate, 3)
        if usual.hit_rate is not None:
            found["usual_cache_hit_rate"] = round(usual.hit_rate, 3)
    factor("cached_factor", now.mean("cached_tokens", "prompts"), usual.mean("cached_tokens", "prompts"))
    if around.waiting is not None:
        found["waiting"] = around.waiting
    if around.kv is not None:
        found["kv_cache"] = round(around.kv, 3)
    if around.running is not None:
        found["running"] = around.running
    if around.started_ago_s is not None and around.started_ago_s < COLD_S:
        found["server_started_s"] = around.started_ago_s
    return found


def _shares(kind: Kind, now: Sums, usual: Sums, around: Surroundings) -> dict[str, float]:
    """What the slow requests took longer than usual, by part; all of them where none is slow by itself."""
    prefix = "slow_" if now["slow_requests"] >= LEAST_BAD else ""
    count = now["slow_engine"] if prefix else now["engine"]
    excess = dict.fromkeys(SHARES, 0.0)
    if count:

        def over(name: str) -> float:
            before = usual.mean(name, "engine") or 0.0
            return max(0.0, now[prefix + name] / count - before)

        for part in ("queue", "prefill", "decode"):
            excess[part] = over(f"{part}_us")
        parts = sum(now[f"{prefix}{part}_us"] for part in ("queue", "prefill", "decode"))
        before = sum(usual[f"{part}_us"] for part in ("queue", "prefill", "decode"))
        outside = (now[f"{prefix}engine_duration_us"] - parts) / count
        outside_before = (usual["engine_duration_us"] - before) / usual["engine"] if usual["engine"] else 0.0
        excess["client"] = max(0.0, outside - outside_before)
    else:
        total = now["slow_requests"] if prefix else now["timed"]
        if not total:
            return {}
        first = now[f"{prefix}ttft_us"] / total - (usual.mean("ttft_us", "first_tokens") or 0.0)
        duration = now[f"{prefix}duration_us"] / total - (usual.mean("duration_us", "timed") or 0.0)
        excess["queue" if around.waiting else "prefill"] = max(0.0, first)
        excess["decode"] = max(0.0, duration - max(0.0, first))
    requests = now["slow_requests"] if prefix else now["requests"]
    stalled = now[f"{prefix}stall_us"] / requests - (usual.mean("stall_us", "requests") or 0.0) if requests else 0.0
    for part in ("decode", "client"):  # a pause is seen by the engine, or only by the one who waits for the answer
        moved = max(0.0, min(stalled, excess[part]))
        excess[part] -= moved
        excess["stall"] += moved
        stalled -= moved
    if kind == "ttft":  # what comes after the first token has not delayed it
        excess |= dict.fromkeys(("decode", "stall", "client"), 0.0)
    total_excess = sum(excess.values())
    return {part: round(value / total_excess, 3) for part, value in excess.items()} if total_excess else {}


def _cause(shares: Mapping[str, float], changes: Mapping[str, Any]) -> Cause:
    """The part with the largest share, or what explains it."""
    if not shares:
        return "unknown"
    if changes.get("server_started_s") is not None:
        return "cold_start"
    largest = max(shares, key=lambda part: shares[part])
    if largest == "queue" and changes.get("kv_cache", 0.0) >= FULL:
        return "kv_cache"
    if "stalled" in changes:
        return "stall"
    prompts, answers = changes.get("prompt_factor", 1.0), changes.get("answer_factor", 1.0)
    token_time, requests = changes.get("token_time_factor", 1.0), changes.get("requests_factor", 1.0)
    # Fewer cached tokens in shorter prompts are no misses: the rate must have fallen too, where it is known.
    cached, hits = changes.get("cached_factor", 1.0), 0.0
    if changes.get("usual_cache_hit_rate"):
        hits = changes["cache_hit_rate"] / changes["usual_cache_hit_rate"]
    if largest in {"queue", "prefill"}:
        # New long prompts are not cached either: the rate falls with them, and less than the prompts grow.
        if prompts >= LONGER and prompts - 1 >= 2 * (1 - cached):
            return "long_prompts"
        if cached <= FEWER_CACHED and hits <= FEWER_CACHED:
            return "cache_misses"
        if largest == "prefill" and requests < GREW:
            return "prefill"
        if token_time >= GREW:
            return "decode"
        if answers >= LONGER and requests < GREW:
            return "long_answers"
        return "queue"
    if largest == "decode" and answers >= LONGER and answers > token_time:
        return "long_answers"
    found: Cause = largest  # type: ignore[assignment]
    return found
