"""A double of the ingest node: runs our pipeline's processors as documented. It cannot compile or run Painless.

The script is followed in Python beside its text, by the same parameters: that the text itself is valid is not shown.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

_CONDITIONS = {
    "ctx._line.event == null || ctx._line.event == 'request'": lambda line: line.get("event") in (None, "request"),
    "!(ctx._line.event == null || ctx._line.event == 'request')": lambda line: (
        line.get("event") not in (None, "request")
    ),
    "ctx._line.id instanceof String && ctx._line.id.length() == 22": lambda line: (
        isinstance(line.get("id"), str) and len(line["id"]) == 22
    ),
}


def run(pipeline: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """What becomes of a document: its fields, with `_index` and `_id` where the pipeline sets them."""
    ctx = dict(document)
    for processor in pipeline["processors"]:
        ((kind, options),) = processor.items()
        if "if" in options and not _CONDITIONS[options["if"]](ctx["_line"]):
            continue
        match kind:
            case "json":
                ctx[options["target_field"]] = json.loads(ctx[options["field"]])
            case "remove" if options["field"].startswith("_line."):
                ctx["_line"].pop(options["field"].removeprefix("_line."), None)
            case "remove":
                del ctx[options["field"]]
            case "set":
                assert options["value"] == "{{{_line.id}}}"
                ctx[options["field"]] = ctx["_line"]["id"]
            case "date_index_name":
                assert options["field"] == "_line.time"
                ctx["_index"] = options["index_name_prefix"] + _rounded(ctx["_line"]["time"], options["date_rounding"])
            case "script":
                _script(ctx, options["params"])
            case other:
                raise AssertionError(other)
    return ctx


def _rounded(time: str, rounding: str) -> str:
    day = datetime.fromisoformat(time).astimezone(UTC)
    if rounding == "w":
        day -= timedelta(days=day.weekday())
    return f"{day.replace(day=1) if rounding == 'M' else day:%Y.%m.%d}"


def _script(ctx: dict[str, Any], params: dict[str, Any]) -> None:
    line = ctx.pop("_line")
    for source, name in params["fields"].items():
        if (value := line.pop(source, None)) is not None:
            ctx[name] = value
    for source, target in params["durations"].items():
        if (value := line.pop(source, None)) is not None:
            ctx[target["name"]] = int(value * target["ns"] + 0.5)
    if ctx.get("llm.outcome") in params["outcomes"]:
        ctx["event.outcome"] = params["outcomes"][ctx["llm.outcome"]]
    if ctx.get("service.name") is None:
        ctx["service.name"] = params["service"]
    if line:
        ctx["llm.extra"] = line
