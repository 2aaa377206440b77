"""What is read out of JSON bodies: every dialect, any size, and nothing from what cannot be read."""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve import clip
from serve.answer import Answer
from serve.dialects import Choice, Document, Message, decode
from serve.response_reader import media_of, reader_for

KEYS = [*Document.__struct_fields__, *Choice.__struct_fields__, *Message.__struct_fields__, "prompt_tokens", "reason"]


def _read(body: Any, status: int = 200, size: int | None = None) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = Answer()
    reader = reader_for(answer, status, "json")
    assert reader is not None
    size = size or len(raw) or 1
    for start in range(0, len(raw), size):
        reader.feed([raw[start : start + size]], [0.0])
    reader.close()
    return answer


def _chat(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "tiny", "choices": list(choices), **more}


def _choice(reason: str | None = "stop", index: int = 0, **message: Any) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", **message}, "finish_reason": reason}


def test_the_worst_finish_reason_of_several_choices_stays() -> None:
    reasons = ["stop", "tool_calls", "repetition", "length", "content_filter", "abort", "error"]
    for worst in range(1, len(reasons) + 1):
        mixed = reasons[:worst]
        random.Random(worst).shuffle(mixed)
        answer = _read(_chat(*(_choice(reason, number, content="x") for number, reason in enumerate(mixed))))
        assert answer.finish_reason == reasons[worst - 1]
        assert answer.n == worst


def test_a_finish_reason_of_another_name_is_worse_than_a_stop_and_better_than_a_cut() -> None:
    assert _read(_chat(_choice("eos", content="x"), _choice("stop", 1, content="x"))).finish_reason == "eos"
    assert _read(_chat(_choice("eos", content="x"), _choice("length", 1, content="x"))).finish_reason == "length"
    assert _read(_chat(_choice("What the user wrote", content="x"))).finish_reason is None


