"""A real vLLM with one place and a short queue: HTTP says 200 for streams that were refused, the line says rejected."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.client import Answer, Request, send
from tests.e2e.seen import Seen, look
from tests.e2e.traffic import Call
from tests.e2e.wait import wait_for
from tests.e2e.witness import read_lines
from tests.services.vllm import MODEL_NAME, VllmServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

ONE_PLACE = ("--max-num-seqs", "1", "--max-num-queued-reqs", "4")
"""One request runs, three wait, the fifth is refused."""


@dataclass
class Crowd:
    """What the clients saw and the lines that were written, by the request's id."""

    seen: dict[str, Seen] = field(default_factory=dict)
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)


def chat(request_id: str, **more: Any) -> Request:
    messages = [{"role": "user", "content": "who is next?"}]
    body = {"model": MODEL_NAME, "messages": messages, "max_tokens": 4, **more}
    return Request(request_id, "POST", "/v1/chat/completions", json.dumps(body).encode())


def text_stream(request_id: str, prompts: list[str]) -> Request:
    body = {"model": MODEL_NAME, "prompt": prompts, "max_tokens": 4, "stream": True}
    return Request(request_id, "POST", "/v1/completions", json.dumps(body).encode())


@pytest.fixture(scope="module")
def crowd(vllm_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    folder: Path = tmp_path_factory.mktemp("crowd")
    with VllmServer(folder, arguments=ONE_PLACE) as vllm:
        crowd = asyncio.run(_crowd(vllm))
    lines = [line for line in read_lines(vllm.access_log) if "event" not in line]
    crowd.lines = {line["request_id"]: line for line in lines}
    assert len(lines) == len(crowd.lines), "an id has two lines"
    return crowd


async def _crowd(vllm: VllmServer) -> Crowd:
    """One long stream runs and fills the only place; three wait, of whom one leaves; what comes meanwhile is refused.

    vLLM looks for room for one prompt before it starts an answer, and again for each prompt when it has started: with
    one seat left in the queue, a stream of two prompts is refused within an answer that began with 200.
    """
    answers = {name: Answer() for name in ("runs", "waits", "leaves", "waits-too")}
    requests = {name: chat(name) for name in answers}
    requests["runs"] = chat("runs", stream=True, max_tokens=1800, ignore_eos=True)
    requests["waits"] = chat("waits", stream=True)
    tasks = {}

    async def begin(name: str, state: str, number: int) -> None:
        tasks[name] = asyncio.create_task(send(vllm.port, requests[name], answers[name]))
        await wait_for(lambda: vllm.metric(f"vllm:num_requests_{state}") == number)

    async def ask(request: Request) -> None:
        requests[request.request_id] = request
        answers[request.request_id] = await send(vllm.port, request)

    await begin("runs", "running", 1)
    await begin("waits", "waiting", 1)
    await begin("leaves", "waiting", 2)
    await ask(text_stream("refused-in-the-stream", ["first", "second"]))
    await begin("waits-too", "waiting", 3)
    await ask(chat("refused"))
    await ask(chat("refused-before-the-stream", stream=True))
    tasks["leaves"].cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    return Crowd({name: look(Call(name, requests[name], True), answers[name]) for name in requests})


def test_every_request_in_the_crowd_has_one_line(crowd: Crowd) -> None:
    assert crowd.lines.keys() == crowd.seen.keys()


def test_a_refused_stream_is_rejected_although_http_says_200(crowd: Crowd) -> None:
    seen, line = crowd.seen["refused-in-the-stream"], crowd.lines["refused-in-the-stream"]
    assert (seen.status, seen.stream) == (200, True)
    assert seen.error is not None
    assert (line["status"], line["outcome"], line["stream"]) == (200, "rejected", True)
    assert (line["error_type"], line["error_code"]) == ("Service Unavailable", 503)
    assert line["prompt_tokens"] is line["completion_tokens"] is None


@pytest.mark.parametrize("name", ["refused", "refused-before-the-stream"])
def test_a_request_refused_before_its_answer_began_is_rejected_with_503(crowd: Crowd, name: str) -> None:
    assert crowd.seen[name].status == 503
    assert (crowd.lines[name]["status"], crowd.lines[name]["outcome"]) == (503, "rejected")


def test_a_client_that_leaves_the_queue_is_a_disconnect_without_an_answer(crowd: Crowd) -> None:
    line = crowd.lines["leaves"]
    assert (line["status"], line["outcome"]) == (499, "client_disconnect")
    assert line["prompt_tokens"] is line["completion_tokens"] is None


def test_the_time_in_the_queue_is_told_by_the_line_of_the_one_that_waited(crowd: Crowd) -> None:
    waited, ran = crowd.lines["waits"], crowd.lines["runs"]
    assert waited["queue_ms"] > 0.5 * waited["duration_ms"]
    assert waited["ttft_ms"] >= waited["queue_ms"]
    assert ran["queue_ms"] < 0.1 * ran["duration_ms"]
    assert waited["outcome"] == crowd.seen["waits"].outcome
    assert ran["completion_tokens"] == 1800
