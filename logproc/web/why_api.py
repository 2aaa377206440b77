"""`/api/v1/scatter`: requests as points, length against time, each of the slow ones with what made it slow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from starlette.requests import Request

from logproc.flags import Flagger, Usual
from logproc.question import check_one_of
from logproc.stores.points import LENGTHS, TIMES, USUAL_POINTS, Axes, Length, PlottedArchive, Time
from logproc.web.api_parameters import FILTERS, RANGE, Parameters

MOST_POINTS: Final = 5000
_LATELY: Final = "1h"
_MUCH: Final = 0.1
"""Of the duration of a request."""
_SLOW: Final = frozenset({"slow", "slow_for_size", "slow_first_token", "slow_decode", "stall"})


def scatter_page(
    archive: PlottedArchive, flagger: Flagger, clock: Callable[[], int]
) -> Callable[[Request], dict[str, Any]]:
    """The page; `clock` is the wall clock, ms since 1970."""

    def scatter(request: Request) -> dict[str, Any]:
        given = Parameters(request, {*RANGE, *FILTERS, "x", "y", "limit"})
        question, _ = given.question(clock(), lately=_LATELY)
        length, time = given.one("x") or LENGTHS[0], given.one("y") or TIMES[0]
        check_one_of(length, LENGTHS, "x")
        check_one_of(time, TIMES, "y")
        axes = Axes(cast(Length, length), cast(Time, time))
        points = archive.points(question, axes, given.number("limit", USUAL_POINTS, MOST_POINTS))
        items = [_point(each.document, axes, flagger) for each in points.shown]
        return {"x": length, "y": time, "total": points.total, "shown": len(items), "items": items, "next": None}

    return scatter


def _point(document: Mapping[str, Any], axes: Axes, flagger: Flagger) -> dict[str, Any]:
    length, time = axes.fields
    return {
        "id": document["event.id"],
        "time": document["@timestamp"],
        "x": document[length],
        "y": document[time] / 1e6,
        "cause": cause_of(document, flagger),
        "outcome": document.get("llm.outcome"),
        "model": document.get("gen_ai.request.model"),
        "flags": document.get("llm.flags") or [],
    }


def usual_of(document: Mapping[str, Any], flagger: Flagger) -> Usual:
    """The bounds by which the request of a document is judged."""
    return flagger.usual(
        model=document.get("gen_ai.request.model"),
        outcome=document.get("llm.outcome"),
        prompt_tokens=document.get("gen_ai.usage.input_tokens"),
        cached_tokens=document.get("llm.cached_tokens"),
        completion_tokens=document.get("gen_ai.usage.output_tokens"),
    )


def cause_of(document: Mapping[str, Any], flagger: Flagger) -> str | None:
    """What made a request slow: `queue`, `prefill`, `decode`, `stall`, `client`, or `unknown` where nothing can tell.

    None for a request that was not slow.

    It is the part that took most beyond the usual for its size; where no part took much more, the longest.
    """
    flags = set(document.get("llm.flags") or ())
    if not _SLOW & flags:
        return None

    def ms(field: str) -> float | None:
        value = document.get(field)
        return None if value is None else value / 1e6

    duration, ttft = ms("event.duration") or 0.0, ms("llm.ttft")
    queue, prefill, decode = (ms(f"llm.{part}_time") for part in ("queue", "prefill", "decode"))
    took: dict[str, float] = {}
    if queue is not None:
        took["queue"] = queue
    if prefill is not None:
        took["prefill"] = prefill
    elif ttft is not None:
        took["unknown"] = ttft - (queue or 0.0)
    if queue is not None and prefill is not None and decode is not None:
        took["client"] = duration - queue - prefill - decode
    if decode is None and ttft is not None:
        decode = duration - ttft
    if decode is not None:
        stall = (ms("llm.stall_max") or 0.0) if "stall" in flags else 0.0
        took |= {"stall": stall, "decode": decode - stall}
    bounds = usual_of(document, flagger)
    first, rest = bounds.ttft_ms or 0.0, bounds.decode_ms or 0.0
    expected = {"prefill": first, "unknown": first, "decode": rest}
    over = {part: time - expected.get(part, 0.0) for part, time in took.items()}
    cause = max(over, key=over.__getitem__, default="unknown")
    return cause if over.get(cause, 0.0) >= _MUCH * duration else max(took, key=took.__getitem__, default="unknown")
