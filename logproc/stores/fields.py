"""The fields of a document: one list, from which every form of it (flat document, SQLite, later a mapping) is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

FieldType = Literal["id", "date", "text", "keyword", "keywords", "long", "duration", "boolean", "json"]
"""`text` is a string that hardly repeats, `keyword` one that does; `keywords` is a list, kept as one string with
commas; a `duration` is ns; `json` is an object kept as it came."""

SQLITE_TYPES: Final[dict[FieldType, str]] = {
    "id": "BLOB",
    "date": "INTEGER",
    "text": "TEXT",
    "keyword": "",  # no affinity: an integer is the number of a text, a text is itself (see stores/sqlite_schema.py)
    "keywords": "",
    "long": "INTEGER",
    "duration": "INTEGER",
    "boolean": "INTEGER",
    "json": "TEXT",
}

ELASTICSEARCH_TYPES: Final[dict[FieldType, str]] = {
    "id": "keyword",
    "date": "date",
    "text": "keyword",
    "keyword": "keyword",
    "keywords": "keyword",
    "long": "long",
    "duration": "long",
    "boolean": "boolean",
    "json": "object",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `name` in the flat document, `column` in SQLite, `source` in the record ("" where it is made)."""

    name: str
    column: str
    type: FieldType
    source: str = ""

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
    Field("llm.engines", "engines", "json"),
    Field("llm.gpus", "gpus", "json"),
    _from_record("event.reason", "reason", "keyword"),
    Field("log.file.path", "log_file_path", "keyword"),
    Field("log.offset", "log_offset", "long"),
    Field("llm.extra", "extra", "json"),
)
"""The document of one server line (started, heartbeat, stopped)."""

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
