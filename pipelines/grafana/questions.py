"""The PromQL that several panels share: rates, percentiles, means, and shares as the rules record them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.grafana.panels import Panel, Query

MODEL = 'model=~"$model"'
QUANTILES = ((0.5, "P50"), (0.95, "P95"), (0.99, "P99"))


def rate(metric: str, by: str = "", *labels: str) -> str:
    """A sum of rates: per second."""
    where = ", ".join(labels)
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{where}}}[$__rate_interval]))"


def quantiles(histogram: str) -> list[Query]:
    """P50, P95 and P99, between the edges of the buckets: to look at; alerts count at the edges."""
    buckets = rate(f"{histogram}_bucket", "le", MODEL)
    return [Query(f"histogram_quantile({share}, {buckets})", name) for share, name in QUANTILES]


def mean(histogram: str) -> str:
    """Seconds a request, of each model's."""
    return f"{rate(f'{histogram}_sum', '', MODEL)} / {rate(f'{histogram}_count', '', MODEL)}"


def share(counted: str, whole: str) -> str:
    """What the rules record, as a share: the same requests as in the alerts."""
    return f"sum by (model) ({counted}{{{MODEL}}}) / sum by (model) ({whole}{{{MODEL}}})"


Rows = Mapping[str, Sequence[Panel]]
"""A dashboard: its rows by their titles."""

TYPE = {name: f'type="{name}"' for name in ("prompt", "completion")}
