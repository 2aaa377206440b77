"""What the engine alone knows: timings of finished requests, joined by id, and each engine's load.

The plugin in `engine_timings` puts them in; the middleware and the heartbeat, in the same process, take them out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import msgspec

CAPACITY: Final = 10_000
KEEP_S: Final = 60.0
"""The engine reports milliseconds before the response ends; who has not asked after a minute never will."""
ENGINE_STALE_S: Final = 30.0
LONGEST_S: Final = 86_400.0
"""No time of one request is longer: an engine that says so subtracted from a clock it never read."""

_NO_FRACTION: Final = 2.0**52
"""A float as large as this is a whole number: what is added to it is rounded."""
_FIELDS: Final = (
    "e2e_latency",
    "queued_time",
    "prefill_time",
    "decode_time",
    "mean_time_per_output_token",
    "finish_reason",
    "num_prompt_tokens",
    "num_generation_tokens",
    "max_tokens_param",
    "num_cached_tokens",
    "num_preemptions",
    "is_corrupted",
)
_WORST_FIRST: Final = ("error", "abort", "length", "repetition")


class Timings(msgspec.Struct, frozen=True, gc=False):
    """What the engine said of one request. Times are milliseconds; None is unknown."""

    queue_ms: float | None = None
    prefill_ms: float | None = None
    decode_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None
    cached_tokens: int | None = None
    preemptions: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    max_tokens: int | None = None
    corrupted: bool | None = None
    finish_reason: str | None = None


def timings_of(finished: Any) -> Timings:
    """What vLLM's `FinishedRequestStats` says, as far as it can be believed.

    Its fields are no stable interface: one that is missing, of another type, negative, not a number or longer than a
    day is None. A prefill longer than the whole request comes from an engine that keeps no statistics
    (`--disable-log-stats` with several API servers): the queue time is then made up too. "Not corrupted" is what vLLM
    also says when it did not look, as is its default: unknown.
    """
    try:
        e2e, queue, prefill = finished.e2e_latency, finished.queued_time, finished.prefill_time
        decode, tpot, reason = finished.decode_time, finished.mean_time_per_output_token, finished.finish_reason
        prompt, generated, limit = finished.num_prompt_tokens, finished.num_generation_tokens, finished.max_tokens_param
        cached, preemptions, corrupted = finished.num_cached_tokens, finished.num_preemptions, finished.is_corrupted
    except AttributeError:  # of another vLLM: what there is
        e2e, queue, prefill, decode, tpot, reason, prompt, generated, limit, cached, preemptions, corrupted = (
            getattr(finished, name, None) for name in _FIELDS
        )
    longest_prefill = prefill
    if not (
        type(e2e) is type(queue) is type(prefill) is type(decode) is type(tpot) is float
        and (e2e >= 0 and queue >= 0 and prefill >= 0 and decode >= 0 and tpot >= 0)
        and e2e + queue + prefill + decode + tpot <= LONGEST_S
    ):
        e2e, queue, prefill, decode, tpot = map(_seconds, (e2e, queue, prefill, decode, tpot))
    if not (
        type(prompt) is type(generated) is type(limit) is type(cached) is type(preemptions) is int
        and (prompt >= 0 and generated >= 0 and limit >= 0 and cached >= 0 and preemptions >= 0)
    ):
        prompt, generated, limit, cached, preemptions = map(_count, (prompt, generated, limit, cached, preemptions))
    if e2e is not None and isinstance(longest_prefill, (int, float)) and longest_prefill > e2e:
        queue = prefill = None
    big = _NO_FRACTION  # `to_ms`, without its calls
    return Timings(
        None if queue is None else (queue * 1e6 + big - big) / 1000,
        None if prefill is None else (prefill * 1e6 + big - big) / 1000,
        (decode * 1e6 + big - big) / 1000 if generated and decode is not None else None,
        (tpot * 1e6 + big - big) / 1000 if generated and generated > 1 and tpot is not None else None,
        None if e2e is None else (e2e * 1e6 + big - big) / 1000,
        cached,
        preemptions,
        prompt,
        generated,
        limit,
        True if corrupted is True else None,
        None if reason is None else _word(reason if isinstance(reason, Enum) else str(reason)),
    )


@lru_cache(maxsize=64, typed=True)
def _word(reason: object) -> str:
    """A finish reason, which vLLM keeps as an enumeration."""
    return str(reason).lower()[:32]


def merge(one: Timings, other: Timings, *, same_prompt: bool) -> Timings:
    """Two parts of one response as one: the times of the slower, the generated tokens of both, the worse reason.

    Parts of the `same_prompt` (`n` > 1) count its tokens once, and as cached what the first of them found.
    """
    slow = one if (one.e2e_ms or 0.0) >= (other.e2e_ms or 0.0) else other
    prompt: Callable[[int | None, int | None], int | None] = _largest if same_prompt else _sum
    cached: Callable[[int | None, int | None], int | None] = _smallest if same_prompt else _sum
    return Timings(
        queue_ms=slow.queue_ms,
        prefill_ms=slow.prefill_ms,
        decode_ms=slow.decode_ms,
        tpot_ms=slow.tpot_ms,
        e2e_ms=slow.e2e_ms,
        cached_tokens=cached(one.cached_tokens, other.cached_tokens),
        preemptions=_sum(one.preemptions, other.preemptions),
        prompt_tokens=prompt(one.prompt_tokens, other.prompt_tokens),
        completion_tokens=_sum(one.completion_tokens, other.completion_tokens),
        max_tokens=_largest(one.max_tokens, other.max_tokens),
        corrupted=one.corrupted if other.corrupted is None else other.corrupted or bool(one.corrupted),
        finish_reason=_worse(one.finish_reason, other.finish_reason),
    )


class TimingsTable:
    """Timings that wait for their response. Bounded, expiring, constant time a call.

    The engine's id is the response's, or has a number at its end: `cmpl-X-0` (the prompt), `resp_X_0` (the turn),
    `chatcmpl-X_1` (the batch). An exact match wins; else all that differ by their number belong to the response.
    The lock is free whenever the event loop takes it, since both sides run there.
    """

    def __init__(
        self, capacity: int = CAPACITY, keep_s: float = KEEP_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = capacity
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self.waiting: dict[str, tuple[float, Timings]] = {}
        """When each came (seconds, monotonic), and what it is, by the engine's id. The first is the oldest."""
        self._parts: dict[str, dict[str, None]] = {}
        """Those of them with a number at their end, by the id without it."""
        self._oldest = 0.0
        """No entry came before this."""

    def put(self, request_id: str, timings: Timings) -> None:
        """Keep what the engine said of `request_id`; several of one id (`n` > 1) become one."""
        with self._lock:
            now = self._clock()
            if now - self._oldest >= self._keep_s:
                self._forget(now)
            before = self.waiting.get(request_id)
            if before is not None:
                self.waiting[request_id] = (before[0], merge(before[1], timings, same_prompt=True))
                return
            self.waiting[request_id] = (now, timings)
            base = _without_number(request_id)
            if base is not None:
                self._parts.setdefault(base, {})[request_id] = None
            if len(self.waiting) > self._capacity:
                self._forget(now)

    def take(self, response_id: str) -> Timings | None:
        """What the engine said of this response, once; None if it said nothing, or too long ago."""
        with self._lock:
            now = self._clock()
            if now - self._oldest >= self._keep_s:
                self._forget(now)
            found = self.waiting.pop(response_id, None)
            if found is not None:
                if self._parts:
                    self._part_from(response_id)
                return found[1]
            parts = [self.waiting.pop(name)[1] for name in self._parts.pop(response_id, ())]
        merged: Timings | None = None
        for part in parts:
            merged = part if merged is None else merge(merged, part, same_prompt=False)
        return merged

    def _forget(self, now: float) -> None:
        """Let go of what is too old or too much, and note how old the rest may be."""
        self._oldest = now
        while self.waiting:
            name = next(iter(self.waiting))
            made = self.waiting[name][0]
            if len(self.waiting) <= self._capacity and now - made < self._keep_s:
                self._oldest = made
                return
            del self.waiting[name]
            self._part_from(name)

    def _part_from(self, name: str) -> None:
        """An id waits no more: neither is it a part of a response."""
        base = _without_number(name)
        if base is not None and base in self._parts:
            del self._parts[base][name]
            if not self._parts[base]:
                del self._parts[base]