@pytest.mark.parametrize(
    ("message", "facts"),
    [
        ({"content": "Hi"}, {"text"}),
        ({"content": " \n\t"}, set()),
        ({"content": ""}, set()),
        ({"content": None}, set()),
        ({"content": None, "refusal": "No."}, {"text"}),
        ({"content": [{"type": "text", "text": "Hi"}]}, {"text"}),
        ({"content": None, "audio": {"id": "a"}}, {"text"}),
        ({"content": None, "reasoning": "Hm"}, {"reasoning"}),
        ({"content": None, "reasoning_content": "Hm"}, {"reasoning"}),
        ({"content": "", "reasoning": "Hm", "tool_calls": []}, {"reasoning"}),
        ({"content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}, {"tool_call"}),
        ({"content": None, "function_call": {"name": "f", "arguments": ""}}, {"tool_call"}),
        ({"content": "Hi", "reasoning": "Hm", "tool_calls": [{}, {}]}, {"text", "reasoning", "tool_call"}),
    ],
)
def test_what_a_message_holds(message: dict[str, Any], facts: set[str]) -> None:
    answer = _read(_chat(_choice(**message)))
    assert {name for name in ("text", "reasoning", "tool_call") if getattr(answer, name)} == facts
    assert answer.understood
    assert answer.tool_calls == len(message.get("tool_calls") or ()) + ("function_call" in message)


def test_usage_in_the_openai_dialect() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    answer = _read(_chat(_choice(content="x"), usage=usage))
    assert (answer.prompt_tokens, answer.completion_tokens) == (9, 0)
    assert (answer.cached_tokens, answer.reasoning_tokens) == (4, 3)


def test_usage_in_the_messages_dialect_counts_the_whole_prompt() -> None:
    body = {
        "id": "msg_1",
        "type": "message",
        "model": "tiny",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 5,
            "cache_read_input_tokens": 128,
            "cache_creation_input_tokens": 64,
            "output_tokens": 2,
        },
    }
    answer = _read(body)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (197, 2, 128)
    assert (answer.finish_reason, answer.model, answer.id) == ("stop", "tiny", "msg_1")


@pytest.mark.parametrize(
    "usage",
    [
        None,
        7,
        "many",
        [],
        {},
        {"prompt_tokens": None, "completion_tokens": "5"},
        {"prompt_tokens": -1, "completion_tokens": True},
        {"prompt_tokens": 1.5},
        {"type": "duration", "seconds": 12, "input_tokens": 3},
    ],
)
def test_usage_that_makes_no_sense_is_not_known(usage: Any) -> None:
    answer = _read(_chat(_choice(content="x"), usage=usage))
    assert answer.prompt_tokens is None
    assert answer.completion_tokens is None
    assert answer.text


@pytest.mark.parametrize(
    ("status", "details", "reason"),
    [
        ("completed", None, "stop"),
        ("incomplete", {"reason": "max_output_tokens"}, "length"),
        ("incomplete", {"reason": "content_filter"}, "content_filter"),
        ("failed", None, "error"),
        ("cancelled", None, "abort"),
    ],
)
def test_how_a_response_ended(status: str, details: Any, reason: str) -> None:
    part = {"type": "output_text", "text": "Hi"}
    body = {
        "id": "resp_1",
        "object": "response",
        "output": [{"type": "message", "content": [part]}],
        "status": status,
        "incomplete_details": details,
        "error": {"code": "server_error", "message": "what the user wrote"} if status == "failed" else None,
    }
    assert _read(body).finish_reason == reason


def test_a_response_that_still_runs_in_the_background_is_no_empty_answer() -> None:
    answer = _read({"id": "resp_1", "object": "response", "output": [], "status": "queued"})
    assert not answer.understood
    assert answer.finish_reason is None
    assert answer.id == "resp_1"


def test_tokens_out_are_an_answer_without_text() -> None:
    body = {"request_id": "r1", "choices": [{"index": 0, "token_ids": [5, 6], "finish_reason": "stop"}]}
    answer = _read(body)
    assert (answer.id, answer.text, answer.understood) == ("r1", True, True)
    body["choices"] = [{"index": 0, "token_ids": [], "finish_reason": "stop"}]
    answer = _read(body)
    assert (answer.text, answer.understood) == (False, True)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"type": "BadRequestError", "code": 400, "param": "n"}}, ("BadRequestError", 400, "n")),
        ({"type": "error", "error": {"type": "NotFoundError", "message": "x"}}, ("NotFoundError", None, None)),
        ({"error": "Unauthorized"}, (None, None, None)),
        ({"detail": "Not Found"}, (None, None, None)),
        ({"error": {"type": "t", "code": "invalid_api_key", "param": None}}, ("t", None, None)),
        ({"error": {"type": "<b>t" * 20}}, ("bt" * 16, None, None)),
        ({"error": {"code": True, "param": "body.messages.0.content"}}, (None, None, "body.messages")),
        ({"error": {"type": 5, "code": 1.5, "param": "what the user wrote"}}, (None, None, None)),
        ({"error": {"param": "body.metadata[My secret]"}}, (None, None, "body.metadata")),
        ([1, 2], (None, None, None)),
        (b"<html>", (None, None, None)),
        (b"", (None, None, None)),
    ],
)
def test_an_error_tells_its_kind_and_never_its_message(body: Any, kind: tuple[Any, ...]) -> None:
    answer = _read(body, status=400)
    assert (answer.error_type, answer.error_code, answer.error_param) == kind


def test_an_error_body_with_status_200_is_an_error_all_the_same() -> None:
    assert _read({"error": {"type": "x", "code": 503}}).error


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(KEYS),
                inner,
                max_size=6,
            )
        ),
        max_leaves=25,
    ),
    st.sampled_from([200, 400]),
)
def test_no_json_of_any_shape_raises(body: Any, status: int) -> None:
    _read(body, status)
    stream = reader_for(Answer(), 200, "events")
    assert stream is not None
    stream.feed([b"data: " + json.dumps(body).encode() + b"\n\n"], [0.0])
    stream.close()


