"""The overview: how much there is, how much of it goes wrong, how long it takes, what it costs."""

from __future__ import annotations

from logproc.kibana import questions
from logproc.kibana.charts import Panel, chart, lines_at, number, table
from logproc.kibana.dashboard import Dashboard, Row
from logproc.kibana.data_views import DataViews
from logproc.kibana.formula import Metric
from logproc.kibana.layers import COUNT, DURATION, NS_PER_S, PERCENT, Layer, ns
from logproc.settings import Thresholds

_ERRORS = Metric("count", kql=questions.ERROR) / Metric("count", kql=questions.COUNTED_FOR_ERRORS)
_EMPTY = Metric("count", kql=questions.EMPTY) / Metric("count", kql=questions.COUNTED_FOR_EMPTY)
_INPUT = Metric("sum", "gen_ai.usage.input_tokens")
_OUTPUT = Metric("sum", "gen_ai.usage.output_tokens")
_REQUESTS = Metric("count")


def overview(index: str, views: DataViews, thresholds: Thresholds) -> Dashboard:
    """The overview of the requests of one pipeline."""
    return Dashboard(
        id=f"{index}-overview",
        title=f"LLM overview [{index}]",
        description="How many requests there are, how many go wrong, how long they take, what they cost in tokens.",
        controls=(
            (views.requests, "gen_ai.request.model", "Model"),
            (views.requests, "source.address", "Client"),
            (views.requests, "llm.outcome", "Outcome"),
        ),
        rows=(
            Row(6, _numbers(views, thresholds)),
            Row(12, (_outcomes(views), _durations(views, thresholds))),
            Row(12, (_first_tokens(views, thresholds), _ratios(views, thresholds))),
            Row(12, (_tokens_over_time(views), _output_by_model(views), _tokens_by_model(views))),
            Row(12, (_flags(views), _statuses(views))),
            Row(14, (f"{index}-slowest-requests",)),
            Row(12, (f"{index}-alert-changes",)),
        ),
    )


def _numbers(views: DataViews, thresholds: Thresholds) -> tuple[Panel, ...]:
    requests = Layer(views.requests)
    p99 = Metric("percentile", "event.duration", percent=99)
    ttft = Metric("percentile", "llm.ttft", percent=95)
    return (
        number(
            "Requests", "All requests, whatever became of them.", requests.showing("requests", _REQUESTS, "Requests")
        ),
        number(
            "Errors",
            "5xx, and what failed behind another status; of all requests but 4xx.",
            requests.showing("errors", _ERRORS, "Errors", PERCENT),
            levels=thresholds.error_ratio,
        ),
        number(
            "Empty answers",
            "Answers without a word where one was wanted; of all generations that were answered.",
            requests.showing("empty", _EMPTY, "Empty answers", PERCENT),
            levels=thresholds.empty_ratio,
        ),
        number(
            "P99 duration",
            "99 of 100 requests were quicker; without the rejected ones.",
            requests.showing("p99", p99, "P99 duration", DURATION),
            levels=thresholds.duration_s,
            unit=NS_PER_S,
            kql=questions.NOT_REJECTED,
        ),
        number(
            "P95 time to first token",
            "95 of 100 streams began sooner.",
            requests.showing("ttft", ttft, "P95 time to first token", DURATION),
            levels=thresholds.ttft_s,
            unit=NS_PER_S,
        ),
        number(
            "Tokens read and written",
            "Input and output.",
            requests.showing("tokens", _INPUT + _OUTPUT, "Tokens", COUNT),
        ),
    )


def _outcomes(views: DataViews) -> Panel:
    layer = Layer(views.requests).by("llm.outcome", "Outcome", 8, "requests").over_time()
    return chart(
        "Requests by outcome",
        "What really happened, beside the status.",
        layer.showing("requests", _REQUESTS, "Requests"),
        "bar_stacked",
    )


def _durations(views: DataViews, thresholds: Thresholds) -> Panel:
    layer = Layer(views.requests).over_time().percentiles("event.duration", (50, 95, 99))
    lines = lines_at("P99", thresholds.duration_s, ns) + lines_at("P95", thresholds.duration_p95_s, ns)
    return chart(
        "Duration",
        "Without the rejected requests; the lines are the thresholds.",
        layer,
        "line",
        lines=lines,
        form=DURATION,
        kql=questions.NOT_REJECTED,
    )


def _first_tokens(views: DataViews, thresholds: Thresholds) -> Panel:
    layer = Layer(views.requests).over_time().percentiles("llm.ttft", (50, 95, 99))
    return chart(
        "Time to first token",
        "Of streams; the lines are the thresholds.",
        layer,
        "line",
        lines=lines_at("First token", thresholds.ttft_s, ns),
        form=DURATION,
    )


def _ratios(views: DataViews, thresholds: Thresholds) -> Panel:
    layer = Layer(views.requests).over_time()
    layer = layer.showing("errors", _ERRORS, "Errors", PERCENT).showing("empty", _EMPTY, "Empty answers", PERCENT)
    return chart(
        "Errors and empty answers",
        "As ratios; the lines are the thresholds.",
        layer,
        "line",
        lines=lines_at("Errors", thresholds.error_ratio, float) + lines_at("Empty", thresholds.empty_ratio, float),
        form=PERCENT,
    )


def _tokens_over_time(views: DataViews) -> Panel:
    layer = Layer(views.requests).over_time().showing("input", _INPUT, "Input").showing("output", _OUTPUT, "Output")
    return chart("Tokens", "Read and written.", layer, "bar_stacked")


def _output_by_model(views: DataViews) -> Panel:
    layer = Layer(views.requests).by("gen_ai.request.model", "Model", 10, "output").over_time()
    return chart("Output tokens by model", "Written.", layer.showing("output", _OUTPUT, "Output"), "bar_stacked")


def _tokens_by_model(views: DataViews) -> Panel:
    layer = Layer(views.requests).by("gen_ai.request.model", "Model", 20, "requests")
    layer = layer.showing("requests", _REQUESTS, "Requests").showing("input", _INPUT, "Input tokens")
    layer = layer.showing("output", _OUTPUT, "Output tokens").showing("tokens", _INPUT + _OUTPUT, "Tokens", COUNT)
    layer = layer.showing("each", (_INPUT + _OUTPUT) / _REQUESTS, "Tokens per request", COUNT)
    layer = layer.showing("cached", Metric("sum", "llm.cached_tokens") / _INPUT, "Input from the cache", PERCENT)
    return table("Cost in tokens", "What each model read and wrote.", layer, sort_by="tokens")


def _flags(views: DataViews) -> Panel:
    layer = Layer(views.requests).by("llm.flags", "Flag", 8, "requests").over_time()
    layer = layer.showing("requests", _REQUESTS, "Requests")
    return chart("Flags", "What was odd about requests, judged by the thresholds.", layer, "bar_stacked")


def _statuses(views: DataViews) -> Panel:
    layer = Layer(views.requests).by("llm.outcome", "Outcome", 8, "requests")
    layer = layer.showing("requests", _REQUESTS, "Requests")
    layer = layer.showing("ok", Metric("count", kql="http.response.status_code < 400"), "Status below 400")
    layer = layer.showing("4xx", Metric("count", kql=_STATUS_4XX), "Status 4xx")
    layer = layer.showing("5xx", Metric("count", kql="http.response.status_code >= 500"), "Status 5xx")
    return table("Outcome beside status", "Where the status does not say what happened.", layer, sort_by="requests")


_STATUS_4XX = "http.response.status_code >= 400 and http.response.status_code < 500"
