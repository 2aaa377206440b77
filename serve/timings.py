"""What the engine alone knows: timings of finished requests, joined by id, and each engine's load.

The plugin in `engine_timings` puts them in; the middleware and the heartbeat, in the same process, take them out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

CAPACITY: Final = 10_000
KEEP_S: Final = 60.0
"""The engine reports milliseconds before the response ends; who has not asked after a minute never will."""
ENGINE_STALE_S: Final = 30.0
LONGEST_S: Final = 86_400.0
"""No time of one request is longer: an engine that says so subtracted from a clock it never read."""

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


def timings_of(finished: object) -> Timings:
    """What vLLM's `FinishedRequestStats` says, as far as it can be believed.

    Its fields are no stable interface: each is looked up by itself, and one that is missing, of another type,
    negative, not a number or longer than a day is None. A prefill longer than the whole request comes from an
    engine that keeps no statistics (`--disable-log-stats` with several API servers): the queue time is then
    made up too. "Not corrupted" is what vLLM also says when it did not look, as is its default: unknown.
    """
    e2e = _ms(getattr(finished, "e2e_latency", None))
    queue = _ms(getattr(finished, "queued_time", None))
    raw_prefill = getattr(finished, "prefill_time", None)
    prefill = _ms(raw_prefill)
    if e2e is not None and isinstance(raw_prefill, (int, float)) and raw_prefill * 1000 > e2e:
        queue = prefill = None
    generated = _count(getattr(finished, "num_generation_tokens", None))
    reason = getattr(finished, "finish_reason", None)
    return Timings(
        queue_ms=queue,
        prefill_ms=prefill,
        decode_ms=_ms(getattr(finished, "decode_time", None)) if generated else None,
        tpot_ms=_ms(getattr(finished, "mean_time_per_output_token", None)) if generated and generated > 1 else None,
        e2e_ms=e2e,
        cached_tokens=_count(getattr(finished, "num_cached_tokens", None)),
        preemptions=_count(getattr(finished, "num_preemptions", None)),
        prompt_tokens=_count(getattr(finished, "num_prompt_tokens", None)),
        completion_tokens=generated,
        max_tokens=_count(getattr(finished, "max_tokens_param", None)),
        corrupted=True if getattr(finished, "is_corrupted", None) is True else None,
        finish_reason=None if reason is None else str(reason).lower()[:32],
    )


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

    The engine's id is the response's, or has a suffix: `cmpl-X-0` (the prompt), `resp_X_0` (the turn),
    `chatcmpl-X_1` (the batch). So an id is kept under what is left without one, and an exact match wins.
    The lock is free whenever the event loop takes it, since both sides run there.
    """

    def __init__(
        self, capacity: int = CAPACITY, keep_s: float = KEEP_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = capacity
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._groups: dict[str, tuple[float, dict[str, Timings]]] = {}
        """Base of the id → when it came, and its parts by id. The first is the oldest."""
        self.waiting = 0
        """How many ids wait."""

    def put(self, request_id: str, timings: Timings) -> None:
        """Keep what the engine said of `request_id`; several of one id (`n` > 1) become one."""
        base = _without_suffix(request_id)
        now = self._clock()
        with self._lock:
            group = self._groups.get(base)
            if group is None:
                self._groups[base] = (now, {request_id: timings})
                self.waiting += 1
            else:
                parts = group[1]
                before = parts.get(request_id)
                if before is None:
                    self.waiting += 1
                parts[request_id] = timings if before is None else merge(before, timings, same_prompt=True)
            self._forget(now)

    def take(self, response_id: str) -> Timings | None:
        """What the engine said of this response, once; None if it said nothing, or too long ago."""
        base = _without_suffix(response_id)
        with self._lock:
            self._forget(self._clock())
            group = self._groups.get(base)
            if group is not None and response_id in group[1]:
                self.waiting -= 1
                if len(group[1]) == 1:
                    del self._groups[base]
                return group[1].pop(response_id)
            group = self._groups.pop(response_id, None)
            if group is None:
                return None
            self.waiting -= len(group[1])
        merged: Timings | None = None
        for part in group[1].values():
            merged = part if merged is None else merge(merged, part, same_prompt=False)
        return merged

    def _forget(self, now: float) -> None:
        while self._groups:
            base = next(iter(self._groups))
            made, parts = self._groups[base]
            if self.waiting <= self._capacity and now - made < self._keep_s:
                return
            del self._groups[base]
            self.waiting -= len(parts)


def _without_suffix(name: str) -> str:
    """The id without `-0`, `_12` and the like at its end; the id itself where there is none."""
    base = name.rstrip("0123456789")
    return base[:-1] if len(base) < len(name) and base.endswith(("-", "_")) else name


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
    """Milliseconds, to the microsecond, of a time that is not negative: a third of the time of `round`."""
    return int(seconds * 1e6 + 0.5) / 1000


def _ms(seconds: object) -> float | None:
    if type(seconds) is not float and type(seconds) is not int:
        return None
    return to_ms(seconds) if 0 <= seconds <= LONGEST_S else None  # NaN is not either


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
