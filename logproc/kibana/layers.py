"""Layers of Kibana Lens: which numbers of which data view, grouped by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from logproc.kibana.data_views import DataView
from logproc.kibana.formula import Arithmetic, Metric, Term, formula_columns

PERCENT: Final = {"id": "percent", "params": {"decimals": 2}}
COUNT: Final = {"id": "number", "params": {"decimals": 0}}
DURATION: Final = {
    "id": "duration",
    "params": {"decimals": 2, "fromUnit": "nanoseconds", "toUnit": "humanizePrecise", "compact": True},
}

NS_PER_S: Final = 1_000_000_000


def ns(seconds: float) -> float:
    """Seconds in the unit of every duration in documents."""
    return seconds * NS_PER_S


_NUMBERS: Final = frozenset({"long", "double"})
_NAMES: Final = frozenset({"keyword", "boolean"})

Column = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layer:
    """Columns of one data view by id, in the order in which they are nested: buckets first."""

    data_view: DataView
    columns: dict[str, Column] = field(default_factory=dict)

    def with_bucket(self, column_id: str, column: Column) -> Layer:
        """With one bucket more, inside of those that are there."""
        return replace(self, columns={**self.columns, column_id: column})

    def over_time(self) -> Layer:
        """With a bucket for each stretch of time."""
        params = {"interval": "auto", "includeEmptyRows": True, "dropPartials": False}
        return self.with_bucket(
            "time", _bucket(self.data_view, "@timestamp", {"date"}, "Time", "date_histogram", params)
        )

    def by(self, name: str, label: str, size: int = 20, order_by: str = "count") -> Layer:
        """With a bucket for each of the `size` most frequent values of a field; `order_by` is a column's id."""
        params = {
            "size": size,
            "orderBy": {"type": "column", "columnId": order_by},
            "orderDirection": "desc",
            "otherBucket": False,
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
            "include": [],
            "exclude": [],
            "includeIsRegex": False,
            "excludeIsRegex": False,
        }
        return self.with_bucket("group", _bucket(self.data_view, name, _NAMES, label, "terms", params))

    def by_size(self, name: str, label: str, edges: Sequence[int]) -> Layer:
        """With a bucket for each range of a number: from the first edge on, up to each next, and beyond the last."""
        pairs = [*zip(edges, [*edges[1:], None], strict=True)]
        ranges = [
            {"from": low, "to": high, "label": f"{low:,} and more" if high is None else f"{low:,} to {high - 1:,}"}
            for low, high in pairs
        ]
        params = {"type": "range", "ranges": ranges, "maxBars": "auto", "parentFormat": {"id": "range"}}
        return self.with_bucket("size", _bucket(self.data_view, name, _NUMBERS, label, "range", params))

    def showing(self, column_id: str, term: Term, label: str, form: Mapping[str, Any] | None = None) -> Layer:
        """With one number more. Without `form` it is shown as its field is; a formula needs one."""
        for metric in (term,) if isinstance(term, Metric) else term.metrics():
            self._check(metric)
        if isinstance(term, Arithmetic):
            if form is None:
                raise ValueError(f"{label!r}: a formula needs a format")
            return replace(self, columns=self.columns | formula_columns(column_id, term, label, dict(form)))
        column = term.column(label)
        if form is not None:
            column["params"]["format"] = dict(form)
        return replace(self, columns={**self.columns, column_id: column})

    def percentiles(self, name: str, ranks: Sequence[int], label: str = "P{}") -> Layer:
        """With percentiles of a duration, each as the column `pRANK`."""
        layer = self
        for rank in ranks:
            metric = Metric("percentile", name, percent=rank)
            layer = layer.showing(f"p{rank}", metric, label.format(rank), DURATION)
        return layer

    def _check(self, metric: Metric) -> None:
        if metric.name == "count":
            return
        kind = self.data_view.type_of(metric.field)
        if metric.name != "unique_count" and kind not in _NUMBERS:
            raise ValueError(f"{metric.name} needs a number, and {metric.field} is a {kind}")

    @property
    def numbers(self) -> list[str]:
        """The ids of the columns that are shown as numbers."""
        inner = {each for column in self.columns.values() for each in _inner(column, self.columns)}
        return [name for name, column in self.columns.items() if not column["isBucketed"] and name not in inner]

    @property
    def state(self) -> dict[str, Any]:
        """The layer as Lens keeps it."""
        return {
            "columnOrder": list(self.columns),
            "columns": self.columns,
            "incompleteColumns": {},
            "sampling": 1,
            "ignoreGlobalFilters": False,
        }


def _bucket(
    view: DataView, name: str, allowed: frozenset[str] | set[str], label: str, operation: str, params: dict[str, Any]
) -> Column:
    kind = view.type_of(name)
    if kind not in allowed:
        raise ValueError(f"{operation} cannot group by {name}, a {kind}")
    # Ranges have names, so Lens calls them text.
    shown = {"date": "date", "boolean": "boolean"}.get(kind, "string")
    return {
        "label": label,
        "customLabel": True,
        "dataType": shown,
        "operationType": operation,
        "sourceField": name,
        "isBucketed": True,
        "scale": "interval" if operation == "date_histogram" else "ordinal",
        "params": params,
    }


def _inner(column: Column, columns: Mapping[str, Column]) -> list[str]:
    """The helper columns of a formula, all the way down."""
    found = []
    for reference in column.get("references", []):
        found += [reference, *_inner(columns[reference], columns)]
    return found
