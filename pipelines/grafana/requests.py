"""The dashboards of requests: overview, latency, tokens and cost. Their lines are the thresholds of the settings."""

from __future__ import annotations

from collections.abc import Iterator

from logproc.rules.promql import bound
from logproc.settings import Levels, Thresholds
from pipelines.grafana.panels import Panel, Query, one
from pipelines.grafana.questions import MODEL, TYPE, Rows, mean, quantiles, rate, share


def overview(thresholds: Thresholds) -> Rows:
    """Is it well? Requests, latency, tokens, failures, alerts."""
    failed = share("model:llm_requests_failed:increase5m", "model:llm_requests_answerable:increase5m")
    empty = share("model:llm_answers_empty:increase5m", "model:llm_answers:increase5m")
    duration, ttft = "llm_request_duration_seconds", "llm_time_to_first_token_seconds"
    return {
        "Now": [
            Panel("Requests a second", one(rate("llm_requests_total", "", MODEL)), "reqps", "number", width=4),
            Panel("P99 duration", quantiles(duration)[2:], "s", "number", thresholds.duration_s, width=4),
            Panel("P99 first token", quantiles(ttft)[2:], "s", "number", thresholds.ttft_s, width=4),
            Panel("Failed", one(failed, "{{model}}"), "percentunit", "number", thresholds.error_ratio, width=4),
            Panel("Empty", one(empty, "{{model}}"), "percentunit", "number", thresholds.empty_ratio, width=4),
            Panel(
                "Alerts",
                one(f"sum(llm_alert_active{{{MODEL}}}) or vector(0)"),
                "short",
                "number",
                Levels(warning=1),
                text="logproc's own, that fire now.",
                width=4,
            ),
        ],
        "Requests": [
            Panel(
                "Requests a second, by what really happened",
                one(rate("llm_requests_total", "outcome", MODEL), "{{outcome}}"),
                "reqps",
                "stacked",
                text="The outcome, not the HTTP status: a stream that was refused for overload is a 200.",
            ),
            Panel("Requests a second, by model", one(rate("llm_requests_total", "model", MODEL), "{{model}}"), "reqps"),
            Panel("Duration", quantiles(duration), "s", levels=thresholds.duration_s),
            Panel("Time to first token", quantiles(ttft), "s", levels=thresholds.ttft_s),
            Panel(
                "Share over the threshold",
                [
                    *_over(duration, thresholds.duration_s, "duration"),
                    *_over(ttft, thresholds.ttft_s, "first token"),
                ],
                "percentunit",
                text="Counted at the edge that stands at the threshold, in 5 minutes: not interpolated.",
            ),
            Panel("Tokens a second", one(rate("llm_tokens_total", "type", MODEL), "{{type}}"), "short"),
        ],
        "Failures and alerts": [
            Panel("Failed", one(failed, "{{model}}"), "percentunit", levels=thresholds.error_ratio),
            Panel("Empty answers", one(empty, "{{model}}"), "percentunit", levels=thresholds.empty_ratio),
            Panel("Odd requests a second, by flag", one(rate("llm_flags_total", "kind", MODEL), "{{kind}}"), "reqps"),
            Panel(
                "Alerts that fire",
                one(f"sum by (kind, model) (llm_alert_active{{{MODEL}}})", "{{kind}} {{model}}"),
                kind="stacked",
                text="logproc's own. What Prometheus fires is in Alertmanager.",
            ),
        ],
    }


def _over(histogram: str, levels: Levels, name: str) -> Iterator[Query]:
    for level in levels.all:
        over = f'{histogram}_over:increase5m{{le="{bound(level)}", {MODEL}}}'
        whole = f"{histogram}_count:increase5m{{{MODEL}}}"
        yield Query(
            f"sum by (model) (model:{over}) / sum by (model) (model:{whole})", f"{name} > {level:g} s {{{{model}}}}"
        )


def latency(thresholds: Thresholds) -> Rows:
    """Where does the time go? Heat maps, and the way of a request through the engine."""
    stages = {
        "queue": "llm_queue_time_seconds",
        "prefill": "llm_prefill_time_seconds",
        "decode": "llm_decode_time_seconds",
    }

    def heat(histogram: str) -> list[Query]:
        return one(f"sum by (le) (increase({histogram}_bucket{{{MODEL}}}[$__rate_interval]))", "{{le}}")

    return {
        "How long": [
            Panel("Duration", heat("llm_request_duration_seconds"), "s", "heat"),
            Panel("Time to first token", heat("llm_time_to_first_token_seconds"), "s", "heat"),
        ],
        "Queue, prefill or decode": [
            Panel(
                "A mean request's way through the engine",
                [Query(mean(stages[name]), name) for name in stages],
                "s",
                "stacked",
                text="Needs the engine's timings (vLLM with logproc installed beside it).",
                width=24,
            ),
            *(Panel(name.capitalize(), quantiles(stages[name]), "s", width=8) for name in stages),
        ],
        "Speed": [
            Panel("Time per output token", quantiles("llm_time_per_output_token_seconds"), "s"),
            Panel(
                "Tokens a second of one answer",
                one(f"1 / ({mean('llm_time_per_output_token_seconds')})", "mean"),
                levels=thresholds.tokens_per_second,
                is_floor=True,
            ),
            Panel(
                "Slow requests a second, by flag",
                one(rate("llm_flags_total", "kind", MODEL, 'kind=~"slow.*|stall"'), "{{kind}}"),
                "reqps",
                text="`slow_for_size`: slow for its own lengths. A long answer may take long.",
                width=24,
            ),
        ],
    }


def tokens(_: Thresholds) -> Rows:
    """What was produced, and what would it cost? The prices stand at the top of the dashboard."""

    def total(kind: str) -> str:
        return f"sum by (model) (increase(llm_tokens_total{{{MODEL}, {TYPE[kind]}}}[$__range]))"

    cost = f"({total('prompt')} * $input_price + {total('completion')} * $output_price) / 1e6"
    produced = rate("llm_tokens_total", "model", MODEL, TYPE["completion"])
    answered = rate("llm_request_duration_seconds_count", "model", MODEL)
    reasoned = rate("llm_reasoning_tokens_total", "model", MODEL)
    asked = 'sum by (model) (increase(llm_requests_total{model=~"$model"}[$__range]))'
    return {
        "In the range of time": [
            Panel("Prompt tokens", one(total("prompt"), "{{model}}"), kind="number", width=6),
            Panel("Completion tokens", one(total("completion"), "{{model}}"), kind="number", width=6),
            Panel(
                "Cost",
                one(cost, "{{model}}"),
                "currencyUSD",
                "number",
                text="At the prices above, per million tokens.",
                width=6,
            ),
            Panel(
                "Cost of 1,000 requests", one(f"1000 * {cost} / {asked}", "{{model}}"), "currencyUSD", "number", width=6
            ),
        ],
        "By model": [
            *(
                Panel(
                    f"{kind.capitalize()} tokens a second",
                    one(rate("llm_tokens_total", "model", MODEL, TYPE[kind]), "{{model}}"),
                    kind="stacked",
                )
                for kind in TYPE
            ),
            Panel(
                "Completion tokens a request",
                one(f"{produced} / {answered}", "{{model}}"),
            ),
            Panel(
                "Of them spent on reasoning",
                one(f"{reasoned} / {produced}", "{{model}}"),
                "percentunit",
                most=1,
            ),
            Panel(
                "Why answers ended",
                one(rate("llm_finish_reasons_total", "reason", MODEL), "{{reason}}"),
                "reqps",
                "stacked",
                width=24,
            ),
        ],
    }
