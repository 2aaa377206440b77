"""The decision table, row by row, and the order of its rows."""

from __future__ import annotations

from typing import Any

import pytest

from logproc.record import OUTCOMES
from serve.outcome import Facts, decide

ANSWERED: dict[str, Any] = {"status": 200, "generation": True, "text": True, "finish_reason": "stop"}

ROWS: list[tuple[str, str, dict[str, Any]]] = [
    ("the client left before the first byte", "client_disconnect", {"status": 499, "left": True, "started": False}),
    ("the client left in mid-stream", "client_disconnect", {"status": 200, "left": True, "raised": True, "text": True}),
    ("the client left a request that then failed", "client_disconnect", {"status": 500, "left": True, "error": True}),
    ("a wrong key", "rejected", {"status": 401}),
    ("a wrong model", "rejected", {"status": 404}),
    ("a client error that a proxy invented", "rejected", {"status": 499}),
    ("no room", "rejected", {"status": 503}),
    ("no room, said inside a stream", "rejected", {"status": 200, "error": True, "error_code": 503}),
    ("a bad request, said inside a stream", "rejected", {"status": 200, "error": True, "error_code": 400}),
    ("an internal error", "server_error", {"status": 500}),
    ("a gateway error", "server_error", {"status": 502}),
    ("an exception before the start", "server_error", {"status": 500, "started": False, "raised": True}),
    ("an abort by the server", "server_error", {**ANSWERED, "finish_reason": "abort"}),
    ("an error as finish reason", "server_error", {**ANSWERED, "finish_reason": "error"}),
    (
        "no room, said after content",
        "stream_error",
        {**ANSWERED, "error": True, "error_code": 503, "content_before_error": True},
    ),
    ("an engine that died in mid-stream", "stream_error", {**ANSWERED, "error": True, "error_code": 500}),
    ("an error event without a code", "stream_error", {"status": 200, "error": True}),
    ("an exception after a start", "stream_error", {**ANSWERED, "raised": True}),
    ("reasoning alone", "reasoning_only", {**ANSWERED, "text": False, "reasoning": True}),
    ("reasoning cut off", "reasoning_only", {**ANSWERED, "text": False, "reasoning": True, "finish_reason": "length"}),
    ("text cut off", "truncated", {**ANSWERED, "finish_reason": "length"}),
    ("nothing visible, and cut off", "truncated", {**ANSWERED, "text": False, "finish_reason": "length"}),
    ("one end-of-sequence token", "empty", {**ANSWERED, "text": False}),
    ("filtered to nothing", "empty", {**ANSWERED, "text": False, "finish_reason": "content_filter"}),
    ("text", "ok", ANSWERED),
    ("text that a filter ended", "ok", {**ANSWERED, "finish_reason": "content_filter"}),
    ("tool calls alone", "ok", {**ANSWERED, "text": False, "tool_call": True, "finish_reason": "tool_calls"}),
    ("reasoning, then a tool call", "ok", {**ANSWERED, "text": False, "tool_call": True, "reasoning": True}),
    ("reasoning, then text", "ok", {**ANSWERED, "reasoning": True}),
    ("an embedding", "ok", {"status": 200}),
    ("a redirect", "ok", {"status": 307, "generation": True}),
]


@pytest.mark.parametrize(("outcome", "facts"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_row_of_the_table(outcome: str, facts: dict[str, Any]) -> None:
    assert decide(Facts(**facts)) == outcome


def test_the_rows_reach_every_outcome() -> None:
    assert {outcome for _, outcome, _ in ROWS} == set(OUTCOMES)
