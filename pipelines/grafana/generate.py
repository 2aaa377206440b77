"""Writes the dashboards into `dashboards/`, with the thresholds of a pipeline; run it after a change of either.

    python -m pipelines.grafana.generate [PIPELINE.yaml]

It needs the extra `dev`. Without a pipeline the thresholds are the defaults, as in the files that are here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as kinds

from logproc.settings import Thresholds
from logproc.settings_file import load
from pipelines.grafana.machines import engine, health
from pipelines.grafana.panels import SOURCE, built
from pipelines.grafana.requests import latency, overview, tokens

FOLDER = Path(__file__).parent / "dashboards"

DASHBOARDS = {
    "overview": ("LLM requests: overview", overview),
    "latency": ("LLM requests: latency", latency),
    "engine": ("LLM requests: engine and GPU", engine),
    "tokens": ("LLM requests: tokens and cost", tokens),
    "health": ("logproc itself", health),
}


def files(thresholds: Thresholds) -> dict[Path, str]:
    """What belongs into each file."""
    encode = JSONEncoder(sort_keys=True, indent=1).encode
    return {FOLDER / f"{name}.json": encode(_built(name, thresholds)) + "\n" for name in DASHBOARDS}


def _built(name: str, thresholds: Thresholds) -> Any:
    title, rows = DASHBOARDS[name]
    links: list[Any] = [
        dashboard.DashboardLink(other)
        .type(kinds.DashboardLinkType.LINK)
        .url(f"/d/logproc-{uid}")
        .keep_time(True)
        .include_vars(True)
        for uid, (other, _) in DASHBOARDS.items()
        if uid != name
    ]
    made = (
        dashboard.Dashboard(title)
        .uid(f"logproc-{name}")
        .tags(["logproc"])
        .readonly()
        .timezone("browser")
        .refresh("10s")
        .time("now-1h", "now")
        .links(links)
        .tooltip(kinds.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    if name in {"overview", "latency", "tokens", "engine"}:
        models = (
            dashboard.QueryVariable("model")
            .label("Model")
            .datasource(SOURCE)
            .query("label_values(llm_requests_total, model)")
        )
        made = made.with_variable(
            models.include_all(True).all_value(".*").multi(True).refresh(kinds.VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
    if name == "tokens":
        for side, price in (("input", "1"), ("output", "3")):
            variable = dashboard.TextBoxVariable(f"{side}_price").label(f"Price of a million {side} tokens")
            made = made.with_variable(variable.default_value(price))
    for row, panels in rows(thresholds).items():
        made = made.with_row(dashboard.Row(row))
        for panel in panels:
            made = made.with_panel(built(panel))
    return made.build()


if __name__ == "__main__":
    for path, text in files(load(Path(sys.argv[1])).thresholds if len(sys.argv) > 1 else Thresholds()).items():
        path.write_text(text, encoding="utf-8")
