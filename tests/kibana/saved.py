"""The saved objects as an import reads them: every JSON text inside them decoded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from logproc.kibana.objects import ndjson, saved_objects
from logproc.settings import Thresholds

INDEX = "llm-access"


def all_objects(index: str = INDEX, thresholds: Thresholds | None = None) -> list[dict[str, Any]]:
    """Every object, in the order of the import, from the text that is imported."""
    files = saved_objects(index, thresholds or Thresholds())
    return [json.loads(line) for objects in files.values() for line in ndjson(objects).splitlines()]


def of_type(kind: str, **how: Any) -> list[dict[str, Any]]:
    return [each for each in all_objects(**how) if each["type"] == kind]


@dataclass
class LensPanel:
    """One chart of a dashboard, and what it refers to."""

    dashboard: str
    title: str
    kind: str
    state: dict[str, Any]
    views: dict[str, str]
    """Layer → the id of its data view."""

    @property
    def layers(self) -> dict[str, dict[str, Any]]:
        layers: dict[str, dict[str, Any]] = self.state["datasourceStates"]["formBased"]["layers"]
        return layers

    @property
    def visualization(self) -> dict[str, Any]:
        visualization: dict[str, Any] = self.state["visualization"]
        return visualization

    @property
    def kql(self) -> str:
        return str(self.state["query"]["query"])


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(dashboard["attributes"]["panelsJSON"])
    return panels


def lens_panels(**how: Any) -> Iterator[LensPanel]:
    for dashboard in of_type("dashboard", **how):
        for panel in panels_of(dashboard):
            if panel["type"] == "lens":
                attributes = panel["embeddableConfig"]["attributes"]
                prefix = "indexpattern-datasource-layer-"
                views = {each["name"].removeprefix(prefix): each["id"] for each in attributes["references"]}
                yield LensPanel(
                    dashboard["id"], attributes["title"], attributes["visualizationType"], attributes["state"], views
                )
