"""A dashboard as a saved object: rows of panels on Kibana's grid of 48 columns, with controls above them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from logproc.kibana.charts import Panel
from logproc.kibana.data_views import DataView

WIDTH: Final = 48


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, of the same width; a string is the id of a saved search."""

    height: int
    panels: tuple[Panel | str, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels. A control is a data view, one of its fields, and what stands above it."""

    id: str
    title: str
    description: str
    controls: tuple[tuple[DataView, str, str], ...]
    rows: tuple[Row, ...]

    def saved_object(self) -> dict[str, Any]:
        """The dashboard as a saved object, panels by value, searches by reference."""
        panels: list[dict[str, Any]] = []
        references: list[dict[str, str]] = []
        top = 0
        for row in self.rows:
            width = WIDTH // len(row.panels)
            for place, each in enumerate(row.panels):
                number = str(len(panels) + 1)
                panel, needed = _search(each, number) if isinstance(each, str) else _lens(each, number)
                panel["gridData"] = {"x": place * width, "y": top, "w": width, "h": row.height, "i": number}
                panels.append(panel)
                references += [reference | {"name": f"{number}:{reference['name']}"} for reference in needed]
            top += row.height
        controls, needed = _controls(self.controls)
        options = {
            "useMargins": True,
            "syncColors": True,
            "syncCursor": True,
            "syncTooltips": False,
            "hidePanelTitles": False,
        }
        source = {"query": {"query": "", "language": "kuery"}, "filter": []}
        return {
            "type": "dashboard",
            "id": self.id,
            "attributes": {
                "title": self.title,
                "description": self.description,
                "panelsJSON": json.dumps(panels),
                "optionsJSON": json.dumps(options),
                "controlGroupInput": controls,
                "timeRestore": True,
                "timeFrom": "now-24h",
                "timeTo": "now",
                "refreshInterval": {"pause": True, "value": 60000},
                "version": 1,
                "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)},
            },
            "references": references + needed,
            "coreMigrationVersion": "8.8.0",
            "typeMigrationVersion": "8.9.0",
            "managed": False,
        }


def _lens(panel: Panel, number: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    references = [
        {"type": "index-pattern", "id": layer.data_view.id, "name": f"indexpattern-datasource-layer-{name}"}
        for name, layer in panel.layers.items()
    ]
    attributes = {
        "title": panel.title,
        "description": panel.description,
        "type": "lens",
        "visualizationType": panel.visualization_type,
        "references": references,
        "state": {
            "adHocDataViews": {},
            "internalReferences": [],
            "datasourceStates": {
                "formBased": {"layers": {name: layer.state for name, layer in panel.layers.items()}},
                "textBased": {"layers": {}},
            },
            "visualization": panel.visualization,
            "filters": [],
            "query": {"query": panel.kql, "language": "kuery"},
        },
    }
    config = {"attributes": attributes, "description": panel.description, "enhancements": {}}
    return {
        "type": "lens",
        "panelIndex": number,
        "title": panel.title,
        "version": "8.9.0",
        "embeddableConfig": config,
    }, references


def _search(search_id: str, number: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    name = f"panel_{number}"
    panel = {
        "type": "search",
        "panelIndex": number,
        "panelRefName": name,
        "version": "8.9.0",
        "embeddableConfig": {"enhancements": {}},
    }
    return panel, [{"type": "search", "id": search_id, "name": name}]


def _controls(controls: tuple[tuple[DataView, str, str], ...]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    panels, references = {}, []
    for order, (view, name, title) in enumerate(controls):
        view.type_of(name)
        control = f"control-{order}"
        panels[control] = {
            "type": "optionsListControl",
            "order": order,
            "grow": True,
            "width": "medium",
            "explicitInput": {
                "id": control,
                "fieldName": name,
                "title": title,
                "selectedOptions": [],
                "enhancements": {},
            },
        }
        references.append(
            {"type": "index-pattern", "id": view.id, "name": f"controlGroup_{control}:optionsListDataView"}
        )
    ignore = {"ignoreFilters": False, "ignoreQuery": False, "ignoreTimerange": False, "ignoreValidations": False}
    return {
        "controlStyle": "oneLine",
        "chainingSystem": "HIERARCHICAL",
        "showApplySelections": False,
        "ignoreParentSettingsJSON": json.dumps(ignore),
        "panelsJSON": json.dumps(panels),
    }, references
