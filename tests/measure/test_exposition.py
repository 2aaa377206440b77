"""The page is what `prometheus_client` would write, and what Prometheus' own parsers read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from logproc.kinds import label
from logproc.measure import catalog
from logproc.measure.exposition import Exposition, Gauge
from logproc.measure.table import Table
from logproc.measure.totals import Totals
from tests.lines import raw, request
from tests.measure.test_totals import totals_of

HOSTILE = '100%d.0 %s a"b\\c\nd{}=,\u202e<script>'


class AsPrometheusClient(Collector):
    """The same rows through the reference implementation."""

    def __init__(self, totals: Totals, gauges: list[Gauge]) -> None:
        self._totals = totals
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for table in self._totals.tables.values():
            metric = table.metric
            name = metric.name if metric.is_own else f"llm_{metric.name}"
            if metric.edges:
                yield self._histogram(name, table)
            else:
                family = CounterMetricFamily(name, metric.help, labels=metric.labels)
                for row, labels in enumerate(table.labels):
                    family.add_metric(labels, int(table.cells[row, 0]))
                yield family
        for gauge in self._gauges:
            made = GaugeMetricFamily(gauge.name, gauge.help, labels=list(gauge.samples[0][0]))
            for named, value in gauge.samples:
                made.add_metric(list(named.values()), value)
            yield made

    def _histogram(self, name: str, table: Table) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, table.metric.help, labels=table.metric.labels)
        bounds = [*(floatToGoString(edge) for edge in table.metric.edges), "+Inf"]  # type: ignore[no-untyped-call]
        for row, labels in enumerate(table.labels):
            cells = table.cells[row].tolist()
            counts = [sum(cells[: place + 1]) for place in range(len(bounds))]
            family.add_metric(labels, list(zip(bounds, counts, strict=True)), cells[-1] / 1e6)
        return family


@pytest.fixture
def totals() -> Totals:
    many = raw(*(request(model=model, stream=True, ttft_ms=12.5, queue_ms=3) for model in ("m", HOSTILE, "ü")))
    totals = totals_of(many + b"bad\n")
    totals.tables["tokens"].increase(("m", "prompt"), 12_345_678_901)
    durations = totals.tables["request_duration_seconds"]
    durations.cells[durations.row((HOSTILE, "chat")), 3:7] += 999_999
    return totals


def page(totals: Totals, gauges: list[Gauge], *, openmetrics: bool = False) -> str:
    rows = [(table.metric, table.labels, table.cells[: len(table)]) for table in totals.tables.values()]
    exposition = Exposition("llm")
    exposition.render(rows, gauges, openmetrics=openmetrics)
    return exposition.render(rows, gauges, openmetrics=openmetrics)  # the second time from what was kept


GAUGES = [Gauge("llm_kv_cache_usage_ratio", "Share.", [({"host": HOSTILE, "pid": "7"}, 0.25)])]


def test_the_text_equals_that_of_prometheus_client(totals: Totals) -> None:
    registry = CollectorRegistry()
    registry.register(AsPrometheusClient(totals, GAUGES))

    assert page(totals, GAUGES) == generate_latest(registry).decode()


def test_the_openmetrics_text_equals_that_of_prometheus_client(totals: Totals) -> None:
    registry = CollectorRegistry()
    registry.register(AsPrometheusClient(totals, GAUGES))

    assert page(totals, GAUGES, openmetrics=True) == generate_openmetrics(registry).decode()


def test_both_texts_are_read_by_the_reference_parsers(totals: Totals) -> None:
    families = {family.name: family for family in text_string_to_metric_families(page(totals, GAUGES))}
    strict = list(openmetrics_parser.text_string_to_metric_families(page(totals, GAUGES, openmetrics=True)))

    models = {sample.labels["model"] for sample in families["llm_requests"].samples}
    assert models == {"m", label(HOSTILE), "ü"}  # what does harm in a terminal is escaped
    assert {family.name for family in strict} == set(families)


def test_rows_that_come_later_are_added_to_the_kept_ones(totals: Totals) -> None:
    exposition = Exposition("llm")
    tables = totals.tables.values()
    exposition.render([(table.metric, table.labels, table.cells[: len(table)]) for table in tables], [])
    totals.tables["flags"].increase(("slow", "later"), 3)

    text = exposition.render([(table.metric, table.labels, table.cells[: len(table)]) for table in tables], [])

    assert 'llm_flags_total{kind="slow",model="later"} 3.0\n' in text


def test_two_scrapes_at_once_do_not_mix_up_the_rows_of_those_that_follow() -> None:
    metric = catalog.Metric("x", "Help.", ("model",), tuple(map(float, range(1, 30))))
    labels = [(f"m{number}",) for number in range(1000)]
    rows = [(metric, labels, np.arange(1000 * metric.width).reshape(1000, metric.width))]
    shared, together = Exposition("llm"), threading.Barrier(2)

    def scrape() -> str:
        together.wait()
        return shared.render(rows, [])

    with ThreadPoolExecutor(2) as pool:
        pages = [future.result() for future in [pool.submit(scrape), pool.submit(scrape)]]

    expected = Exposition("llm").render(rows, [])
    assert all(page == expected for page in [*pages, shared.render(rows, [])])
