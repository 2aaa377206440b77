"""What a panel is here, and how it becomes one of Grafana's: one place for sizes, colours, legends and data source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as kinds
from grafana_foundation_sdk.models import heatmap as heat_kinds
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from logproc.settings import Levels

SOURCE = kinds.DataSourceRef(type_val="prometheus", uid="${source}")
COLOURS = {"warning": "orange", "critical": "red", "disaster": "purple"}
ROW = 24
"""Grafana's columns."""


@dataclass(frozen=True)
class Query:
    """One PromQL expression and the name of what it shows, with labels in double braces."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A panel: what it asks, its unit (Grafana's), and the levels of its threshold, drawn as lines.

    `kind`: `lines`, `stacked` lines, a `number`, or a `heat` map of a histogram.
    """

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["lines", "stacked", "number", "heat"] = "lines"
    levels: Levels | None = None
    is_floor: bool = False
    """Whether bad is below the level."""
    text: str = ""
    """What to know about it: shown behind the i."""
    width: int = 12
    most: float | None = None
    """The upper end of the axis, where there is one: 1 for a share of a whole."""


def one(expr: str, legend: str = "") -> list[Query]:
    """A single query."""
    return [Query(expr, legend)]


def built(panel: Panel) -> Any:
    """The panel as a builder of the SDK."""
    match panel.kind:
        case "number":
            made: Any = (
                stat.Panel()
                .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
                .color_mode(shapes.BigValueColorMode.VALUE)
                .graph_mode(shapes.BigValueGraphMode.AREA)
                .height(4)
            )
        case "heat":
            made = (
                heatmap.Panel()
                .calculate(False)
                .y_axis(heatmap.YAxisConfig().unit(panel.unit))
                .color(
                    heatmap.HeatmapColorOptions().mode(heat_kinds.HeatmapColorMode.SCHEME).scheme("Spectral").steps(64)
                )
                .height(9)
            )
        case "lines" | "stacked":
            made = _lines(panel)
    made = made.title(panel.title).datasource(SOURCE).span(panel.width).unit(panel.unit)
    if panel.text:
        made = made.description(panel.text)
    if panel.most is not None:
        made = made.max(panel.most)
    if panel.kind != "heat":
        made = made.min(0).thresholds(_thresholds(panel))
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number))
        made = made.with_target(target.format(PromQueryFormat.HEATMAP) if panel.kind == "heat" else target)
    return made


def _lines(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(60 if panel.kind == "stacked" else 8)
        .show_points(shapes.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST).show_legend(True)
                .placement(shapes.LegendPlacement.BOTTOM).calcs([]))
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .height(8)
    )  # fmt: skip
    if panel.kind == "stacked":
        made = made.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if panel.levels is not None and panel.levels.all:
        made = made.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.LINE))
    return made


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Green up to the first level; where bad is below, the levels from the lowest up."""
    levels = panel.levels or Levels()
    named = [(COLOURS[name], getattr(levels, name)) for name in COLOURS if getattr(levels, name) is not None]
    if not panel.is_floor:
        steps = [("green", None), *named]
    else:
        lowest_first = sorted(named, key=lambda each: each[1])
        colours = [colour for colour, _ in lowest_first] + ["green"]
        steps = list(zip(colours, [None, *(level for _, level in lowest_first)], strict=True))
    made = [kinds.Threshold(color=colour, value=value) for colour, value in steps]
    return dashboard.ThresholdsConfig().mode(kinds.ThresholdsMode.ABSOLUTE).steps(made)
