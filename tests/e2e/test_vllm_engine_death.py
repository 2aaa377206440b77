"""The engine of a real vLLM is killed while it answers: every request in flight has a line that says so."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.client import Answer, Request, send
from tests.e2e.wait import wait_for
from tests.e2e.witness import read_lines
from tests.services.vllm import MODEL_NAME, VllmServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

LONG: dict[str, Any] = {"model": MODEL_NAME, "max_tokens": 1800, "ignore_eos": True}
CHAT: dict[str, Any] = {**LONG, "messages": [{"role": "user", "content": "tell me a long story"}]}
STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat-stream": ("/v1/chat/completions", CHAT),
    "text-stream": ("/v1/completions", LONG | {"prompt": "once upon a time"}),
    # This dialect cannot forbid the end token; but without chance the tiny model repeats itself for ever.
    "messages-stream": ("/v1/messages", CHAT | {"temperature": 0}),
    "responses-stream": (
        "/v1/responses",
        {"model": MODEL_NAME, "input": "once upon a time", "max_output_tokens": 1800, "ignore_eos": True},
    ),
}


@pytest.fixture(scope="module")
def lines(vllm_installed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The lines by request id, or by event for those of the server."""
    folder: Path = tmp_path_factory.mktemp("death")
    with VllmServer(folder) as vllm:
        answers = asyncio.run(_kill_in_mid_stream(vllm))
    assert answers["chat-json"].status == 500
    assert {answers[name].status for name in STREAMS} == {200}
    return {line.get("request_id") or line["event"]: line for line in read_lines(vllm.access_log)}


async def _kill_in_mid_stream(vllm: VllmServer) -> dict[str, Answer]:
    requests = {"chat-json": Request("chat-json", "POST", "/v1/chat/completions", json.dumps(CHAT).encode())}
    for name, (path, body) in STREAMS.items():
        requests[name] = Request(name, "POST", path, json.dumps(body | {"stream": True}).encode())
    answers = {name: Answer() for name in requests}
    tasks = [asyncio.create_task(send(vllm.port, requests[name], answers[name])) for name in requests]
    await wait_for(lambda: vllm.metric("vllm:num_requests_running") >= len(requests))
    await wait_for(lambda: all(len(answers[name].chunks) > 5 for name in STREAMS))
    vllm.kill_engine()
    await asyncio.gather(*tasks)
    return answers


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_whose_engine_died_is_a_stream_error_although_http_said_200(
    lines: dict[str, dict[str, Any]], name: str
) -> None:
    line = lines[name]
    assert (line["status"], line["outcome"], line["stream"]) == (200, "stream_error", True)
    assert line["ttft_ms"] > 0
    assert line.get("finish_reason") in (None, "error")


def test_a_request_without_stream_whose_engine_died_is_a_server_error(lines: dict[str, dict[str, Any]]) -> None:
    line = lines["chat-json"]
    assert (line["status"], line["outcome"]) == (500, "server_error")
    assert line["prompt_tokens"] is line["completion_tokens"] is None


def test_the_end_of_the_server_is_in_the_log(lines: dict[str, dict[str, Any]]) -> None:
    assert "server_stopped" in lines
