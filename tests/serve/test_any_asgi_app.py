"""The same class in front of any ASGI app: Starlette behind a real uvicorn, over HTTP, with clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from serve import AccessLogMiddleware

CHUNK = {
    "id": "chatcmpl-1",
    "model": "tiny",
    "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
}
EVENT = b"data: " + json.dumps(CHUNK).encode() + b"\n\n"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def _chat(request: Request) -> Response:
    body = await request.json()
    if not body.get("stream"):
        choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "model": "tiny", "choices": [choice], "usage": usage}
        return JSONResponse(answer)

    async def events() -> AsyncIterator[bytes]:
        yield EVENT
        yield EVENT.replace(b"null", b'"stop"')
        yield b"data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def _endless(request: Request) -> Response:
    async def events() -> AsyncIterator[bytes]:
        while True:
            yield EVENT
            await asyncio.sleep(0.01)

    return StreamingResponse(events(), media_type="text/event-stream")


async def _silent(request: Request) -> Response:
    async def events() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield EVENT

    return StreamingResponse(events(), media_type="text/event-stream")


async def _until_the_client_leaves(request: Request) -> Response:
    """As vLLM does: a handler is given up when the client has left, and its `None` becomes a 200."""
    while not await request.is_disconnected():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    return JSONResponse(None)


async def _headers(request: Request) -> Response:
    return JSONResponse(dict(request.headers))


async def _text(request: Request) -> Response:
    return PlainTextResponse("x" * 100_000)


async def _broken(request: Request) -> Response:
    raise KeyError("what the user wrote")


ROUTES = [
    Route("/v1/chat/completions", _chat, methods=["POST"]),
    Route("/endless", _endless, methods=["POST"]),
    Route("/silent", _silent, methods=["POST"]),
    Route("/until", _until_the_client_leaves, methods=["POST"]),
    Route("/headers", _headers),
    Route("/text/{name}", _text),
    Route("/broken", _broken),
    Mount("/shops/{shop}", routes=[Route("/items/{item}", _headers)]),
    Mount("/files", app=PlainTextResponse("a file")),
]


@dataclass
class Running:
    """A server, and the file that it writes."""

    url: str
    file: Path
    stop: Callable[[], None]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text("utf-8").splitlines()] if self.file.exists() else []

    def line(self, number: int = 1) -> dict[str, Any]:
        """The n-th request line, as soon as it is there."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            requests = [line for line in self.lines() if "event" not in line]
            if len(requests) >= number:
                return requests[number - 1]
            time.sleep(0.01)
        raise AssertionError(f"no line {number}: {self.lines()}")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("LOGPROC_ACCESS_LOG", str(tmp_path / "logs" / "access.jsonl"))
    monkeypatch.setenv("LOGPROC_SERVICE", "shop")
    app = Starlette(routes=ROUTES, middleware=[Middleware(AccessLogMiddleware)])
    listening = socket.create_server(("127.0.0.1", 0))
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=uvicorn_server.run, kwargs={"sockets": [listening]})
    thread.start()

    def stop() -> None:
        uvicorn_server.should_exit = True
        thread.join(20)

    yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", tmp_path / "logs" / "access.jsonl", stop)
    stop()


