"""Every metric that is kept in rows of whole numbers: its name, labels, help and bucket edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from logproc.settings import Settings, Thresholds

DURATION_EDGES: Final = (
    0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0,
    30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
"""Seconds. Fitted to lengths of real answers: within 1 % at P50 to P99, where the usual edges are 20 % off."""

TTFT_EDGES: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.8, 1.0, 2.5, 5.0,
    7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
"""Seconds: vLLM's own, and some between."""

PER_TOKEN_EDGES: Final = (
    0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Seconds a token: vLLM's inter-token edges and three finer ones (400, 200 and 133 tokens/s)."""

ENGINE_EDGES: Final = DURATION_EDGES
"""Seconds: queue, prefill and decode are parts of the duration, and share its edges."""


@dataclass(frozen=True)
class Metric:
    """One metric. `edges` (seconds, upper bounds) make it a histogram; `name` has no namespace and no `_total`."""

    name: str
    help: str
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()
    is_own: bool = False
    """Whether it speaks of logproc itself: such names carry no namespace."""

    @property
    def width(self) -> int:
        """Whole numbers a row: one for a counter; a count per bucket and the sum in microseconds for a histogram."""
        return len(self.edges) + 2 if self.edges else 1


def catalog(settings: Settings) -> dict[str, Metric]:
    """Every counter and histogram by name, with an edge at every threshold of the settings."""
    with_edges = _edges(settings.thresholds)
    metrics = [
        Metric("requests", "Requests by what really happened to them.", ("model", "operation", "status", "outcome")),
        Metric(
            "request_duration_seconds",
            "Time from a request's arrival to the last byte of its answer; rejected requests are left out.",
            ("model", "operation"),
            with_edges("duration_s", "duration_p95_s", base=DURATION_EDGES),
        ),
        Metric(
            "time_to_first_token_seconds",
            "Time to the first generated content of a stream.",
            ("model", "operation"),
            with_edges("ttft_s", base=TTFT_EDGES),
        ),
        Metric(
            "time_per_output_token_seconds",
            "Time per output token after the first: the engine's, else reckoned for streams of 16 tokens and more.",
            ("model", "operation"),
            with_edges("tokens_per_second", base=PER_TOKEN_EDGES),
        ),
        Metric("queue_time_seconds", "Time in the engine's queue.", ("model",), ENGINE_EDGES),
        Metric("prefill_time_seconds", "Time of the engine's prefill.", ("model",), ENGINE_EDGES),
        Metric("decode_time_seconds", "Time of the engine's decode.", ("model",), ENGINE_EDGES),
        Metric("tokens", "Tokens by type.", ("model", "type")),
        Metric("cached_tokens", "Prompt tokens found in the prefix cache.", ("model",)),
        Metric("reasoning_tokens", "Completion tokens spent on reasoning.", ("model",)),
        Metric("finish_reasons", "Why generation ended.", ("model", "reason")),
        Metric("flags", "Requests by what is odd about them.", ("kind", "model")),
        Metric("alerts", "Alerts that began to fire.", ("kind", "model")),
        Metric("server_starts", "Starts of the inference server.", ("model",)),
        Metric("lines_lost", "Access lines that the server could not write.", ("host", "pid")),
        Metric("logproc_lines", "Lines read.", ("consumer", "result"), is_own=True),
        Metric("logproc_lines_rejected", "Lines that are no record, by reason.", ("reason",), is_own=True),
        Metric("logproc_bytes", "Bytes read.", ("consumer",), is_own=True),
        Metric("logproc_file_events", "What happened to the files followed.", ("event",), is_own=True),
        Metric(
            "logproc_series_folded",
            "Events whose label set came after `metrics.max_series` others and is counted under `__other__`.",
            ("metric",),
            is_own=True,
        ),
    ]
    return {metric.name: metric for metric in metrics}


class _edges:  # noqa: N801
    """Base edges and one at every level of the named thresholds, those of single models too."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._sections = [thresholds, *thresholds.models.values()]

    def __call__(self, *names: str, base: tuple[float, ...]) -> tuple[float, ...]:
        edges = set(base)
        for section in self._sections:
            for name in names:
                levels = getattr(section, name, None)
                for level in levels.all if levels else ():
                    if level > 0:
                        edges.add(1 / level if name == "tokens_per_second" else level)
        return tuple(sorted(filter(math.isfinite, edges)))
