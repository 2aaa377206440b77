"""Groups and steps of time as documents for programs: what `query --json` and the API give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logproc.settings import Price
from logproc.stores.archive import HEAT_EDGES_MS, Coverage, Group, Heat, Percentiles, Span, Step
from logproc.stores.documents import time_text


def group_document(by: str | None, group: Group) -> dict[str, Any]:
    """A group: counts, tokens, percentiles of the duration in ns and of the time to first token in ms."""
    return {
        **({} if by is None else {by: group.key}),
        "requests": group.requests,
        "outcomes": dict(sorted(group.outcomes.items())),
        "prompt_tokens": group.prompt_tokens,
        "completion_tokens": group.completion_tokens,
        "duration_ns": {"p50": group.p50_ns, "p95": group.p95_ns, "p99": group.p99_ns},
        "ttft_ms": _percentiles(group.ttft_ms),
    }


def cost_of(group: Group, prices: Mapping[str, Price]) -> float | None:
    """What the tokens of a group cost, by the prices per million of their models; None where none has a price."""
    known = [
        (tokens, prices[model]) for model, tokens in group.by_model.items() if model is not None and model in prices
    ]
    if not known:
        return None
    per_million = sum(tokens.prompt * price.input + tokens.completion * price.output for tokens, price in known)
    return round(per_million / 1e6, 6)


def step_document(step: Step, *, by_model: bool) -> dict[str, Any]:
    """A step of time; times are ms, percentiles null where nothing is known."""
    return {
        "time": time_text(step.time_ms),
        **({"model": step.model} if by_model else {}),
        "requests": step.requests,
        "outcomes": dict(sorted(step.outcomes.items())),
        "prompt_tokens": step.prompt_tokens,
        "completion_tokens": step.completion_tokens,
        "duration_ms": _percentiles(step.duration_ms),
        "ttft_ms": _percentiles(step.ttft_ms),
        "queue_ms": step.queue_ms,
        "prefill_ms": step.prefill_ms,
        "decode_ms": step.decode_ms,
        "duration_sum_ms": step.timed_ms,
    }


def heat_document(heat: Heat) -> dict[str, Any]:
    """A heat map: `cells` are [column, row, count]; columns are `times`, rows lie between neighbours in `edges_ms`."""
    times = sorted({time_ms for time_ms, _ in heat.counts})
    columns = {time_ms: place for place, time_ms in enumerate(times)}
    cells = sorted([columns[time_ms], row, count] for (time_ms, row), count in heat.counts.items())
    return {"edges_ms": HEAT_EDGES_MS, "times": [time_text(time_ms) for time_ms in times], "cells": cells}


def coverage_document(coverage: Coverage) -> dict[str, Any]:
    """What an answer rests on (see `Coverage`)."""
    return {
        "percentiles": "exact" if coverage.is_exact else "within 1 %",
        "rolled_up": _span(coverage.rolled_up),
        "left_out": _span(coverage.left_out),
    }


def _percentiles(found: Percentiles) -> dict[str, float] | None:
    return None if found is None else dict(zip(("p50", "p95", "p99"), found, strict=True))


def _span(span: Span | None) -> dict[str, str] | None:
    return None if span is None else {"from": time_text(span.since_ms), "to": time_text(span.until_ms)}
