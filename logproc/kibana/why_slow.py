"""Why was it slow: queue, prefill, decode or the stream; long prompts; a full cache; which model, which client."""

from __future__ import annotations

from logproc.kibana import questions
from logproc.kibana.charts import Panel, chart, lines_at, table
from logproc.kibana.dashboard import Dashboard, Row
from logproc.kibana.data_views import DataViews
from logproc.kibana.formula import Metric
from logproc.kibana.layers import COUNT, DURATION, PERCENT, Layer, ns
from logproc.settings import Thresholds

_WHOLE = Metric("sum", "event.duration")
_QUEUE = Metric("sum", "llm.queue_time")
_PREFILL = Metric("sum", "llm.prefill_time")
_DECODE = Metric("sum", "llm.decode_time")
_REQUESTS = Metric("count")

_LENGTHS = (0, 16, 64, 256, 1024, 4096, 16384, 65536)
"""Where ranges of tokens begin."""


def why_slow(index: str, views: DataViews, thresholds: Thresholds) -> Dashboard:
    """The dashboard for one slow night of one pipeline."""
    return Dashboard(
        id=f"{index}-why-slow",
        title=f"LLM why was it slow [{index}]",
        description="Where the time of requests went: queue, prefill, decode or the stream, by model and client.",
        controls=(
            (views.requests, "gen_ai.request.model", "Model"),
            (views.requests, "source.address", "Client"),
            (views.requests, "llm.flags", "Flag"),
        ),
        rows=(
            Row(12, (_shares(views), _parts(views))),
            Row(12, (_stalls(views, thresholds), _speed(views, thresholds))),
            Row(12, (_prompt_length(views, thresholds), _answer_length(views))),
            Row(12, (_cache(views, thresholds), _waiting(views))),
            Row(12, (_by(views, "gen_ai.request.model", "Model"),)),
            Row(12, (_by(views, "source.address", "Client"),)),
            Row(14, (f"{index}-slow-requests",)),
        ),
    )


def _shares(views: DataViews) -> Panel:
    layer = Layer(views.requests).over_time()
    layer = layer.showing("queue", _QUEUE, "Queue").showing("prefill", _PREFILL, "Prefill")
    layer = layer.showing("decode", _DECODE, "Decode")
    layer = layer.showing("rest", _WHOLE - _QUEUE - _PREFILL - _DECODE, "Everything else", DURATION)
    return chart(
        "Where the time went",
        "Shares of the whole time of requests; everything else is HTTP, tokenizing, and the way to the client.",
        layer,
        "area_percentage_stacked",
        kql=questions.TIMED,
    )


def _parts(views: DataViews) -> Panel:
    layer = Layer(views.requests).over_time()
    for name, label in (("queue", "Queue"), ("prefill", "Prefill"), ("decode", "Decode")):
        layer = layer.showing(name, Metric("percentile", f"llm.{name}_time", percent=95), f"{label} P95", DURATION)
    return chart("Queue, prefill and decode", "95 of 100 requests took less.", layer, "line", form=DURATION)


def _stalls(views: DataViews, thresholds: Thresholds) -> Panel:
    layer = Layer(views.requests).over_time().percentiles("llm.stall_max", (50, 95, 99))
    share = Metric("sum", "llm.stall_max") / Metric("sum", "event.duration", kql="llm.stall_max: *")
    layer = layer.showing("share", share, "Share of the time of streams", PERCENT)
    return chart(
        "Longest stall of a stream",
        "The longest gap between two pieces of an answer, and its share of the time (right axis).",
        layer,
        "line",
        lines=lines_at("Stall", thresholds.stall_s, ns),
        form=DURATION,
        right=("share",),
    )


def _speed(views: DataViews, thresholds: Thresholds) -> Panel:
    layer = Layer(views.requests).over_time().percentiles("llm.tpot", (50, 95))
    return chart(
        "Time per output token",
        "While decoding; the lines are the thresholds of tokens per second.",
        layer,
        "line",
        lines=lines_at("Per token", thresholds.tokens_per_second, lambda speed: ns(1 / speed)),
        form=DURATION,
    )


def _prompt_length(views: DataViews, thresholds: Thresholds) -> Panel:
    layer = Layer(views.requests).by_size("gen_ai.usage.input_tokens", "Tokens of the prompt", _LENGTHS)
    layer = layer.percentiles("llm.ttft", (50, 95))
    return chart(
        "Time to first token by length of the prompt",
        "A long prompt takes longer to read: only a high bar at a short one is odd.",
        layer,
        "bar",
        lines=lines_at("First token", thresholds.ttft_s, ns),
        form=DURATION,
        kql="llm.ttft: *",
    )


def _answer_length(views: DataViews) -> Panel:
    layer = Layer(views.requests).by_size("gen_ai.usage.output_tokens", "Tokens of the answer", _LENGTHS)
    layer = layer.percentiles("event.duration", (50, 95))
    return chart(
        "Duration by length of the answer",
        "A long answer takes longer to write: only a high bar at a short one is odd.",
        layer,
        "bar",
        form=DURATION,
    )


def _cache(views: DataViews, thresholds: Thresholds) -> Panel:
    layer = Layer(views.servers).over_time()
    layer = layer.showing("highest", Metric("max", "llm.engines.kv_cache_usage"), "Fullest", PERCENT)
    layer = layer.showing("average", Metric("average", "llm.engines.kv_cache_usage"), "Average", PERCENT)
    return chart(
        "KV cache in use",
        "Of the engines, from their heartbeats; when it is full, requests wait or are preempted.",
        layer,
        "line",
        lines=lines_at("KV cache", thresholds.kv_cache_ratio, float),
        form=PERCENT,
    )


def _waiting(views: DataViews) -> Panel:
    layer = Layer(views.servers).over_time()
    layer = layer.showing("running", Metric("max", "llm.engines.running"), "Running")
    layer = layer.showing("waiting", Metric("max", "llm.engines.waiting"), "Waiting")
    return chart("Requests in the engines", "The most that one engine ran, and had waiting.", layer, "line")


def _by(views: DataViews, name: str, label: str) -> Panel:
    layer = Layer(views.requests).by(name, label, 20, "requests").showing("requests", _REQUESTS, "Requests")
    layer = layer.percentiles("event.duration", (50, 99), "P{} duration")
    layer = layer.showing("ttft", Metric("percentile", "llm.ttft", percent=95), "P95 first token", DURATION)
    timed = Metric("sum", "event.duration", kql=questions.TIMED)
    for key, part, part_label in (
        ("queue", _QUEUE, "Queue"),
        ("prefill", _PREFILL, "Prefill"),
        ("decode", _DECODE, "Decode"),
    ):
        layer = layer.showing(key, part / timed, f"{part_label} share", PERCENT)
    stalled = Metric("sum", "event.duration", kql="llm.stall_max: *")
    layer = layer.showing("stall", Metric("sum", "llm.stall_max") / stalled, "Stall share", PERCENT)
    layer = layer.showing("prompt", Metric("average", "gen_ai.usage.input_tokens"), "Prompt tokens each", COUNT)
    return table(f"By {label.lower()}", "Who waited, and for what.", layer, sort_by="p99", kql=questions.NOT_REJECTED)
