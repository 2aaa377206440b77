"""What servers said of themselves, read from Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from logproc.record import SERVER_STARTED
from logproc.stores.archive import Server
from logproc.stores.elasticsearch_asking import PAGE, Asking
from logproc.stores.fields import SERVER_FIELDS
from logproc.stores.servers import COLUMNS, Key, Peak, gpus_of, highest, peak_of, servers_of

_FIELD_OF: Final = {field.column: field.name for field in SERVER_FIELDS}
_USED, _TOTAL = (f"{_FIELD_OF['gpus']}.memory_{name}_bytes" for name in ("used", "total"))
_RAW: Final = ("engines", "gpus")
_NEWEST: Final = {
    "top_hits": {
        "size": 1,
        "sort": [{_FIELD_OF["time_ms"]: "desc"}],
        "_source": [_FIELD_OF[name] for name in COLUMNS],
    }
}
_GPU_MEMORY: Final = {
    "used": {"max": {"field": _USED}},
    "total": {"max": {"field": _TOTAL}},
    "least": {"min": {"field": _TOTAL}},
    "used_values": {"value_count": {"field": _USED}},
    "total_values": {"value_count": {"field": _TOTAL}},
    "gpus": {"value_count": {"field": f"{_FIELD_OF['gpus']}.gpu"}},
}


class _Hit(msgspec.Struct):
    source: dict[str, msgspec.Raw] = msgspec.field(name="_source")
    sort: list[Any]


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Lines(msgspec.Struct):
    hits: _Hits


def read_servers(asking: Asking, since_ms: int | None, until_ms: int | None) -> list[Server]:
    """The servers that wrote a line in this range of time."""
    query = _between(since_ms, until_ms)
    start = {"term": {_FIELD_OF["event"]: SERVER_STARTED}}
    newest = [_newest(bucket) for bucket in asking.grouped(query, _by("host", "pid", "event"), {"newest": _NEWEST})]
    starts = asking.grouped(_between(None, until_ms, start), _by("host", "pid"), {"newest": _NEWEST})
    return servers_of(newest, map(_newest, starts), dict(_peaks(asking, since_ms, until_ms)))


def _peaks(asking: Asking, since_ms: int | None, until_ms: int | None) -> Iterator[tuple[Key, Peak]]:
    """GPU memory by server. Unless its GPUs are alike and tell all, Elasticsearch cannot say which value is whose: then
    all heartbeats are read.
    """
    query = _between(since_ms, until_ms, {"exists": {"field": _USED}})
    for bucket in asking.grouped(query, _by("host", "pid"), _GPU_MEMORY):
        found = {name: bucket[name]["value"] for name in _GPU_MEMORY}
        key = (bucket["key"]["host"], bucket["key"]["pid"])
        if found["total"] == found["least"] and found["used_values"] == found["total_values"] == found["gpus"]:
            yield key, (int(found["used"]), found["used"] / found["total"])
        else:
            own = [_is(name, value) for name, value in zip(("host", "pid"), key, strict=True)]
            yield key, _peak_of_all(asking, _between(since_ms, until_ms, {"exists": {"field": _USED}}, *own))


def _peak_of_all(asking: Asking, query: dict[str, Any]) -> Peak:
    order = [{_FIELD_OF["time_ms"]: "asc"}, {_FIELD_OF["id"]: "asc"}]
    body = {"size": PAGE, "query": query, "sort": order, "_source": [_FIELD_OF["gpus"]], "track_total_hits": False}
    peaks: list[Peak] = []
    while True:
        hits = asking.search(body, _Lines).hits.hits
        peaks += [peak_of(gpus_of(hit.source.get(_FIELD_OF["gpus"])) or ()) for hit in hits]
        if len(hits) < PAGE:
            return highest(peaks)
        body["search_after"] = hits[-1].sort


def _newest(bucket: dict[str, Any]) -> dict[str, Any]:
    (hit,) = bucket["newest"]["hits"]["hits"]
    line = {name: hit["_source"].get(_FIELD_OF[name]) for name in COLUMNS}
    return line | {"time_ms": hit["sort"][0]} | {name: _json(line[name]) for name in _RAW}


def _json(value: Any) -> bytes | None:
    return None if value is None else msgspec.json.encode(value)


def _by(*columns: str) -> list[dict[str, Any]]:
    return [{name: {"terms": {"field": _FIELD_OF[name], "missing_bucket": True}}} for name in columns]


def _is(column: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {"bool": {"must_not": {"exists": {"field": _FIELD_OF[column]}}}}
    return {"term": {_FIELD_OF[column]: value}}


def _between(since_ms: int | None, until_ms: int | None, *further: dict[str, Any]) -> dict[str, Any]:
    bounds = {name: moment for name, moment in (("gte", since_ms), ("lt", until_ms)) if moment is not None}
    time = {"range": {_FIELD_OF["time_ms"]: {**bounds, "format": "epoch_millis"}}}
    return {"bool": {"filter": [*([time] if bounds else []), *further]}}
