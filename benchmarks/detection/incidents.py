"""What goes wrong, how badly, when, and what a good alert says about it; and what looks odd and is harmless."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from benchmarks.detection.arrivals import DAY_S, MEAN_COMPLETION
from benchmarks.detection.conditions import Effect
from benchmarks.detection.service import Hardware
from logproc.alerts.alert import Cause, Kind

STRENGTHS: Final = ("strong", "medium", "weak")
LEARNING_DAYS: Final = 3
"""Nothing happens before: a newcomer needs something to compare with."""
QUIET_BETWEEN_S: Final = 75 * 60

Make = Callable[[float, float, float, Hardware], list[Effect]]
"""(start, end, how strong, hardware) → what is different at one server."""


@dataclass(frozen=True)
class Sort:
    """One sort of incident; `values` is how strong it is, in the unit that `title` tells, in the order of STRENGTHS."""

    name: str
    title: str
    values: tuple[float, float, float]
    make: Make
    kinds: frozenset[Kind]
    """Alerts of these kinds tell the truth while it lasts: any of them finds it, none of them is false."""
    causes: frozenset[Cause] = frozenset()
    naming: frozenset[Kind] = frozenset()
    """Kinds that name the cause by themselves."""
    where: str = "all"
    """`all` servers, the `main` one or the one at the `side`."""
    minutes: tuple[float, float, float] = (20, 20, 20)


@dataclass(frozen=True)
class Incident:
    """One incident of a week, in seconds since the week began."""

    sort: Sort
    strength: str
    start: float
    end: float
    servers: tuple[str, ...]
    effects: Mapping[str, list[Effect]] = field(repr=False)


_SLOW: Final[frozenset[Kind]] = frozenset(
    ("latency_p99", "latency_p95", "ttft", "tokens_per_second", "queue_growing", "kv_cache_full", "drift")
)
_SLOW_DECODE: Final[frozenset[Kind]] = frozenset(_SLOW - {"kv_cache_full"})


def _overload(start: float, end: float, load: float, hardware: Hardware) -> list[Effect]:
    return [Effect("extra", start, end, max(0.0, load * hardware.most_per_s - hardware.usual_per_s))]


def _long_prompts(start: float, end: float, load: float, hardware: Hardware) -> list[Effect]:
    return [Effect("long_prompts", start, end, load * hardware.prefill_per_s / hardware.flood_prompt)]


def _cache(start: float, end: float, share: float, _: Hardware) -> list[Effect]:
    return [Effect("cached_share", start, end, share)]


def _decode(start: float, end: float, factor: float, _: Hardware) -> list[Effect]:
    return [Effect("decode", start, end, factor), Effect("prefill", start, end, factor**0.5)]


def _freeze(start: float, end: float, seconds: float, _: Hardware) -> list[Effect]:
    return [Effect("freeze", start, end, seconds, every=120 / seconds)]


def _server_errors(start: float, end: float, share: float, _: Hardware) -> list[Effect]:
    return [Effect("server_error", start, end, share)]


def _stream_errors(start: float, end: float, share: float, _: Hardware) -> list[Effect]:
    return [Effect("stream_error", start, end, share / 2), Effect("rejected_200", start, end, share / 2)]


def _empty(start: float, end: float, share: float, _: Hardware) -> list[Effect]:
    return [Effect("empty", start, end, share)]


def _silent(start: float, end: float, factor: float, _: Hardware) -> list[Effect]:
    return [Effect("rate", start, end, factor)]


def _down(start: float, end: float, _: float, __: Hardware) -> list[Effect]:
    return [Effect("down", start, end)]


def _kv_leak(start: float, end: float, share: float, _: Hardware) -> list[Effect]:
    return [Effect("kv_leak", start, end, share)]


def _gpu_leak(start: float, end: float, gib: float, _: Hardware) -> list[Effect]:
    return [Effect("gpu_leak", start, end, gib * 2**30 / (end - start))]


def _long_answers(start: float, end: float, factor: float, _: Hardware) -> list[Effect]:
    return [Effect("completion", start, end, factor)]


def _kinds(*names: Kind) -> frozenset[Kind]:
    return frozenset(names)


def _causes(*names: Cause) -> frozenset[Cause]:
    return frozenset(names)


SORTS: Final = (
    Sort("overload", "more ordinary requests: load of the batch", (2.0, 1.3, 0.85), _overload, _SLOW,
         _causes("queue", "batch")),
    Sort("long_prompts", "a flood of long prompts: load of the prefill", (1.5, 0.9, 0.4), _long_prompts, _SLOW,
         _causes("long_prompts")),
    Sort("cache_misses", "the cache hit rate falls from 0.85 to", (0.0, 0.25, 0.55), _cache, _SLOW,
         _causes("cache_misses")),
    Sort("slow_decode", "a throttled GPU: time of a token", (5.0, 2.5, 1.5), _decode, _SLOW, _causes("decode")),
    Sort("one_model", "a throttled GPU under one of two models", (5.0, 2.5, 1.5), _decode, _SLOW, _causes("decode"),
         where="side"),
    Sort("stalls", "the engine stands still: seconds each time", (6.0, 4.0, 2.0), _freeze, _SLOW_DECODE,
         _causes("stall")),
    Sort("server_errors", "answers with 5xx: share", (0.4, 0.12, 0.06), _server_errors, _kinds("errors"),
         _causes("errors")),
    Sort("stream_errors", "errors behind a 200: share", (0.3, 0.12, 0.06), _stream_errors, _kinds("errors"),
         _causes("errors")),
    Sort("empty", "empty answers: share", (0.4, 0.08, 0.02), _empty, _kinds("empty"), naming=_kinds("empty")),
    Sort("silent", "traffic falls silent for 30, 12, 20 min: what is left", (0.0, 0.0, 0.1), _silent,
         _kinds("traffic_silent"), naming=_kinds("traffic_silent"), minutes=(30, 12, 20)),
    Sort("restart", "a server dies and starts again: minutes", (10, 2, 0.7), _down,
         _kinds("server_gone", "traffic_silent", "cold_start", *_SLOW), _causes("cold_start"),
         naming=_kinds("server_gone", "cold_start"), where="main", minutes=(10, 2, 0.7)),
    Sort("kv_cache", "KV cache is lost: share", (0.99, 0.97, 0.93), _kv_leak, _SLOW, _causes("kv_cache"),
         naming=_kinds("kv_cache_full"), where="main"),
    Sort("gpu_memory", "GPU memory leaks: GiB of 8 free ones", (7.5, 6.0, 2.0), _gpu_leak, _kinds("gpu_memory"),
         naming=_kinds("gpu_memory"), where="main", minutes=(30, 60, 60)),
    Sort("long_answers", "answers grow: factor", (3.0, 2.0, 1.3), _long_answers, _SLOW, _causes("long_answers"),
         minutes=(180, 180, 180)),
)  # fmt: skip
"""At least one of each, in each strength, in every week with incidents."""


def incident(sort: Sort, strength: str, start: float, seconds: float, servers: Mapping[str, Hardware]) -> Incident:
    """One incident of so many seconds at the servers where such a one happens."""
    names = list(servers)
    chosen = tuple(names if sort.where == "all" else names[:1] if sort.where == "main" else names[-1:])
    value = sort.values[STRENGTHS.index(strength)]
    made = {each: sort.make(start, start + seconds, value, servers[each]) for each in chosen}
    return Incident(sort, strength, start, start + seconds, chosen, made)


def schedule(days: int, servers: Mapping[str, Hardware], rng: np.random.Generator) -> list[Incident]:
    """Every sort in every strength once, in random order, at random times after the days of learning, well apart."""
    wanted = [(sort, place) for sort in SORTS for place in range(len(STRENGTHS))]
    order = rng.permutation(len(wanted))
    lasts = np.array([wanted[place][0].minutes[wanted[place][1]] * 60 for place in order]) * rng.uniform(
        0.8, 1.25, len(order)
    )
    free = (days - LEARNING_DAYS) * DAY_S - float(lasts.sum()) - QUIET_BETWEEN_S * (len(order) + 1)
    if free < 0:
        raise ValueError(f"{days} days are too short for {len(order)} incidents")
    gaps = rng.dirichlet(np.ones(len(order) + 1)) * free + QUIET_BETWEEN_S
    start, found = float(LEARNING_DAYS * DAY_S), []
    for place, seconds, gap in zip(order, lasts.tolist(), gaps[:-1].tolist(), strict=True):
        sort, strength = wanted[place]
        start += gap
        found.append(incident(sort, STRENGTHS[strength], start, seconds, servers))
        start += seconds
    return found


def decoys(days: int, servers: Mapping[str, Hardware], rng: np.random.Generator) -> dict[str, list[Effect]]:
    """What looks odd and is harmless: twice a day and server, at random times."""
    found: dict[str, list[Effect]] = {}
    for name, hardware in servers.items():
        found[name] = []
        for half in range(2 * days):
            start = half * DAY_S / 2 + rng.uniform(0, DAY_S / 2 - 1800)
            found[name].append(
                (
                    Effect("rejected", start, start + 600, 0.5),  # a client with a wrong key
                    Effect("client_disconnect", start, start + 600, 0.2),  # a client that does not wait
                    Effect("extra", start, start + 900, hardware.usual_per_s),  # a crowd that fits in
                    Effect("giant", start, start + 1800, 1 / 600),  # three very long answers
                )[half % 4]
            )
    return found


GIANT_COMPLETION: Final = 40 * MEAN_COMPLETION
