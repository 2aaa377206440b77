"""`/metrics`: what `measure` has committed, joined with what the other consumers have, and how far each of them is."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector

from logproc import __version__
from logproc.consumer import Standing
from logproc.measure.exposition import Exposition, Gauge, Samples
from logproc.measure.measure import Measure
from logproc.measure.servers import GAUGES

Counters = Mapping[str, Samples]
"""Counters of another consumer by their name without `_total`."""


class MetricsPage:
    """Renders the page from any thread.

    `progress` is read at each scrape, one entry a consumer; `others` gives the counters of the consumers that do not
    live in `measure.db`, `gauges` what else is to be shown, made at each scrape.
    """

    def __init__(
        self,
        measure: Measure,
        namespace: str,
        progress: Callable[[], Mapping[str, Standing]],
        others: Callable[[], Counters],
        gauges: Callable[[], list[Gauge]] = list,
    ) -> None:
        self._measure = measure
        self._namespace = namespace
        self._progress = progress
        self._others = others
        self._more = gauges
        self._exposition = Exposition(namespace)
        self._process = ProcessCollector(registry=CollectorRegistry())

    def render(self, *, openmetrics: bool) -> str:
        """The page as text."""
        published = self._measure.published()
        tables = [(table.metric, *published[name]) for name, table in self._measure.tables.items() if name in published]
        others = self._others()
        return self._exposition.render(tables, self._gauges(others), more=others, openmetrics=openmetrics)

    def _gauges(self, others: Counters) -> list[Gauge]:
        values: dict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)
        for name, labels, value in self._measure.gauges():
            values[name][tuple(sorted(labels.items()))] = value  # of several with the same labels the newest wins
        gauges = [
            Gauge(f"{self._namespace}_{name}", text, [(dict(labels), value) for labels, value in values[name].items()])
            for name, text in GAUGES.items()
            if name in values
        ]
        progress = self._progress()
        gauges += [
            Gauge(
                "logproc_documents",
                "Documents by what the store did with them.",
                others.get("logproc_documents", ()),
                "counter",
            ),
            Gauge(
                "logproc_lag_bytes",
                "Bytes that are there and not yet committed.",
                [({"consumer": name}, each.lag_bytes) for name, each in progress.items()],
            ),
            Gauge(
                "logproc_lag_seconds",
                "How long the oldest byte not yet committed has waited.",
                [({"consumer": name}, each.lag_seconds) for name, each in progress.items()],
            ),
            Gauge(
                "logproc_paused",
                "Whether a consumer waits for its store or for disk space.",
                [({"consumer": name}, float(each.problem is not None)) for name, each in progress.items()],
            ),
            Gauge(
                "logproc_build_info",
                "Version of logproc.",
                [({"version": __version__, "python": platform.python_version()}, 1.0)],
            ),
        ]
        gauges += self._more()
        for family in self._process.collect():
            samples = [(sample.labels, sample.value) for sample in family.samples]
            gauges.append(Gauge(family.name, family.documentation, samples, family.type))
        return gauges
