"""The data views: which index alias has which fields, and how their values are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from logproc.stores.fields import ALERT_FIELDS, REQUEST_FIELDS, SERVER_FIELDS, Field

_DURATION: Final = {
    "id": "duration",
    "params": {
        "inputFormat": "nanoseconds",
        "outputFormat": "humanizePrecise",
        "outputPrecision": 2,
        "includeSpaceWithSuffix": True,
        "showSuffix": True,
        "useShortSuffix": True,
    },
}
_PLAIN_NUMBER: Final = {"id": "number", "params": {"pattern": "0"}}
_NO_QUANTITIES: Final = frozenset({"http.response.status_code", "llm.error_code", "process.pid", "log.offset"})
"""Numbers that are names: shown without commas for thousands."""


@dataclass(frozen=True, slots=True)
class DataView:
    """One alias of Elasticsearch as Kibana knows it; `id` is its own name there, too."""

    id: str
    name: str
    types: dict[str, str]
    """The type in the mapping of every field that can be searched."""
    fields: Sequence[Field]

    def type_of(self, field: str) -> str:
        """The type of a field in the mapping.

        Raises:
            ValueError: no such field can be searched.
        """
        if field not in self.types:
            raise ValueError(f"{self.id} has no field {field!r}")
        return self.types[field]

    def saved_object(self) -> dict[str, Any]:
        """The data view as a saved object."""
        formats = {each.name: _DURATION for each in self.fields if each.type == "duration"}
        formats |= {each.name: _PLAIN_NUMBER for each in self.fields if each.name in _NO_QUANTITIES}
        return {
            "type": "index-pattern",
            "id": self.id,
            "attributes": {
                "title": self.id,
                "name": self.name,
                "timeFieldName": "@timestamp",
                "fields": "[]",
                "fieldAttrs": "{}",
                "fieldFormatMap": json.dumps(formats),
                "runtimeFieldMap": "{}",
                "sourceFilters": "[]",
            },
            "references": [],
            "coreMigrationVersion": "8.8.0",
            "typeMigrationVersion": "8.0.0",
            "managed": False,
        }


@dataclass(frozen=True, slots=True)
class DataViews:
    """The three data views of one pipeline."""

    requests: DataView
    servers: DataView
    alerts: DataView

    @property
    def all(self) -> tuple[DataView, ...]:
        """Every one of them."""
        return (self.requests, self.servers, self.alerts)


def data_views(index: str) -> DataViews:
    """The data views of a pipeline whose `store.index` is `index`."""
    return DataViews(
        _data_view(index, f"LLM requests [{index}]", REQUEST_FIELDS),
        _data_view(f"{index}-servers", f"LLM servers [{index}]", SERVER_FIELDS),
        _data_view(f"{index}-alerts", f"LLM alerts [{index}]", ALERT_FIELDS),
    )


def _data_view(alias: str, name: str, fields: Sequence[Field]) -> DataView:
    types = {}
    for each in fields:
        if each.type != "json":
            types[each.name] = each.elasticsearch_type
        types |= {f"{each.name}.{part}": kind for part, kind in each.parts}
    if any(each.name == "llm.outcome" for each in fields):
        types["event.outcome"] = "keyword"
    return DataView(alias, name, types, fields)
