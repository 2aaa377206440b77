"""The stand-in server through the real middleware: each kind of answer, and the line that it leaves."""

from __future__ import annotations

import json
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from logproc.demo.answers import MODEL, words
from logproc.demo.incidents import CYCLE_S, EMPTY
from logproc.demo.stand_in import StandIn

with warnings.catch_warnings():  # newer versions of Starlette would rather have a successor of httpx
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"

Ask = Callable[..., tuple[Any, dict[str, Any]]]


class Dice(random.Random):
    """Whatever is decided by a share comes out so: 1.0 never, 0.0 always; lengths are drawn as usual."""

    def __init__(self, share: float) -> None:
        super().__init__(5)
        self.share = share

    def random(self) -> float:
        return self.share


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks a server that began `at` seconds ago once; the answer, and the one request line of it."""
    servers: list[Starlette] = []

    def one(path: str, body: Any, *, at: float = 0.0, share: float = 0.999) -> tuple[Any, dict[str, Any]]:
        log = tmp_path / f"{len(servers)}.jsonl"
        monkeypatch.setenv("LOGPROC_ACCESS_LOG", str(log))
        server = StandIn(time.monotonic() - at, Dice(share)).application()
        servers.append(server)
        with TestClient(server) as client:
            response = client.post(path, content=body if isinstance(body, bytes) else json.dumps(body))
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["event"] for line in lines if "event" in line] == ["server_started", "server_stopped"]
        assert lines[0]["model"] == MODEL
        (line,) = [line for line in lines if "event" not in line]
        return response, line

    return one


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}], **more}


def test_a_chat_is_answered_whole_with_its_usage_and_engine_timings(ask: Ask) -> None:
    response, line = ask(CHAT, chat(words(200)))
    body = response.json()
    assert "stand-in server with no model behind it" in body["choices"][0]["message"]["content"]
    assert (line["outcome"], line["operation"], line["stream"]) == ("ok", "chat", False)
    assert line["prompt_tokens"] == body["usage"]["prompt_tokens"] == 200
    assert line["completion_tokens"] == body["usage"]["completion_tokens"] > 1
    assert line["queue_ms"] + line["prefill_ms"] + line["decode_ms"] <= line["duration_ms"]
    assert line["preemptions"] == 0


def test_a_streamed_completion_without_usage_gets_its_tokens_from_the_engine(ask: Ask) -> None:
    response, line = ask(TEXT, {"model": MODEL, "prompt": words(30), "stream": True})
    assert response.text.endswith("data: [DONE]\n\n")
    assert "usage" not in response.text
    assert (line["outcome"], line["operation"], line["stream"]) == ("ok", "text_completion", True)
    assert line["prompt_tokens"] == 30
    assert line["completion_tokens"] > 1
    assert line["queue_ms"] <= line["ttft_ms"] <= line["duration_ms"]


def test_a_short_limit_truncates(ask: Ask) -> None:
    _, line = ask(CHAT, chat(words(1000), max_tokens=16, stream=True, stream_options={"include_usage": True}))
    assert (line["outcome"], line["finish_reason"]) == ("truncated", "length")
    assert (line["completion_tokens"], line["max_tokens"]) == (16, 16)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_an_answer_is_empty_while_that_incident_plays(ask: Ask, path: str, stream: bool) -> None:
    body = chat("hello", stream=stream) if path == CHAT else {"model": MODEL, "prompt": "hello", "stream": stream}
    _, line = ask(path, body, at=CYCLE_S + EMPTY.begins_s + 1, share=0.1)
    assert (line["outcome"], line["status"], line["completion_tokens"]) == ("empty", 200, 1)


def test_a_stream_can_fail_in_its_middle(ask: Ask) -> None:
    response, line = ask(CHAT, chat(words(400), stream=True), share=0.001)
    assert "an error played in" in response.text
    assert (line["outcome"], line["status"], line["error_type"]) == ("stream_error", 200, "InternalServerError")
    assert line["ttft_ms"] > 0


def test_another_model_is_refused(ask: Ask) -> None:
    response, line = ask(CHAT, chat("hello") | {"model": "other"})
    assert response.status_code == 404
    assert (line["outcome"], line["status"], line["error_param"]) == ("rejected", 404, "model")
    assert "model" not in line


@pytest.mark.parametrize("body", [b'{"model": "sta', b"[]", b'{"model": "stand-in"}', b'{"messages": []}', b"\xff"])
def test_a_body_that_cannot_be_understood_is_refused(ask: Ask, body: bytes) -> None:
    response, line = ask(CHAT, body)
    assert response.json()["error"]["code"] == 400
    assert (line["outcome"], line["status"], line["error_type"]) == ("rejected", 400, "BadRequestError")
