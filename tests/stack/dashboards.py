"""Every question that a dashboard of Grafana asks, as Prometheus would be asked it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.stack.compose import ROOT

FOLDER = ROOT / "pipelines" / "grafana" / "dashboards"


class Asked(NamedTuple):
    """One query of one panel; Grafana's variables are filled in as for a look at the last minutes."""

    dashboard: str
    panel: str
    expr: str


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def asked() -> Iterator[Asked]:
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield Asked(name, panel["title"], filled(target["expr"]))


def filled(expr: str) -> str:
    """Without variables: all models, rates over a minute."""
    values = {
        "$__rate_interval": "1m", "$__range": "5m", "$model": ".*", "$input_price": "1", "$output_price": "3",
    }  # fmt: skip
    for name, value in values.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr
