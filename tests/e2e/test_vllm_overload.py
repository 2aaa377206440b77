"""A real vLLM with one place and a short queue: HTTP says 200 for streams that were refused, the line says rejected."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from functools import partial
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

ONE_PLACE = ("--max-num-seqs", "1", "--max-num-queued-reqs", "3")
"""One request runs, two wait, the fourth is refused."""


@dataclass
class Crowd:
    """What the clients saw and the lines that were written, by the request's id."""

    seen: dict[str, Seen] = field(default_factory=dict)
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)


def chat(request_id: str, **more: Any) -> Request:
    messages = [{"role": "user", "content": "who is next?"}]
    body = {"model": MODEL_NAME, "messages": messages, "max_tokens": 4, **more}
    return Request(request_id, "POST", "/v1/chat/completions", json.dumps(body).encode())


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
    """One long stream runs, one request waits and is answered, one waits and leaves; four more come meanwhile."""
    answers = {name: Answer() for name in ("runs", "waits", "leaves")}
    requests = {
        "runs": chat("runs", stream=True, max_tokens=1800, ignore_eos=True),
        "waits": chat("waits", stream=True),
        "leaves": chat("leaves"),
    }
    tasks = {}
    for name, state, number in (("runs", "running", 1), ("waits", "waiting", 1), ("leaves", "waiting", 2)):
        tasks[name] = asyncio.create_task(send(vllm.port, requests[name], answers[name]))
        await wait_for(partial(_requests_are, vllm, state, number))
    for number in range(2):
        requests[f"refused-{number}"] = chat(f"refused-{number}")
        requests[f"refused-stream-{number}"] = chat(f"refused-stream-{number}", stream=True)
    for name in list(requests)[3:]:
        answers[name] = await send(vllm.port, requests[name])
    tasks["leaves"].cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    return Crowd({name: look(Call(name, requests[name], True), answers[name]) for name in requests})


def _requests_are(vllm: VllmServer, state: str, number: int) -> bool:
    return vllm.metric(f"vllm:num_requests_{state}") == number


def test_every_request_in_the_crowd_has_one_line(crowd: Crowd) -> None:
    assert crowd.lines.keys() == crowd.seen.keys()


def test_a_refused_stream_is_rejected_although_http_says_200(crowd: Crowd) -> None:
    for name in ("refused-stream-0", "refused-stream-1"):
        assert crowd.seen[name].status == 200
        assert crowd.seen[name].error is not None
        line = crowd.lines[name]
        assert (line["status"], line["outcome"], line["error_code"]) == (200, "rejected", 503)
        assert line["error_type"] == "Service Unavailable"
        assert line["stream"] is True
        assert line["prompt_tokens"] is line["completion_tokens"] is None


def test_a_refused_request_without_stream_is_rejected_with_503(crowd: Crowd) -> None:
    for name in ("refused-0", "refused-1"):
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
