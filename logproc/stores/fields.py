"""The fields of a document: one list, from which every form of it (flat document, SQLite, later a mapping) is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

FieldType = Literal[
    "id", "date", "text", "keyword", "keywords", "long", "double", "duration", "boolean", "json", "prose"
]
"""`text` is a string that hardly repeats, `keyword` one that does; `keywords` is a list, kept as one string with
commas; a `duration` is ns; `json` is an object kept as it came; `prose` is sentences, found by their words."""

SQLITE_TYPES: Final[dict[FieldType, str]] = {
    "id": "BLOB",
    "date": "INTEGER",
    "text": "TEXT",
    "keyword": "",  # no affinity: an integer is the number of a text, a text is itself (see stores/sqlite_schema.py)
    "keywords": "",
    "long": "INTEGER",
    "double": "REAL",
    "duration": "INTEGER",
    "boolean": "INTEGER",
    "json": "TEXT",
    "prose": "TEXT",
}

ELASTICSEARCH_TYPES: Final[dict[FieldType, str]] = {
    "id": "keyword",
    "date": "date",
    "text": "keyword",
    "keyword": "keyword",
    "keywords": "keyword",
    "long": "long",
    "double": "double",
    "duration": "long",
    "boolean": "boolean",
    "json": "object",
    "prose": "text",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `name` in the flat document, `column` in SQLite, `source` in the record ("" where it is made).

    `parts` are those members of a `json` field by which can be searched, each with its type in the mapping; a `json`
    field without them is kept, not indexed.
    """

    name: str
    column: str
    type: FieldType
    source: str = ""
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def sqlite_type(self) -> str:
        """The column's type; empty for a column without affinity."""
        return SQLITE_TYPES[self.type]

    @property
    def elasticsearch_type(self) -> str:
        """The type in the mapping."""
        return ELASTICSEARCH_TYPES[self.type]

    @property
    def is_numbered(self) -> bool:
        """Whether SQLite keeps the text once a file, and its number in each row."""
        return self.type in {"keyword", "keywords"}


def _from_record(name: str, source: str, kind: FieldType) -> Field:
    column = f"{source.removesuffix('_ms')}_ns" if kind == "duration" else source
    return Field(name, column, kind, source)


# What is often asked for stands first: SQLite reads a row from its beginning.
REQUEST_FIELDS: Final = (
    Field("event.id", "id", "id"),
    Field("@timestamp", "time_ms", "date"),
    _from_record("event.duration", "duration_ms", "duration"),
    _from_record("http.response.status_code", "status", "long"),
    Field("llm.outcome", "outcome", "keyword"),
    Field("llm.flags", "flags", "keywords"),
    _from_record("gen_ai.request.model", "model", "keyword"),
    _from_record("gen_ai.usage.input_tokens", "prompt_tokens", "long"),
    _from_record("gen_ai.usage.output_tokens", "completion_tokens", "long"),
    _from_record("source.address", "client", "keyword"),
    _from_record("user.id", "user_id", "keyword"),
    _from_record("llm.api_key_id", "api_key_id", "keyword"),
    _from_record("http.request.method", "method", "keyword"),
    _from_record("url.path", "path", "keyword"),
    Field("gen_ai.operation.name", "operation", "keyword"),
    _from_record("llm.stream", "stream", "boolean"),
    _from_record("gen_ai.response.finish_reasons", "finish_reason", "keywords"),
    _from_record("llm.ttft", "ttft_ms", "duration"),
    _from_record("llm.stall_max", "stall_max_ms", "duration"),
    _from_record("llm.queue_time", "queue_ms", "duration"),
    _from_record("llm.prefill_time", "prefill_ms", "duration"),
    _from_record("llm.decode_time", "decode_ms", "duration"),
    _from_record("llm.tpot", "tpot_ms", "duration"),
    _from_record("llm.cached_tokens", "cached_tokens", "long"),
    _from_record("llm.reasoning_tokens", "reasoning_tokens", "long"),
    _from_record("llm.preemptions", "preemptions", "long"),
    _from_record("llm.n", "n", "long"),
    _from_record("llm.tool_calls", "tool_calls", "long"),
    _from_record("gen_ai.request.max_tokens", "max_tokens", "long"),
    _from_record("llm.corrupted", "corrupted", "boolean"),
    _from_record("error.type", "error_type", "keyword"),
    _from_record("llm.error_code", "error_code", "long"),
    _from_record("llm.error_param", "error_param", "keyword"),
    _from_record("user_agent.original", "user_agent", "keyword"),
    _from_record("host.name", "host", "keyword"),
    _from_record("process.pid", "pid", "long"),
    _from_record("service.name", "service", "keyword"),
    Field("log.file.path", "log_file_path", "keyword"),
    Field("log.offset", "log_offset", "long"),
    _from_record("trace.id", "trace_id", "text"),
    _from_record("llm.request_id", "request_id", "text"),
    _from_record("llm.response_id", "response_id", "text"),
    Field("llm.extra", "extra", "json"),
)
"""The document of one request."""

