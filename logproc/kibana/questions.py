"""The conditions, in KQL, that dashboards, searches and rules share: what counts as an error, as empty, as slow."""

from __future__ import annotations

from typing import Final

from logproc.record import GENERATION

COUNTED_FOR_ERRORS: Final = "not (http.response.status_code >= 400 and http.response.status_code < 500)"
"""What errors are a ratio of: every request but those that were the client's fault."""

ERROR: Final = (
    f"{COUNTED_FOR_ERRORS} and (http.response.status_code >= 500 or llm.outcome: (server_error or stream_error)"
    " or (llm.outcome: rejected and http.response.status_code < 300))"
)
"""A request that the server failed, whatever its status says."""

COUNTED_FOR_EMPTY: Final = (
    f"gen_ai.operation.name: ({' or '.join(sorted(GENERATION))}) and http.response.status_code < 300"
    " and llm.outcome: (ok or empty or truncated or reasoning_only)"
)
"""What empty answers are a ratio of: generations that were answered."""

EMPTY: Final = "llm.flags: empty_completion"

NOT_REJECTED: Final = "not llm.outcome: rejected"
"""Whose duration counts: a refusal is quick, and would hide the slow ones."""

TIMED: Final = "llm.queue_time: * and llm.prefill_time: * and llm.decode_time: *"
"""Requests whose time is known by parts."""

SLOW: Final = "llm.flags: (slow or slow_for_size or slow_first_token or slow_decode or stall)"

STREAM_ERROR: Final = "llm.outcome: stream_error"
