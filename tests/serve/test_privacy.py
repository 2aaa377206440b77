"""Nothing that a user wrote, or a model answered, reaches the log: a marker put everywhere is found nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve import clip
from tests.serve.doubles import Lines, answering, http_scope, process_log, serve_once, streaming

MARK = "SECRET-Marker-4711"
LARGE = MARK * (clip.WHOLE // len(MARK) + 1)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
ERROR = {"message": f"you wrote {MARK}", "type": "BadRequestError", "param": f"messages.0.{MARK}", "code": 400}
TOOLS = [{"type": "function", "name": MARK, "parameters": {"properties": {"model": MARK, "id": MARK, MARK: {}}}}]


def _chat(text: str, **more: Any) -> dict[str, Any]:
    call = {"id": MARK, "type": "function", "function": {"name": MARK, "arguments": text}}
    message = {"content": text, "reasoning": text, "refusal": text, "tool_calls": [call]}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "stop",
        "stop_reason": MARK,
        "logprobs": {"content": [text]},
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "tiny",
        "choices": [choice],
        "usage": USAGE,
        **more,
    }


def _completion(text: str) -> dict[str, Any]:
    choice = {
        "index": 0,
        "text": text,
        "finish_reason": "length",
        "stop_reason": text,
        "prompt_logprobs": [{"1": text}],
    }
    return {"id": "cmpl-1", "object": "text_completion", "model": "tiny", "choices": [choice], "usage": USAGE}


def _response(text: str) -> dict[str, Any]:
    output = [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": text}], "summary": [{"text": text}]},
        {"type": "message", "content": [{"type": "output_text", "text": text}]},
        {"type": "function_call", "name": MARK, "arguments": text, "call_id": MARK, "id": MARK},
    ]
    return {
        "id": "resp_1",
        "object": "response",
        "instructions": text,
        "metadata": {"model": MARK, "id": MARK, MARK: MARK, "usage": {"input_tokens": MARK}},
        "model": "tiny",
        "output": output,
        "tools": TOOLS,
        "status": "completed",
        "user": MARK,
        "previous_response_id": MARK,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }


def _messages(text: str) -> dict[str, Any]:
    content = [
        {"type": "thinking", "thinking": text, "signature": MARK},
        {"type": "text", "text": text},
        {"type": "tool_use", "id": MARK, "name": MARK, "input": {"model": MARK, "id": MARK, "stop_reason": MARK}},
    ]
    return {
        "id": "msg_1",
        "type": "message",
        "content": content,
        "model": "tiny",
        "stop_reason": "stop_sequence",
        "stop_sequence": MARK,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }


def _embedding(text: str) -> dict[str, Any]:
    data = [{"index": 0, "embedding": [0.5], "text": text}]
    return {"id": "embd-1", "object": "list", "model": "tiny", "data": data, "usage": {"prompt_tokens": 3}}


def _rerank(text: str) -> dict[str, Any]:
    results = [{"index": 0, "document": {"text": text}, "relevance_score": 0.5}]
    return {"id": "score-1", "model": "tiny", "usage": {"prompt_tokens": 3}, "results": results}


BODIES: dict[str, Callable[[str], dict[str, Any]]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/responses": _response,
    "/v1/messages": _messages,
    "/v1/embeddings": _embedding,
    "/rerank": _rerank,
    "/v1/audio/transcriptions": lambda text: {"text": text, "segments": [{"text": text}], "language": MARK},
    "/tokenize": lambda text: {"tokens": [1], "token_strs": [text], "prompt": text},
}


def _event(fields: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def _chat_events(text: str) -> list[bytes]:
    events = []
    for delta in (
        {"role": "assistant", "content": ""},
        {"content": text},
        {"reasoning": text},
        {"tool_calls": [{"index": 0, "id": MARK, "function": {"name": MARK, "arguments": text}}]},
    ):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        events += [_event({"id": "chatcmpl-1", "model": "tiny", "choices": [choice]})] * 3
    return [*events, _event({"error": ERROR}), b"data: [DONE]\n\n", b": " + text.encode() + b"\n\n"]


def _completion_events(text: str) -> list[bytes]:
    return [_event({"id": "cmpl-1", "choices": [{"index": 0, "text": text, "finish_reason": None}]})] * 3


def _response_events(text: str) -> list[bytes]:
    kinds = ("output_text", "reasoning_text", "function_call_arguments", "refusal")
    deltas = [_event({"type": f"response.{kind}.delta", "delta": text, "sequence_number": 1}) for kind in kinds]
    item = {"type": "function_call", "name": MARK, "arguments": text}
    return [
        _event({"type": "response.created", "response": {**_response(text), "status": "in_progress"}}),
        _event({"type": "response.output_item.added", "item": item}),
        *deltas * 2,
        _event({"type": "response.completed", "response": _response(text)}),
        _event({"type": "error", "code": MARK, "message": text, "param": f"{MARK} {MARK}"}),
    ]


def _messages_events(text: str) -> list[bytes]:
    deltas = [{"text": text}, {"thinking": text}, {"partial_json": text}, {"signature": text}]
    return [
        _event({"type": "message_start", "message": {**_messages(text), "content": []}}),
        _event({"type": "content_block_start", "content_block": {"type": "tool_use", "name": MARK, "input": {}}}),
        *[_event({"type": "content_block_delta", "delta": delta, "index": 0}) for delta in deltas * 2],
        _event({"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": MARK}}),
        _event({"type": "error", "error": {"type": "internal_error", "message": text}}),
    ]


STREAMS = {
    "/v1/chat/completions": _chat_events,
    "/v1/completions": _completion_events,
    "/v1/responses": _response_events,
    "/v1/messages": _messages_events,
}

HEADERS = {
    "authorization": f"Bearer {MARK}",
    "x-api-key": MARK,
    "cookie": MARK,
    "referer": MARK,
    "x-forwarded-for": MARK,
    "traceparent": MARK,
    "tracestate": MARK,
    "x-user": MARK,
    MARK.lower(): MARK,
}


def _logged(app: Any, path: str, tmp_path: Path) -> str:
    scope = http_scope(path, headers=HEADERS, query_string=MARK.encode(), raw_path=MARK.encode())
    received = [{"type": "http.request", "body": json.dumps({"messages": MARK}).encode(), "more_body": False}]

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        assert MARK in str(await receive())
        await app(scope, receive, send)

    served = serve_once(reading, process_log(tmp_path, Lines()), scope, received)
    assert MARK.lower() in str(scope).lower()
    return json.dumps(served.line)


def _assert_clean(logged: str) -> None:
    for mark in (MARK, MARK.replace("-", ""), "Marker", "4711"):
        assert mark.lower() not in logged.lower()


@pytest.mark.parametrize("text", [MARK, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("path", BODIES)
def test_a_body_leaves_no_mark(path: str, text: str, tmp_path: Path) -> None:
    body = json.dumps(BODIES[path](text)).encode()
    logged = _logged(answering(body, path=path), path, tmp_path)
    assert json.loads(logged)["outcome"] in ("ok", "truncated")
    _assert_clean(logged)


@pytest.mark.parametrize("text", [MARK, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_leaves_no_mark(path: str, text: str, tmp_path: Path) -> None:
    events = STREAMS[path](text)
    assert MARK in b"".join(events).decode()
    _assert_clean(_logged(streaming(*events, path=path), path, tmp_path))
    _assert_clean(_logged(streaming(b"".join(events), path=path), path, tmp_path))


@pytest.mark.parametrize(
    "body",
    [
        {"error": ERROR},
        {"error": MARK},
        {"detail": MARK},
        {"detail": [{"loc": ["body", MARK], "input": MARK}]},
        {"type": "error", "error": {"type": "invalid_request_error", "message": MARK}},
        {"message": MARK, "type": MARK, "code": MARK, "param": f"{MARK}?"},
    ],
)
def test_an_error_leaves_no_mark(body: Any, tmp_path: Path) -> None:
    _assert_clean(_logged(answering(json.dumps(body).encode(), status=400), "/v1/chat/completions", tmp_path))


def test_an_exception_leaves_no_mark(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError(MARK)

    _assert_clean(_logged(app, f"/{MARK}", tmp_path))


def test_the_secret_and_the_key_are_not_in_the_line(tmp_path: Path) -> None:
    line = json.loads(_logged(answering(b"{}"), "/v1/chat/completions", tmp_path))
    assert (tmp_path / "access.key").read_bytes().hex() not in json.dumps(line)
    assert len(line["api_key_id"]) == 12
