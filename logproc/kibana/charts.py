"""Charts of Kibana Lens by value: what is drawn of layers, and thresholds beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from logproc.kibana.layers import Column, Layer
from logproc.settings import Levels

_COLOURS: Final = {"warning": "#d6a700", "critical": "#cc5642", "disaster": "#7b1fa2"}
_WELL: Final = "#209280"

Series = Literal["line", "bar_stacked", "bar", "area_percentage_stacked"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart of a dashboard: `attributes` without its references, and which data view each layer asks."""

    title: str
    description: str
    visualization_type: str
    visualization: dict[str, Any]
    layers: dict[str, Layer]
    kql: str = ""


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
