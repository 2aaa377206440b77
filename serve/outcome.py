"""The decision table: what really happened to a request, whatever its HTTP status says."""

from __future__ import annotations

import msgspec


class Facts(msgspec.Struct, frozen=True, gc=False):
    """All that the outcome depends on. `status` is that of the access line; flags are False where nothing was seen."""

    status: int
    left: bool = False
    """The client left before the final body."""
    started: bool = True
    """The app sent a response start."""
    raised: bool = False
    """The app raised, or was cancelled, before the final body."""
    error: bool = False
    """A 2xx response carried an error: an event in the stream, or an error object as its body."""
    error_code: int | None = None
    content_before_error: bool = False
    finish_reason: str | None = None
    text: bool = False
    """Visible text: whitespace alone is not visible."""
    tool_call: bool = False
    reasoning: bool = False
    generation: bool = False
    """The endpoint is expected to answer with text, and its answer was read and understood."""


def decide(facts: Facts) -> str:
    """The outcome, one of `logproc.record.OUTCOMES`: the first row that matches, from top to bottom."""
    status, code = facts.status, facts.error_code
    if facts.left:
        return "client_disconnect"
    if status >= 400 and _refused(status):
        return "rejected"
    if facts.error and not facts.content_before_error and code is not None and _refused(code):
        return "rejected"
    if status >= 500 or (facts.raised and not facts.started) or facts.finish_reason in ("abort", "error"):
        return "server_error"
    if facts.error or facts.raised:
        return "stream_error"
    visible = facts.text or facts.tool_call
    if facts.reasoning and not visible:
        return "reasoning_only"
    if facts.finish_reason == "length":
        return "truncated"
    if facts.generation and 200 <= status < 300 and not visible:
        return "empty"
    return "ok"


def _refused(code: int) -> bool:
    """The request was turned away: it is at fault, or the server has no room for it."""
    return 400 <= code < 500 or code == 503
