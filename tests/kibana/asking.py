"""The question that Kibana asks Elasticsearch for one chart, and the answer as the chart shows it."""

from __future__ import annotations

import json
from typing import Any

from tests.kibana.kql import query_of
from tests.kibana.saved import LensPanel
from tests.services.elasticsearch import call

INTERVAL_S = 2
"""What `auto` means for the few seconds of the log."""

Rows = dict[tuple[Any, ...], dict[str, float | None]]
"""The keys of the buckets, from the outermost on (ms for time, the lower edge for a range) → number by column."""

_NAMES = {"average": "avg", "sum": "sum", "max": "max", "min": "min"}


def rows_of(url: str, panel: LensPanel) -> Rows:
    """What the data layer of a chart shows; thresholds are left out."""
    layer = panel.layers["data"]
    columns = layer["columns"]
    buckets = [name for name in layer["columnOrder"] if columns[name]["isBucketed"]]
    metrics = {name: column for name, column in columns.items() if not column["isBucketed"]}
    request = {
        "size": 0,
        "track_total_hits": True,
        "query": query_of(panel.kql),
        "aggs": _nested(buckets, columns, metrics),
    }
    answer = call(url, "POST", f"/{panel.views['data']}/_search", request)
    assert "error" not in answer, json.dumps(answer["error"])[:2000]
    whole = answer["aggregations"] | {"doc_count": answer["hits"]["total"]["value"]}
    rows = dict(_rows(whole, buckets, columns, metrics, ()))
    shown = [name for name, column in metrics.items() if not column["label"].startswith("Part of ")]
    return {key: {name: row[name] for name in shown} for key, row in rows.items()}


def _nested(buckets: list[str], columns: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = {name: each for name, column in metrics.items() if (each := _metric(column)) is not None}
    for name in reversed(buckets):
        order = columns[name]["params"].get("orderBy", {}).get("columnId")
        if order and columns[order]["operationType"] != "count":
            inner = {**inner, order: _metric(columns[order])}
        inner = {name: _bucket(columns[name], columns) | {"aggs": inner}}
    return inner


def _bucket(column: dict[str, Any], columns: dict[str, Any]) -> dict[str, Any]:
    field, params = column["sourceField"], column["params"]
    match column["operationType"]:
        case "terms":
            by = params["orderBy"]["columnId"]
            order = "_count" if columns[by]["operationType"] == "count" else by
            return {"terms": {"field": field, "size": params["size"], "order": {order: params["orderDirection"]}}}
        case "date_histogram":
            return {"date_histogram": {"field": field, "fixed_interval": f"{INTERVAL_S}s", "min_doc_count": 1}}
        case "range":
            ranges = [
                {k: v for k, v in each.items() if k in {"from", "to"} and v is not None} for each in params["ranges"]
            ]
            return {"range": {"field": field, "ranges": ranges}}
        case other:
            raise AssertionError(other)


def _metric(column: dict[str, Any]) -> dict[str, Any] | None:
    kind = column["operationType"]
    if kind in {"formula", "math"}:
        return None
    if kind == "count":
        inner: dict[str, dict[str, Any]] = {}
    elif kind == "percentile":
        inner = {
            "value": {"percentiles": {"field": column["sourceField"], "percents": [column["params"]["percentile"]]}}
        }
    else:
        inner = {"value": {_NAMES[kind]: {"field": column["sourceField"]}}}
    if "filter" in column or kind == "count":
        return {"filter": query_of(column.get("filter", {}).get("query", "")), "aggs": inner}
    return inner["value"]


def _rows(answer: Any, buckets: list[str], columns: Any, metrics: Any, key: tuple[Any, ...]) -> Any:
    if not buckets:
        values: dict[str, float | None] = {}
        for name, column in metrics.items():
            if column["operationType"] not in {"formula", "math"}:
                values[name] = _value(column, answer[name])
        for name, column in metrics.items():
            if column["operationType"] == "formula":
                (root,) = column["references"]
                values[name] = _computed(metrics[root]["params"]["tinymathAst"], values)
        yield key, values
        return
    for bucket in answer[buckets[0]]["buckets"]:
        if bucket["doc_count"]:
            own = bucket.get("from", bucket["key"])
            yield from _rows(bucket, buckets[1:], columns, metrics, (*key, own))


def _value(column: dict[str, Any], answer: dict[str, Any]) -> float | None:
    value: float | None
    if column["operationType"] == "count":
        value = answer["doc_count"]
        return value
    if "filter" in column:
        answer = answer["value"]
    if column["operationType"] == "percentile":
        (value,) = answer["values"].values()
    else:
        value = answer["value"]
    return value


def _computed(tree: Any, values: dict[str, float | None]) -> float | None:
    if isinstance(tree, str):
        return values[tree]
    left, right = (_computed(each, values) for each in tree["args"])
    if left is None or right is None or (tree["name"] == "divide" and right == 0):
        return None
    match tree["name"]:
        case "add":
            return left + right
        case "subtract":
            return left - right
        case "divide":
            return left / right
        case other:
            raise AssertionError(other)
