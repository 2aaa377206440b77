"""Charts of Kibana Lens by value: layers of columns, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

from logproc.kibana.data_views import DataView
from logproc.kibana.formula import Arithmetic, Metric, Term, formula_columns
from logproc.settings import Levels

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


_COLOURS: Final = {"warning": "#d6a700", "critical": "#cc5642", "disaster": "#7b1fa2"}
_WELL: Final = "#209280"
_NUMBERS: Final = frozenset({"long", "double"})
_NAMES: Final = frozenset({"keyword", "boolean"})

Column = dict[str, Any]


class Line(NamedTuple):
    """A threshold to be drawn: what it is about, how grave it is, and where it lies on the axis."""

    about: str
    severity: str
    value: float


def lines_at(about: str, levels: Levels, convert: Callable[[float], float]) -> tuple[Line, ...]:
    """A line for each level that is set, at what `convert` makes of it in the unit of the axis."""
    return tuple(
        Line(about, severity, convert(level))
        for severity in _COLOURS
        if (level := getattr(levels, severity)) is not None
    )


Series = Literal["line", "bar_stacked", "bar", "area_percentage_stacked", "bar_horizontal_stacked"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart of a dashboard: `attributes` without its references, and which data view each layer asks."""

    title: str
    description: str
    visualization_type: str
    visualization: dict[str, Any]
    layers: dict[str, Layer]
    kql: str = ""


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


def chart(
    title: str,
    description: str,
    layer: Layer,
    series: Series,
    *,
    lines: Sequence[Line] = (),
    form: Mapping[str, Any] | None = None,
    right: Sequence[str] = (),
    kql: str = "",
) -> Panel:
    """A chart with an x axis, the bucket `time` or `size`; `group` splits it.

    `form` is how the `lines` are shown; the columns in `right` belong to the axis on the right.
    """
    x_axis = "time" if "time" in layer.columns else "size"
    data: dict[str, Any] = {
        "layerId": "data",
        "layerType": "data",
        "seriesType": series,
        "position": "top",
        "showGridlines": False,
        "xAccessor": x_axis,
        "accessors": layer.numbers,
    }
    if right:
        data["yConfig"] = [{"forAccessor": name, "axisMode": "right"} for name in right]
    if "group" in layer.columns:
        data["splitAccessor"] = "group"
    layers, drawn = {"data": layer}, [data]
    if lines:
        names = [f"{line.about.lower().replace(' ', '-')}-{line.severity}" for line in lines]
        statics = {name: _static(line, form) for name, line in zip(names, lines, strict=True)}
        layers["thresholds"] = Layer(layer.data_view, statics)
        drawn.append(
            {
                "layerId": "thresholds",
                "layerType": "referenceLine",
                "accessors": names,
                "yConfig": [_dashed(name, line) for name, line in zip(names, lines, strict=True)],
            }
        )
    shown = {"x": True, "yLeft": True, "yRight": True}
    visualization = {
        "preferredSeriesType": series,
        "legend": {"isVisible": True, "position": "bottom", "showSingleSeries": True},
        "valueLabels": "hide",
        "fittingFunction": "None",
        "axisTitlesVisibilitySettings": {"x": x_axis != "time", "yLeft": False, "yRight": False},
        "tickLabelsVisibilitySettings": shown,
        "gridlinesVisibilitySettings": shown,
        "labelsOrientation": {"x": 0, "yLeft": 0, "yRight": 0},
        "layers": drawn,
    }
    return Panel(title, description, "lnsXY", visualization, layers, kql)


def number(
    title: str, description: str, layer: Layer, *, levels: Levels | None = None, unit: float = 1.0, kql: str = ""
) -> Panel:
    """One large number; it changes its colour at each of `levels` (one unit of a level is `unit` of the number)."""
    (accessor,) = layer.numbers
    visualization: dict[str, Any] = {
        "layerId": "data",
        "layerType": "data",
        "metricAccessor": accessor,
        "showBar": False,
    }
    if levels is not None and levels.all:
        visualization["palette"] = _palette(levels, unit)
    return Panel(title, description, "lnsMetric", visualization, {"data": layer}, kql)


def table(title: str, description: str, layer: Layer, *, sort_by: str, kql: str = "") -> Panel:
    """A row for each `group`, highest first."""
    visible = [name for name, column in layer.columns.items() if column["isBucketed"]] + layer.numbers
    visualization = {
        "layerId": "data",
        "layerType": "data",
        "columns": [{"columnId": name, "isTransposed": False} for name in visible],
        "sorting": {"columnId": sort_by, "direction": "desc"},
        "paging": {"size": 10, "enabled": True},
    }
    return Panel(title, description, "lnsDatatable", visualization, {"data": layer}, kql)


def _bucket(
    view: DataView, name: str, allowed: frozenset[str] | set[str], label: str, operation: str, params: dict[str, Any]
) -> Column:
    kind = view.type_of(name)
    if kind not in allowed:
        raise ValueError(f"{operation} cannot group by {name}, a {kind}")
    shown = {"date": "date", "long": "number", "double": "number", "boolean": "boolean"}.get(kind, "string")
    return {
        "label": label,
        "customLabel": True,
        "dataType": shown,
        "operationType": operation,
        "sourceField": name,
        "isBucketed": True,
        "scale": "ordinal" if operation == "terms" else "interval",
        "params": params,
    }


def _inner(column: Column, columns: Mapping[str, Column]) -> list[str]:
    """The helper columns of a formula, all the way down."""
    found = []
    for reference in column.get("references", []):
        found += [reference, *_inner(columns[reference], columns)]
    return found


def _dashed(name: str, line: Line) -> dict[str, Any]:
    return {
        "forAccessor": name,
        "axisMode": "left",
        "color": _COLOURS[line.severity],
        "lineStyle": "dashed",
        "lineWidth": 2,
        "fill": "none",
        "iconPosition": "auto",
        "textVisibility": True,
    }


def _static(line: Line, form: Mapping[str, Any] | None) -> Column:
    params: dict[str, Any] = {"value": f"{line.value:.10g}"}
    if form is not None:
        params["format"] = dict(form)
    return {
        "label": f"{line.about}: {line.severity}",
        "customLabel": True,
        "dataType": "number",
        "operationType": "static_value",
        "isStaticValue": True,
        "isBucketed": False,
        "scale": "ratio",
        "params": params,
        "references": [],
    }


def _palette(levels: Levels, unit: float) -> dict[str, Any]:
    """Well below the first level, then the colour of each severity from its level on."""
    steps = [(_WELL, 0.0)]
    steps += [(_COLOURS[name], level * unit) for name in _COLOURS if (level := getattr(levels, name)) is not None]
    ends = [bound for _, bound in steps[1:]] + [steps[-1][1] * 2]
    return {
        "type": "palette",
        "name": "custom",
        "params": {
            "name": "custom",
            "rangeType": "number",
            "rangeMin": 0,
            "rangeMax": None,
            "continuity": "above",
            "progression": "fixed",
            "reverse": False,
            "steps": len(steps),
            "maxSteps": 5,
            "colorStops": [{"color": colour, "stop": bound} for colour, bound in steps],
            "stops": [{"color": colour, "stop": end} for (colour, _), end in zip(steps, ends, strict=True)],
        },
    }
