"""Questions to the documents in Elasticsearch: the same as to SQLite, and the same documents back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from logproc.decode import time_ms
from logproc.stores.archive import (
    HEAT_EDGES_MS,
    By,
    Coverage,
    Found,
    Group,
    Heat,
    HeatOf,
    Percentiles,
    Position,
    Question,
    Series,
    Server,
    Slowness,
    Step,
    Summary,
    Tokens,
)
from logproc.stores.elasticsearch_asking import PAGE, Aggregated, Asking
from logproc.stores.elasticsearch_client import Connection
from logproc.stores.elasticsearch_names import Names
from logproc.stores.elasticsearch_points import odd_body, sample_body
from logproc.stores.elasticsearch_servers import read_servers
from logproc.stores.fields import REQUEST_FIELDS
from logproc.stores.points import Axes, Points

_FIELD_OF: Final = {field.column: field.name for field in REQUEST_FIELDS}
_ID_FIELDS: Final = [_FIELD_OF[column] for column in ("id", "request_id", "response_id", "trace_id")]
_KEPT_RAW: Final = frozenset(field.name for field in REQUEST_FIELDS if field.type == "json")
_NAMES: Final = [field.name for field in REQUEST_FIELDS]
_AFTER_OUTCOME: Final = _NAMES.index(_FIELD_OF["outcome"]) + 1
_SHOWN: Final = [*_NAMES[:_AFTER_OUTCOME], "event.outcome", *_NAMES[_AFTER_OUTCOME:]]
_TIMES: Final = ("queue", "prefill", "decode")
_NS_PER_MS: Final = 1e6
MOST_MODELS: Final = 1000
"""So many of the largest models of one group have their tokens told apart."""
_DIGITS: Final = 2
"""Significant digits of percentiles: within 1 %."""


class _Hit(msgspec.Struct):
    source: dict[str, msgspec.Raw] = msgspec.field(name="_source")
    sort: list[Any]


class _Total(msgspec.Struct):
    value: int


class _Hits(msgspec.Struct):
    hits: list[_Hit]
    total: _Total | None = None


class _Documents(msgspec.Struct):
    hits: _Hits


class ElasticsearchArchive:
    """Reads what the store of `kind: elasticsearch` writes; `index` is its alias."""

    missing: str | None = None

    def __init__(self, connection: Connection, index: str) -> None:
        self._requests, self._servers = (
            Asking(connection, Names(index).alias(family)) for family in ("requests", "servers")
        )

    def find(
        self, question: Question, *, limit: int | None = None, after: Position | None = None, oldest_first: bool = False
    ) -> Iterator[Found]:
        """The documents that match, newest first unless said otherwise, going on after the position `after`.

        Raises:
            StoreUnavailableError: Elasticsearch cannot be asked.
        """
        order = "asc" if oldest_first else "desc"
        sort = [{_FIELD_OF["time_ms"]: order}, {_FIELD_OF["id"]: order}]
        return self._sorted(_query(question), sort, limit, after and (after.time_ms, after.id.decode("utf-8")))

    def slowest(self, question: Question, *, limit: int, after: Slowness | None = None) -> list[Found]:
        """The documents that match and have a duration, the longest first, going on after `after`.

        Raises:
            StoreUnavailableError: Elasticsearch cannot be asked.
        """
        sort = [{_FIELD_OF[name]: "desc"} for name in ("duration_ns", "time_ms", "id")]
        query = _query(question)
        query["bool"]["filter"].append({"exists": {"field": _FIELD_OF["duration_ns"]}})
        place = after and (after.duration_ns, after.time_ms, after.id.decode("utf-8"))
        return list(self._sorted(query, sort, limit, place))

    def _sorted(
        self, query: dict[str, Any], sort: list[dict[str, str]], left: int | None, after: Sequence[Any] | None
    ) -> Iterator[Found]:
        """Documents in an order that ends with time and id, page by page, going on after these values of it."""
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            body = {"size": size, "query": query, "sort": sort, "track_total_hits": False}
            if after is not None:
                body["search_after"] = after
            hits = self._requests.search(body, _Documents).hits.hits
            for hit in hits:
                *_, time_ms, event_id = after = hit.sort
                yield Found(Position(time_ms, event_id.encode("utf-8")), _document(hit.source))
            if len(hits) < size:
                return
            left = None if left is None else left - size

    def summarize(self, question: Question, by: By | None, *, exact: bool = True) -> Summary:  # noqa: ARG002
        """The documents that match, grouped; percentiles are within 1 %, also where exact ones are asked for.

        Raises:
            StoreUnavailableError: Elasticsearch cannot be asked.
        """
        wanted = _sums() | _tokens_by_model()
        found = self._requests.search(
            {"size": 0, "query": _query(question), "aggs": {"all": {"filter": {"match_all": {}}, "aggs": wanted}}},
            Aggregated,
        )
        all_of_it = found.aggregations.get("all", {})
        total = _group(None, all_of_it) if all_of_it.get("doc_count") else None
        groups = [] if total is None else [total]
        if by is not None:
            sources = [{"key": {"terms": {"field": _FIELD_OF[by], "missing_bucket": True}}}]
            groups = [
                _group(bucket["key"]["key"], bucket)
                for bucket in self._requests.grouped(_query(question), sources, wanted)
            ]
            groups.sort(key=lambda group: (-group.requests, group.key is None, group.key or ""))
        return Summary(groups, total, Coverage(is_exact=False))

    def series(self, question: Question, step_ms: int, *, by_model: bool = False) -> Series:
        """The documents that match, by steps of time that begin at multiples of `step_ms`.

        Raises:
            StoreUnavailableError: Elasticsearch cannot be asked.
        """
        sources: list[dict[str, Any]] = [
            {"time": {"date_histogram": {"field": _FIELD_OF["time_ms"], "fixed_interval": f"{step_ms}ms"}}}
        ]
        if by_model:
            sources.append({"model": {"terms": {"field": _FIELD_OF["model"], "missing_bucket": True}}})
        wanted = _sums()
        wanted |= {name: {"sum": {"field": _FIELD_OF[f"{name}_ns"]}} for name in _TIMES}
        wanted["timed"] = {
            "filter": {"bool": {"should": [{"exists": {"field": _FIELD_OF[f"{name}_ns"]}} for name in _TIMES]}},
            "aggs": {"duration": {"sum": {"field": _FIELD_OF["duration_ns"]}}},
        }
        steps = [_step(bucket) for bucket in self._requests.grouped(_query(question), sources, wanted)]
        steps.sort(key=lambda step: (step.time_ms, step.model is None, step.model or ""))
        return Series(steps, Coverage(is_exact=False))

    def heat(self, question: Question, of: HeatOf, step_ms: int) -> Heat:
        """How many of the documents that match took how long, by steps of time as in `series`.

        Raises:
            StoreUnavailableError: Elasticsearch cannot be asked.
        """
        time = {"date_histogram": {"field": _FIELD_OF["time_ms"], "fixed_interval": f"{step_ms}ms"}}
        edges = [edge * _NS_PER_MS for edge in HEAT_EDGES_MS[1:-1]]
        rows = [{"to": edges[0]}, *({"from": low, "to": high} for low, high in pairwise(edges)), {"from": edges[-1]}]
        wanted = {"rows": {"range": {"field": _FIELD_OF[f"{of}_ns"], "ranges": rows}}}
        counts = {
            (bucket["key"]["time"], place): row["doc_count"]
            for bucket in self._requests.grouped(_query(question), [{"time": time}], wanted)
            for place, row in enumerate(bucket["rows"]["buckets"])
            if row["doc_count"]
        }
        return Heat(counts, Coverage())

    def points(self, question: Question, axes: Axes, limit: int) -> Points:
        """At most `limit` of the documents that match and have what is on both axes.

        Raises:
            StoreUnavailableError: Elasticsearch cannot be asked.
        """
        query = _query(question)
        odd = self._requests.search(odd_body(query, axes, limit // 2), _Documents).hits.hits
        sample = self._requests.search(sample_body(query, axes, limit), _Documents).hits
        shown: dict[str, Found] = {}
        for hit in (*odd, *sample.hits):
            document = _document(hit.source)
            event_id = document[_FIELD_OF["id"]]
            if len(shown) < limit:
                moment = time_ms(document[_FIELD_OF["time_ms"]], 1 << 47)
                shown[event_id] = Found(Position(moment, event_id.encode()), document)
        found = sorted(shown.values(), key=lambda each: each.position)
        return Points(len(found) if sample.total is None else sample.total.value, found)

    def warm(self, since_ms: int, until_ms: int, is_over: Callable[[], bool]) -> None:
        """Nothing: Elasticsearch keeps by itself what it was asked lately."""

    def extent(self) -> tuple[int, int] | None:
        """The times (ms since 1970) of the oldest and the newest document; None when there is none."""
        time = {"field": _FIELD_OF["time_ms"]}
        body = {"size": 0, "aggs": {"oldest": {"min": time}, "newest": {"max": time}}}
        found = self._requests.search(body, Aggregated).aggregations
        oldest, newest = (found.get(name, {}).get("value") for name in ("oldest", "newest"))
        return None if oldest is None or newest is None else (int(oldest), int(newest))

    def servers(self, since_ms: int | None = None, until_ms: int | None = None) -> list[Server]:
        """The servers that wrote a line of their own from `since_ms` until before `until_ms`, the last heard of first.

        Raises:
            StoreUnavailableError: Elasticsearch cannot be asked.
        """
        return read_servers(self._servers, since_ms, until_ms)


def _query(question: Question) -> dict[str, Any]:
    """The question as a query; a filter, for there is no better or worse match."""
    filters: list[dict[str, Any]] = []
    bounds: dict[str, Any] = {}
    if question.since_ms is not None:
        bounds["gte"] = question.since_ms
    if question.until_ms is not None:
        bounds["lt"] = question.until_ms
    if bounds:
        filters.append({"range": {_FIELD_OF["time_ms"]: {**bounds, "format": "epoch_millis"}}})
    for column, texts in (
        ("outcome", question.outcomes),
        ("flags", question.flags),
        ("model", question.models),
        ("client", question.clients),
    ):
        if texts:
            filters.append({"terms": {_FIELD_OF[column]: texts}})
    if question.users:
        filters.append(_any_of([_FIELD_OF["user_id"], _FIELD_OF["api_key_id"]], question.users))
    if question.ids:
        filters.append(_any_of(_ID_FIELDS, question.ids))
    if question.slower_than_ns is not None:
        filters.append({"range": {_FIELD_OF["duration_ns"]: {"gt": question.slower_than_ns}}})
    return {"bool": {"filter": filters}}


def _any_of(fields: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    return {"bool": {"should": [{"terms": {field: texts}} for field in fields], "minimum_should_match": 1}}


def _document(source: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """A document as SQLite gives it: its fields in their order, an object kept as it came."""
    names = (*(name for name in _SHOWN if name in source), *(name for name in source if name not in _SHOWN))
    return {name: source[name] if name in _KEPT_RAW else msgspec.json.decode(source[name]) for name in names}


def _sums() -> dict[str, Any]:
    """What is asked of each group."""
    return {
        "outcomes": {"terms": {"field": _FIELD_OF["outcome"], "size": 100}},
        "prompt": {"sum": {"field": _FIELD_OF["prompt_tokens"]}},
        "completion": {"sum": {"field": _FIELD_OF["completion_tokens"]}},
        "duration": _percentiles("duration_ns"),
        "ttft": _percentiles("ttft_ns"),
    }


def _tokens_by_model() -> dict[str, Any]:
    sums = {name: {"sum": {"field": _FIELD_OF[f"{name}_tokens"]}} for name in ("prompt", "completion")}
    model = _FIELD_OF["model"]
    return {
        "models": {"terms": {"field": model, "size": MOST_MODELS}, "aggs": sums},
        "no_model": {"missing": {"field": model}, "aggs": sums},
    }


def _percentiles(column: str) -> dict[str, Any]:
    return {
        "percentiles": {
            "field": _FIELD_OF[column],
            "percents": [50, 95, 99],
            "hdr": {"number_of_significant_value_digits": _DIGITS},
            "keyed": False,
        }
    }


def _group(key: str | None, bucket: dict[str, Any]) -> Group:
    durations = _values(bucket["duration"])
    p50, p95, p99 = (round(value) for value in durations) if durations else (0, 0, 0)
    return Group(
        key,
        bucket["doc_count"],
        _outcomes(bucket),
        round(bucket["prompt"]["value"]),
        round(bucket["completion"]["value"]),
        p50,
        p95,
        p99,
        _ms(bucket["ttft"]),
        {
            model: Tokens(round(part["prompt"]["value"]), round(part["completion"]["value"]))
            for model, part in _parts(bucket)
        },
    )


def _parts(bucket: dict[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    yield from ((part["key"], part) for part in bucket["models"]["buckets"])
    if bucket["no_model"]["doc_count"]:
        yield None, bucket["no_model"]


def _step(bucket: dict[str, Any]) -> Step:
    return Step(
        bucket["key"]["time"],
        bucket["key"].get("model"),
        bucket["doc_count"],
        _outcomes(bucket),
        round(bucket["prompt"]["value"]),
        round(bucket["completion"]["value"]),
        _ms(bucket["duration"]),
        _ms(bucket["ttft"]),
        *(round(part["value"] / _NS_PER_MS, 3) for part in (*map(bucket.get, _TIMES), bucket["timed"]["duration"])),
    )


def _outcomes(bucket: dict[str, Any]) -> dict[str, int]:
    return {each["key"]: each["doc_count"] for each in bucket["outcomes"]["buckets"]}


def _values(percentiles: dict[str, Any]) -> list[float] | None:
    """P50, P95, P99 in ns; None where there is no value."""
    found = [each["value"] for each in percentiles["values"]]
    return None if None in found else found


def _ms(percentiles: dict[str, Any]) -> Percentiles:
    found = _values(percentiles)
    if found is None:
        return None
    p50, p95, p99 = (round(value / _NS_PER_MS, 3) for value in found)
    return p50, p95, p99