def _without_number(name: str) -> str | None:
    """The id without `-0`, `_12` and the like at its end; None for one that has no such end."""
    base = name.rstrip("0123456789")
    return base[:-1] if len(base) < len(name) and base.endswith(("-", "_")) else None


class EngineLoads:
    """The newest load of each engine, as a heartbeat says it."""

    def __init__(self, stale_s: float = ENGINE_STALE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_s = stale_s
        self._clock = clock
        self._newest: dict[int, tuple[float, int | None, int | None, float | None]] = {}

    def put(self, engine: int, running: object, waiting: object, kv_cache_usage: object) -> None:
        """Note the load that `engine` just reported; a value that makes no sense is unknown. Called at each step."""
        usage = kv_cache_usage if isinstance(kv_cache_usage, float) and 0.0 <= kv_cache_usage <= 1.0 else None
        self._newest[engine] = (self._clock(), _count(running), _count(waiting), usage)

    def fresh(self) -> list[dict[str, object]]:
        """One dict an engine, with the fields of `logproc.record.EngineLoad` that are known.

        An engine reports at each step and takes none while it is idle: one whose last word was "nothing to do" is
        believed at any age, one that was at work and went silent is left out.
        """
        now = self._clock()
        loads: list[dict[str, object]] = []
        for engine, (at, running, waiting, usage) in sorted(self._newest.copy().items()):
            if now - at < self._stale_s or (running == 0 and waiting == 0):
                load = {"engine": engine, "running": running, "waiting": waiting, "kv_cache_usage": usage}
                loads.append({name: value for name, value in load.items() if value is not None})
        return loads


def to_ms(seconds: float) -> float:
    """Milliseconds, to the microsecond, of a time up to 70 years: a tenth of the time of `round`."""
    return (seconds * 1e6 + _NO_FRACTION - _NO_FRACTION) / 1000


def _seconds(value: object) -> float | None:
    """A time that can be one. NaN is none: it is neither above nor below anything."""
    return value if (type(value) is float or type(value) is int) and 0 <= value <= LONGEST_S else None


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _largest(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _smallest(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _worse(one: str | None, other: str | None) -> str | None:
    for reason in _WORST_FIRST:
        if reason in (one, other):
            return reason
    return one or other


TIMINGS: Final = TimingsTable()
"""Of this process: the engine's plugin and the middleware share nothing else."""
ENGINES: Final = EngineLoads()
