"""The contract between the two sides: the names, types and order of the fields of one access line, and its id.

`serve` writes by it and `logproc` reads by it; so this module imports nothing but the standard library and msgspec.
"""

from __future__ import annotations

import binascii
import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

REQUEST: Final = "request"
SERVER_STARTED: Final = "server_started"
HEARTBEAT: Final = "heartbeat"
SERVER_STOPPED: Final = "server_stopped"

OUTCOMES: Final = (
    "ok",
    "empty",
    "truncated",
    "reasoning_only",
    "stream_error",
    "server_error",
    "rejected",
    "client_disconnect",
)
"""What really happened to a request; the table that decides is `serve/outcome.py`."""

UNMATCHED: Final = "/__unmatched__"
"""The `path` of a request that no route of the server took."""

DAY_MS: Final = 86_400_000
MAX_LINE: Final = 1 << 20
"""A longer line (bytes, without its newline) is rejected as `too_long`."""


MOST: Final = 1 << 36
"""No count of tokens and no time in ms is greater: more is nonsense, and sums of thousands of them stay exact."""

Count = Annotated[int, Meta(ge=0, le=MOST)]
Milliseconds = Annotated[float, Meta(ge=0, le=MOST)]
Status = Annotated[int, Meta(ge=100, le=599)]


class RequestRecord(msgspec.Struct, gc=False, frozen=True):
    """One finished request. Times are milliseconds, None or UNSET is unknown; the fields stand in the log's own order.

    `id` is missing here on purpose: an id of another's making may be of any type (see `line_id_time`).
    """

    time: str | None = None
    event: str = REQUEST
    method: str | None = None
    path: str | None = None
    status: Status | None = None
    prompt_tokens: Count | msgspec.UnsetType | None = msgspec.UNSET
    completion_tokens: Count | msgspec.UnsetType | None = msgspec.UNSET
    duration_ms: Milliseconds | None = None
    outcome: str | None = None
    request_id: str | None = None
    response_id: str | None = None
    trace_id: str | None = None
    model: str | None = None
    operation: str | None = None
    stream: bool | None = None
    finish_reason: str | None = None
    ttft_ms: Milliseconds | None = None
    stall_max_ms: Milliseconds | None = None
    queue_ms: Milliseconds | None = None
    prefill_ms: Milliseconds | None = None
    decode_ms: Milliseconds | None = None
    tpot_ms: Milliseconds | None = None
    cached_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    preemptions: Count | None = None
    n: Count | None = None
    tool_calls: Count | None = None
    max_tokens: Count | None = None
    corrupted: bool | None = None
    error_type: str | None = None
    error_code: int | None = None
    error_param: str | None = None
    client: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    user_agent: str | None = None
    host: str | None = None
    pid: int | None = None
    service: str | None = None


REQUEST_FIELDS: Final = ("time", "id", *(name for name in RequestRecord.__struct_fields__ if name != "time"))
"""Every field of a request line in the order in which `serve` writes them (`event` is left out for requests)."""


class EngineLoad(msgspec.Struct, frozen=True):
    """One engine's load in a heartbeat; `kv_cache_usage` is a ratio, 0 to 1."""

    engine: str | int
    running: int | None = None
    waiting: int | None = None
    kv_cache_usage: float | None = None


class GpuLoad(msgspec.Struct, frozen=True):
    """One GPU in a heartbeat; what could not be read is None, never 0. `utilization` is a ratio, 0 to 1."""

    gpu: str
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    utilization: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None


class ServerRecord(msgspec.Struct, frozen=True):
    """One server line: started, heartbeat or stopped. `startup_s` is seconds, `oldest_in_flight_ms` milliseconds."""

    time: str
    event: str
    host: str | None = None
    pid: int | None = None
    service: str | None = None
    version: str | None = None
    model: str | None = None
    startup_s: float | None = None
    in_flight: int | None = None
    oldest_in_flight_ms: float | None = None
    lines_lost: int | None = None
    engines: list[EngineLoad] | None = None
    gpus: list[GpuLoad] | None = None
    reason: str | None = None


# --- what an endpoint does -------------------------------------------------------------------------------------------

OPERATIONS: Final[dict[str, str]] = {
    "/v1/chat/completions": "chat",
    "/v1/chat/completions/batch": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/completions": "text_completion",
    "/inference/v1/generate": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v2/embed": "embeddings",
    "/pooling": "pooling",
    "/classify": "classify",
    "/score": "score",
    "/v1/score": "score",
    "/rerank": "rerank",
    "/v1/rerank": "rerank",
    "/v2/rerank": "rerank",
    "/v1/audio/transcriptions": "transcription",
    "/v1/audio/translations": "translation",
    "/tokenize": "tokenize",
    "/detokenize": "detokenize",
    "/v1/messages/count_tokens": "count_tokens",
}
"""Route template → `operation` (OpenTelemetry GenAI names where there is one)."""

GENERATION: Final = frozenset({"chat", "text_completion"})
"""Operations that are expected to answer with text: only these can be `empty`."""


def operation_of(path: str) -> str | None:
    """The operation of a route template; None where it is not known."""
    return OPERATIONS.get(path)


# --- ids -------------------------------------------------------------------------------------------------------------


_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_is_id: Final = re.compile("[A-Za-z0-9_-]{21}[AQgw]").fullmatch
"""Of the last character only two bits count: with others it would be another spelling of the same bytes."""


def make_line_id(time_ms: int, tail: bytes) -> str:
    """Base64url (22 characters) of 6 bytes of milliseconds since 1970 and 10 bytes of `tail`: sorts by time.

    Raises:
        ValueError: `tail` is not 10 bytes.
    """
    if len(tail) != 10:
        raise ValueError(f"an id ends in 10 bytes, not {len(tail)}")
    encoded = binascii.b2a_base64(time_ms.to_bytes(6, "big") + tail)
    return encoded[:22].translate(_URLSAFE).decode()


def line_id_bytes(value: object, time_ms: int) -> bytes | None:
    """The 16 bytes of a line's own `id`, if it is one of ours: 22 base64url characters, within a day of `time_ms`.

    Any other value, of whatever type, is an unknown field, and gives None.
    """
    if not isinstance(value, str) or not _is_id(value):
        return None
    raw = binascii.a2b_base64(value.encode().translate(_STANDARD) + b"==")
    return raw if abs(int.from_bytes(raw[:6], "big") - time_ms) <= DAY_MS else None