_ENGINE_PARTS: Final = (("engine", "keyword"), ("running", "long"), ("waiting", "long"), ("kv_cache_usage", "double"))
_GPU_PARTS: Final = (
    ("gpu", "keyword"),
    ("memory_used_bytes", "long"),
    ("memory_total_bytes", "long"),
    ("utilization", "double"),
    ("temperature_c", "double"),
    ("power_w", "double"),
)

SERVER_FIELDS: Final = (
    Field("event.id", "id", "id"),
    Field("@timestamp", "time_ms", "date"),
    _from_record("event.action", "event", "keyword"),
    _from_record("host.name", "host", "keyword"),
    _from_record("process.pid", "pid", "long"),
    _from_record("service.name", "service", "keyword"),
    _from_record("service.version", "version", "keyword"),
    _from_record("gen_ai.request.model", "model", "keyword"),
    Field("llm.startup", "startup_ns", "duration"),
    _from_record("llm.in_flight", "in_flight", "long"),
    _from_record("llm.oldest_in_flight", "oldest_in_flight_ms", "duration"),
    _from_record("llm.lines_lost", "lines_lost", "long"),
    Field("llm.engines", "engines", "json", parts=_ENGINE_PARTS),
    Field("llm.gpus", "gpus", "json", parts=_GPU_PARTS),
    _from_record("event.reason", "reason", "keyword"),
    Field("log.file.path", "log_file_path", "keyword"),
    Field("log.offset", "log_offset", "long"),
    Field("llm.extra", "extra", "json"),
)
"""The document of one server line (started, heartbeat, stopped)."""

_SHARES: Final = tuple((part, "double") for part in ("queue", "prefill", "decode", "stall", "client"))

ALERT_FIELDS: Final = (
    Field("event.id", "id", "id"),
    Field("@timestamp", "time", "date", "time"),
    Field("event.kind", "event_kind", "keyword"),
    Field("service.name", "service", "keyword"),
    Field("llm.alert.id", "alert_id", "keyword", "id"),
    Field("llm.alert.kind", "kind", "keyword", "kind"),
    Field("llm.alert.severity", "severity", "keyword", "severity"),
    Field("llm.alert.state", "state", "keyword", "state"),
    Field("llm.alert.since", "since", "date", "since"),
    Field("llm.alert.until", "until", "date", "until"),
    Field("gen_ai.request.model", "model", "keyword", "model"),
    Field("host.name", "host", "keyword", "host"),
    Field("llm.alert.value", "value", "double", "value"),
    Field("llm.alert.bound", "bound", "double", "bound"),
    Field("llm.alert.n", "n", "long", "n"),
    Field("llm.alert.cause", "cause", "keyword", "cause"),
    Field("llm.alert.shares", "shares", "json", "shares", _SHARES),
    Field("llm.alert.facts", "facts", "json", "facts"),
    Field("llm.alert.examples", "examples", "keywords", "examples"),
    Field("llm.alert.behind", "behind", "boolean", "behind"),
    Field("message", "message", "prose"),
    Field("llm.alert.message_zh", "message_zh", "prose"),
)
"""The document of one entry in the life of an alert (see `alert_documents.py`)."""

EVENT_OUTCOMES: Final = {
    "ok": "success",
    "truncated": "success",
    "reasoning_only": "success",
    "empty": "unknown",
    "rejected": "failure",
    "server_error": "failure",
    "stream_error": "failure",
    "client_disconnect": "unknown",
}
"""`event.outcome` (ECS) of each `llm.outcome`: made on reading, never stored."""