def _hang_up(server: Running, path: str, *, after: bytes) -> None:
    """Ask, wait until `after` was received, and close the connection."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
        connection.sendall(request.encode())
        received = b""
        connection.settimeout(10)
        while after not in received:
            received += connection.recv(65536)
        if not after:
            _wait_until_it_runs(server)


def _wait_until_it_runs(server: Running) -> None:
    assert httpx.get(server.url + "/headers").status_code == 200  # the server has taken the request before this one


def test_a_chat_over_http_gives_its_line(server: Running) -> None:
    headers = {"x-request-id": "client-1", "traceparent": TRACE, "authorization": "Bearer sk-1", "user-agent": "test/1"}
    answer = httpx.post(server.url + "/v1/chat/completions", json={"messages": []}, headers=headers)
    assert answer.json()["choices"][0]["message"]["content"] == "Hi"
    assert answer.headers["x-request-id"] == "client-1"
    line = server.line()
    assert (line["path"], line["status"], line["outcome"], line["stream"]) == ("/v1/chat/completions", 200, "ok", False)
    assert (line["prompt_tokens"], line["completion_tokens"], line["model"]) == (3, 2, "tiny")
    assert (line["request_id"], line["trace_id"]) == ("client-1", TRACE[3:35])
    assert (line["client"], line["service"], line["user_agent"]) == ("127.0.0.1", "shop", "test/1")
    assert len(line["api_key_id"]) == 12


def test_a_stream_over_http_gives_its_line(server: Running) -> None:
    answer = httpx.post(server.url + "/v1/chat/completions", json={"stream": True})
    assert answer.content == EVENT + EVENT.replace(b"null", b'"stop"') + b"data: [DONE]\n\n"
    line = server.line()
    assert (line["outcome"], line["stream"], line["finish_reason"]) == ("ok", True, "stop")
    assert 0 <= line["ttft_ms"] <= line["duration_ms"]
    assert 0 <= line["stall_max_ms"] <= line["duration_ms"]
    assert line["prompt_tokens"] is None


def test_ids_are_passed_on_to_the_app(server: Running) -> None:
    seen = httpx.get(server.url + "/headers", headers={"traceparent": TRACE, "tracestate": "a=b"})
    assert (seen.json()["traceparent"], seen.json()["tracestate"]) == (TRACE, "a=b")
    assert seen.json()["x-request-id"] == seen.headers["x-request-id"] == server.line()["request_id"]


@pytest.mark.parametrize(
    ("path", "template", "status"),
    [
        ("/text/secret", "/text/{name}", 200),
        ("/shops/7/items/8", "/shops/{shop}/items/{item}", 200),
        ("/files/a/b/c", "/files", 200),
        ("/nowhere/secret", "/__unmatched__", 404),
    ],
)
def test_the_path_is_the_template_of_the_route(path: str, template: str, status: int, server: Running) -> None:
    assert httpx.get(server.url + path).status_code == status
    assert (server.line()["path"], server.line()["status"]) == (template, status)


def test_an_exception_becomes_the_servers_500(server: Running) -> None:
    assert httpx.get(server.url + "/broken").status_code == 500
    line = server.line()
    assert (line["status"], line["outcome"], line["error_type"]) == (500, "server_error", "KeyError")


def test_a_client_that_hangs_up_in_mid_stream(server: Running) -> None:
    _hang_up(server, "/endless", after=EVENT)
    line = server.line()
    assert (line["path"], line["status"], line["outcome"]) == ("/endless", 200, "client_disconnect")
    assert line["model"] == "tiny"
    assert "ttft_ms" in line


def test_a_client_that_hangs_up_before_the_first_event(server: Running) -> None:
    _hang_up(server, "/silent", after=b"\r\n\r\n")
    line = server.line()
    assert (line["status"], line["outcome"], line["stream"]) == (200, "client_disconnect", True)
    assert "ttft_ms" not in line


def test_a_client_that_hangs_up_before_a_plain_answer(server: Running) -> None:
    _hang_up(server, "/until", after=b"")
    line = next(line for line in (server.line(1), server.line(2)) if line["path"] == "/until")
    assert (line["status"], line["outcome"]) == (499, "client_disconnect")
    assert "stream" not in line


def test_the_server_tells_its_life(server: Running) -> None:
    httpx.get(server.url + "/headers")
    httpx.get(server.url + "/health")
    server.line()
    server.stop()
    events = [line.get("event", "request") for line in server.lines()]
    assert events == ["server_started", "request", "server_stopped"]
    started = server.lines()[0]
    assert (started["service"], "startup_s" in started, "version" in started) == ("shop", True, False)


def test_a_stream_that_the_shutdown_cuts_off_has_its_line(server: Running) -> None:
    with httpx.stream("POST", server.url + "/endless", json={}) as answer:
        chunks = answer.iter_bytes()  # kept: a client that lets go of it hangs up
        next(chunks)
        server.stop()
    events = [line.get("event", "request") for line in server.lines()]
    assert events == ["server_started", "request", "server_stopped"]
    line = server.line()
    assert (line["path"], line["outcome"], line["status"]) == ("/endless", "stream_error", 200)