# --- bodies too large to keep ---

NUMBERS = [0.123456789] * 60_000


@pytest.mark.parametrize("size", [None, 65_536, 1_000])
def test_a_large_embedding_tells_its_id_model_and_usage_in_bounded_memory(size: int | None) -> None:
    data = [{"index": 0, "object": "embedding", "embedding": NUMBERS}]
    body = {"id": "embd-1", "object": "list", "model": "tiny", "data": data, "usage": {"prompt_tokens": 7}}
    raw = json.dumps(body).encode()
    assert len(raw) > clip.WHOLE
    tracemalloc.start()
    answer = _read(raw, size=size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * clip.WHOLE
    assert (answer.id, answer.model, answer.prompt_tokens, answer.completion_tokens) == ("embd-1", "tiny", 7, None)


def test_a_large_rerank_tells_its_usage_from_the_start() -> None:
    results = [{"index": number, "document": {"text": "usage"}, "relevance_score": 0.5} for number in range(10_000)]
    answer = _read({"id": "score-1", "model": "tiny", "usage": {"prompt_tokens": 5}, "results": results})
    assert (answer.id, answer.model, answer.prompt_tokens) == ("score-1", "tiny", 5)


def test_a_large_chat_answer_tells_its_end_and_is_never_taken_for_empty() -> None:
    text = 'He said "usage":{"prompt_tokens":1} and "finish_reason":"error", then "id":"no". ' * 5_000
    usage = {"prompt_tokens": 11, "completion_tokens": 90_000}
    answer = _read(_chat(_choice("length", content=text), usage=usage))
    assert (answer.prompt_tokens, answer.completion_tokens, answer.finish_reason) == (11, 90_000, "length")
    assert (answer.id, answer.model) == ("chatcmpl-1", "tiny")
    assert not answer.understood


def test_names_come_from_the_top_of_a_large_body_alone() -> None:
    words = {"model": "what the user wrote", "id": "secret"}
    content = [{"type": "tool_use", "input": words}, {"type": "text", "text": "x" * clip.WHOLE}]
    answer = _read({"type": "message", "content": content, "id": "msg_1", "model": "tiny", "stop_reason": "max_tokens"})
    assert answer.model is None
    assert answer.id is None
    assert answer.finish_reason == "length"


def test_a_body_just_under_the_limit_is_read_whole() -> None:
    answer = _read(_chat(_choice("stop", content="x" * (clip.WHOLE - 500))), size=1000)
    assert answer.understood
    assert answer.text


# --- what is not read ---


def test_a_compressed_or_foreign_body_is_not_read() -> None:
    for content_type, encoding, read in (
        (b"application/json", b"gzip", False),
        (b"application/json", b"identity", True),
        (b"application/problem+json; charset=utf-8", b"", True),
        (b"text/event-stream; charset=utf-8", b"", True),
        (b"text/event-stream", b"br", False),
        (b"text/plain", b"", False),
        (b"", b"", False),
    ):
        assert (reader_for(Answer(), 200, media_of(content_type), encoding) is not None) == read


def test_vectors_sent_as_bytes_have_their_usage_in_a_header() -> None:
    answer = Answer()
    metadata = json.dumps({"id": "embd-1", "model": "tiny", "usage": {"prompt_tokens": 3}}).encode()
    assert reader_for(answer, 200, media_of(b"application/octet-stream"), b"", metadata) is None
    assert (answer.id, answer.model, answer.prompt_tokens) == ("embd-1", "tiny", 3)


def test_a_json_document_nested_too_deeply_is_nothing() -> None:
    assert decode(b'{"usage":' * 100_000) is None
    assert decode(b'{"usage":' + b"[" * 100_000 + b"]" * 100_000 + b"}") is None
