"""Committed rows → the text that Prometheus scrapes, in its text and in the OpenMetrics format.

Written for thousands of histogram rows: the part of each line before its value is made once and kept. The output is
tested equal to that of `prometheus_client`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from prometheus_client.utils import floatToGoString

from logproc.measure.catalog import Metric
from logproc.measure.table import Cells

_LARGE: Final = 1_000_000
"""From here on numbers are written with an exponent."""

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


Samples = Sequence[tuple[Mapping[str, str], float]]


@dataclass(frozen=True)
class Gauge:
    """A metric whose samples are made at the scrape: gauges, and counters that another consumer keeps."""

    name: str
    help: str
    samples: Samples
    type: str = "gauge"


class Exposition:
    """Renders the metrics of one process, from any thread; keeps what can be kept between scrapes."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._large: dict[tuple[str, int], list[str]] = {}
        self._kept: dict[str, list[list[str]]] = {}
        """By metric and row the beginnings of the row's lines, up to their values."""
        self._keeping = threading.Lock()

    def render(
        self,
        tables: Iterable[tuple[Metric, Sequence[tuple[str, ...]], Cells]],
        gauges: Iterable[Gauge],
        *,
        more: Mapping[str, Samples] = MappingProxyType({}),
        openmetrics: bool = False,
    ) -> str:
        """The page: every table's rows, then the gauges (their names are given in full).

        `more` holds further samples of counters among the tables, by the metric's name: what other consumers count.
        """
        parts: list[str] = []
        for metric, labels, cells in tables:
            name = metric.name if metric.is_own else f"{self._namespace}_{metric.name}"
            if metric.edges:
                parts += _header(name, "histogram", metric.help)
                self._histogram(parts, name, metric, labels, cells)
            else:
                parts += _header(name, "counter", metric.help, openmetrics=openmetrics)
                self._counter(parts, name, metric, labels, cells)
                parts += _samples(f"{name}_total", more.get(metric.name, ()))
        for gauge in gauges:
            parts += _header(gauge.name, gauge.type, gauge.help, openmetrics=openmetrics)
            full = f"{gauge.name}_total" if gauge.type == "counter" else gauge.name
            parts += _samples(full, gauge.samples)
        if openmetrics:
            parts.append("# EOF\n")
        return "".join(parts)

    def _prefixes(
        self, name: str, labels: Sequence[tuple[str, ...]], made: Callable[[tuple[str, ...]], list[str]]
    ) -> list[list[str]]:
        with self._keeping:  # two scrapes at once would otherwise keep the same rows twice, and shift all that follow
            kept = self._kept.setdefault(name, [])
            kept += map(made, labels[len(kept) :])
            return kept

    def _counter(
        self, parts: list[str], name: str, metric: Metric, labels: Sequence[tuple[str, ...]], cells: Cells
    ) -> None:
        def prefix_of(row: tuple[str, ...]) -> list[str]:
            return [f"{name}_total{_braces(dict(zip(metric.labels, row, strict=True)))} "]

        for prefix, value in zip(self._prefixes(name, labels, prefix_of), cells[:, 0].tolist(), strict=False):
            parts += (prefix[0], _whole(value), "\n")

    def _histogram(
        self, parts: list[str], name: str, metric: Metric, labels: Sequence[tuple[str, ...]], cells: Cells
    ) -> None:
        bounds = [*(_number(edge) for edge in metric.edges), "+Inf"]

        def prefixes_of(row: tuple[str, ...]) -> list[str]:
            pairs = dict(zip(metric.labels, row, strict=True))
            return [
                *(f"{name}_bucket{_braces(pairs | {'le': bound})} " for bound in bounds),
                f"{name}_count{_braces(pairs)} ",
                f"{name}_sum{_braces(pairs)} ",
            ]

        def template_of(row: tuple[str, ...]) -> list[str]:
            *whole, last = (prefix.replace("%", "%%") for prefix in prefixes_of(row))
            return ["".join(f"{prefix}%d.0\n" for prefix in whole) + f"{last}%s\n"]

        templates = self._prefixes(name, labels, template_of)
        counts = np.cumsum(cells[:, :-1], axis=1).tolist()
        for place, (row_counts, microseconds) in enumerate(zip(counts, cells[:, -1].tolist(), strict=True)):
            total = row_counts[-1]
            if total < _LARGE:  # one formatting in C for the whole row
                parts.append(templates[place][0] % (*row_counts, total, _number(microseconds / 1e6)))
                continue
            prefixes = self._large.setdefault((name, place), [])
            if not prefixes:
                prefixes += prefixes_of(labels[place])
            for start, value in zip(prefixes, (*row_counts, total), strict=False):
                parts += (start, _whole(value), "\n")
            parts += (prefixes[-1], _number(microseconds / 1e6), "\n")


def _header(name: str, kind: str, text: str, *, openmetrics: bool = False) -> list[str]:
    full = f"{name}_total" if kind == "counter" and not openmetrics else name
    return [f"# HELP {full} {text}\n", f"# TYPE {full} {kind}\n"]


def _samples(name: str, samples: Samples) -> list[str]:
    return [f"{name}{_braces(labels)} {_number(value)}\n" for labels, value in samples]


def _braces(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in sorted(labels.items())) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _whole(value: int) -> str:
    return f"{value}.0" if value < _LARGE else _number(value)


def _number(value: float) -> str:
    if value < _LARGE:
        return repr(value) if isinstance(value, float) else repr(float(value))
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text
