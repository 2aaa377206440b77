"""What `setup` puts into Elasticsearch, as data: templates, the lifecycle, a pipeline for other shippers. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from logproc.settings import ElasticsearchStore
from logproc.stores.elasticsearch_names import Family, Names, delete_after_days, mapping, meta
from logproc.stores.fields import ALERT_FIELDS, EVENT_OUTCOMES, REQUEST_FIELDS, SERVER_FIELDS, Field

PRIORITY: Final = 500
"""Above the templates that Elasticsearch brings itself (at most 200)."""

_ROUNDING: Final = {"day": "d", "week": "w", "month": "M"}

FIELDS: Final[dict[Family, tuple[Field, ...]]] = {
    "requests": REQUEST_FIELDS,
    "servers": SERVER_FIELDS,
    "alerts": ALERT_FIELDS,
}
"""Which documents are in the indices of each family."""

_SCRIPT: Final = """
Map line = ctx.remove('_line');
for (def each : params.fields.entrySet()) {
  def value = line.remove(each.getKey());
  if (value != null) { ctx[each.getValue()] = value; }
}
for (def each : params.durations.entrySet()) {
  def value = line.remove(each.getKey());
  if (value != null) {
    ctx[each.getValue().name] = Math.round(((Number) value).doubleValue() * each.getValue().ns);
  }
}
if (params.outcomes.containsKey(ctx['llm.outcome'])) { ctx['event.outcome'] = params.outcomes[ctx['llm.outcome']]; }
if (ctx['service.name'] == null) { ctx['service.name'] = params.service; }
if (line.isEmpty() == false) { ctx['llm.extra'] = line; }
""".strip()
"""Fields of the line → fields of the document, durations as whole nanoseconds; the rest goes under `llm.extra`."""

_OWN_ID: Final = "ctx._line.id instanceof String && ctx._line.id.length() == 22"
_IS_REQUEST: Final = "ctx._line.event == null || ctx._line.event == 'request'"


class Part(NamedTuple):
    """One thing that `setup` puts: what it is for people, where it lies, and what it says."""

    what: str
    path: str
    body: dict[str, Any]


def lifecycle(store: ElasticsearchStore) -> Part:
    """The lifecycle policy: without rollover, and never read-only, for late lines belong into their old index.

    Ages count from the first day of an index (`parse_origination_date`), so that each is a period later.
    """
    last = delete_after_days(store.period, store.keep_days)
    phases: dict[str, Any] = {"hot": {"min_age": "0ms", "actions": {"set_priority": {"priority": 100}}}}
    if store.hot_days < store.keep_days:
        cold = delete_after_days(store.period, store.hot_days)
        phases["cold"] = {"min_age": f"{cold}d", "actions": {"set_priority": {"priority": 0}}}
    phases["delete"] = {"min_age": f"{last}d", "actions": {"delete": {"delete_searchable_snapshot": True}}}
    return Part("lifecycle policy", f"/_ilm/policy/{store.index}", {"policy": {"phases": phases}})


def templates(store: ElasticsearchStore, *, with_lifecycle: bool) -> Iterator[Part]:
    """The component templates, then the index templates that are composed of them, one for each family."""
    names = Names(store.index)
    index: dict[str, Any] = {
        "mode": "logsdb",  # sorted and packed for logs: less disk
        "mapping": {"source": {"mode": "stored"}},  # whatever the licence, a document comes back as it was given
        "number_of_shards": 1,
        "auto_expand_replicas": "0-1",
        "refresh_interval": "5s",
    }
    if with_lifecycle:
        index["lifecycle"] = {"name": store.index, "parse_origination_date": True}
    settings = f"{store.index}-settings"
    yield Part("component template", f"/_component_template/{settings}", {"template": {"settings": {"index": index}}})
    for family, fields in FIELDS.items():
        name = f"{names.alias(family)}-mappings"
        yield Part("component template", f"/_component_template/{name}", {"template": {"mappings": mapping(fields)}})
    for family in FIELDS:
        alias = names.alias(family)
        body = {
            "index_patterns": [names.pattern(family)],
            "priority": PRIORITY,
            "composed_of": [settings, f"{alias}-mappings"],
            "template": {"aliases": {alias: {}}},
            "_meta": meta(store.period),
        }
        yield Part("index template", f"/_index_template/{names.template(family)}", body)


def pipeline(store: ElasticsearchStore, service: str) -> Part:
    """The ingest pipeline for other shippers: `message`, one line of the access log → the document in its index.

    A line of `serve` gets its own id, so that it is there once, whoever ships it. `service` is the `service.name` of
    lines that do not say theirs.
    """
    names = Names(store.index)
    to_index = {
        "field": "_line.time",
        "date_formats": ["ISO8601"],
        "date_rounding": _ROUNDING[store.period],
        "index_name_format": "yyyy.MM.dd",
        "timezone": "UTC",
    }
    requests = to_index | {"index_name_prefix": f"{names.alias('requests')}-", "if": _IS_REQUEST}
    servers = to_index | {"index_name_prefix": f"{names.alias('servers')}-", "if": f"!({_IS_REQUEST})"}
    script = {"lang": "painless", "source": _SCRIPT, "params": _renamed() | {"service": service}}
    processors: list[dict[str, Any]] = [
        {"json": {"field": "message", "target_field": "_line"}},
        {"remove": {"field": "message"}},
        {"set": {"field": "_id", "value": "{{{_line.id}}}", "if": _OWN_ID}},
        {"date_index_name": requests},
        {"date_index_name": servers},
        {"remove": {"field": "_line.event", "if": _IS_REQUEST, "ignore_missing": True}},
        {"script": script},
    ]
    description = "One line of an access log of logproc, in `message`, to its document"
    body = {"description": description, "processors": processors}
    return Part("ingest pipeline", f"/_ingest/pipeline/{store.index}", body)


def _renamed() -> dict[str, dict[str, Any]]:
    """What the script needs to know: where each field of a line goes."""
    fields = {"id": "event.id", "time": "@timestamp", "outcome": "llm.outcome", "operation": "gen_ai.operation.name"}
    fields |= {"engines": "llm.engines", "gpus": "llm.gpus"}
    durations = {"startup_s": {"name": "llm.startup", "ns": 1e9}}
    for each in (*REQUEST_FIELDS, *SERVER_FIELDS):
        if each.type == "duration" and each.source:
            durations[each.source] = {"name": each.name, "ns": 1e6}
        elif each.source:
            fields[each.source] = each.name
    return {"fields": fields, "durations": durations, "outcomes": EVENT_OUTCOMES}
