"""The saved searches: lists of requests, and of alerts, each a question with its columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from logproc.kibana import questions
from logproc.kibana.data_views import DataView, DataViews

_WHO = ("gen_ai.request.model", "source.address", "user.id")
_HOW_LONG = ("event.duration", "llm.ttft", "llm.queue_time", "llm.prefill_time", "llm.decode_time", "llm.stall_max")
_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
_IDS = ("event.id", "llm.request_id", "llm.response_id", "trace.id")


@dataclass(frozen=True, slots=True)
class Search:
    """One saved search: which documents, in which order, and which of their fields are shown."""

    id: str
    title: str
    description: str
    data_view: DataView
    kql: str
    columns: tuple[str, ...]
    sort_by: str = "@timestamp"

    def saved_object(self) -> dict[str, Any]:
        """The search as a saved object.

        Raises:
            ValueError: a column is no field of the data view.
        """
        for name in (*self.columns, self.sort_by):
            self.data_view.type_of(name)
        reference = "kibanaSavedObjectMeta.searchSourceJSON.index"
        source = {
            "query": {"query": self.kql, "language": "kuery"},
            "filter": [],
            "indexRefName": reference,
        }
        return {
            "type": "search",
            "id": self.id,
            "attributes": {
                "title": self.title,
                "description": self.description,
                "columns": list(self.columns),
                "sort": [[self.sort_by, "desc"]],
                "grid": {},
                "hideChart": False,
                "isTextBasedQuery": False,
                "timeRestore": False,
                "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)},
            },
            "references": [{"type": "index-pattern", "id": self.data_view.id, "name": reference}],
            "coreMigrationVersion": "8.8.0",
            "typeMigrationVersion": "8.0.0",
            "managed": False,
        }


def searches(index: str, views: DataViews) -> tuple[Search, ...]:
    """The saved searches of one pipeline."""
    status = ("llm.outcome", "http.response.status_code")
    return (
        Search(
            f"{index}-slowest-requests",
            f"LLM slowest requests [{index}]",
            "The longest first, without the rejected ones.",
            views.requests,
            questions.NOT_REJECTED,
            (*_HOW_LONG, *_TOKENS, "llm.outcome", "llm.flags", *_WHO, "llm.request_id"),
            "event.duration",
        ),
        Search(
            f"{index}-slow-requests",
            f"LLM slow requests [{index}]",
            "Those that a threshold calls slow: in all, for their size, to the first token, in decoding, or stalled.",
            views.requests,
            questions.SLOW,
            ("llm.flags", *_HOW_LONG, *_TOKENS, *_WHO, "llm.request_id"),
        ),
        Search(
            f"{index}-empty-completions",
            f"LLM empty completions [{index}]",
            "Answers without a word where one was wanted.",
            views.requests,
            questions.EMPTY,
            (*_WHO, "url.path", *_TOKENS, "gen_ai.response.finish_reasons", "event.duration", "llm.request_id"),
        ),
        Search(
            f"{index}-stream-errors",
            f"LLM stream errors [{index}]",
            "Streams that broke off after they had begun, most of them with status 200.",
            views.requests,
            questions.STREAM_ERROR,
            (*status, "error.type", "llm.error_code", *_WHO, *_TOKENS, "event.duration", "llm.request_id"),
        ),
        Search(
            f"{index}-one-request",
            f"LLM one request by id [{index}]",
            "Put the id in place of ID: that of the event, the request, the response or the trace.",
            views.requests,
            " or ".join(f'{name}: "ID"' for name in _IDS),
            (*_IDS, *status, *_HOW_LONG, *_TOKENS, *_WHO),
        ),
        Search(
            f"{index}-alert-changes",
            f"LLM changes of alerts [{index}]",
            "Every change of every alert; the examples are ids of requests.",
            views.alerts,
            "",
            (
                "llm.alert.severity",
                "llm.alert.state",
                "llm.alert.kind",
                "gen_ai.request.model",
                "message",
                "llm.alert.cause",
                "llm.alert.examples",
            ),
        ),
    )
