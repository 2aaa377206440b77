"""What the access log keeps in memory: little of a response, nothing long of a client, no request for ever."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import pytest

from serve.access_log import AccessLogMiddleware
from tests.serve.doubles import Lines, answering, http_scope, process_log, serve_once

ANSWER = b'{"id":"chatcmpl-1","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'


async def _nothing(*_: Any) -> Any:
    pass


def _start(content_type: str) -> dict[str, Any]:
    headers = [(b"content-type", content_type.encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def test_chunks_that_cannot_be_read_are_let_go(tmp_path: Path) -> None:
    held = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(_start("text/event-stream"))
        tracemalloc.start()
        for _ in range(200):
            await send({"type": "http.response.body", "body": memoryview(bytes(1 << 20)), "more_body": True})
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        await send({"type": "http.response.body", "body": b""})

    middleware = AccessLogMiddleware(app, log=process_log(tmp_path, Lines()))
    asyncio.run(middleware(http_scope(), _nothing, _nothing))
    assert held[0] < 3 << 20


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
def test_a_response_of_any_size_costs_bounded_memory(content_type: str, tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(_start(content_type))
        for _ in range(400):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})  # 40 MB in all
        await send({"type": "http.response.body", "body": b""})

    middleware = AccessLogMiddleware(app, log=process_log(tmp_path, Lines()))
    tracemalloc.start()
    asyncio.run(middleware(http_scope(), _nothing, _nothing))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_nothing_long_that_a_client_chose_stays_in_memory(tmp_path: Path) -> None:
    log = process_log(tmp_path, Lines(), user_header=b"x-user")
    serve_once(answering(ANSWER), log)
    gc.collect()
    tracemalloc.start()
    for number in range(20):
        long = f"{number}" + "x" * 500_000
        scope = http_scope("/" + long, headers={"user-agent": long, "x-user": long, "authorization": long})
        serve_once(answering(ANSWER), log, scope)
    del long, scope
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 400_000


def test_a_request_that_the_app_keeps_in_its_own_state_is_let_go_with_it(tmp_path: Path) -> None:
    class Kept:
        pass

    kept: list[weakref.ref[Kept]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["request"] = mark = Kept()
        mark.receive, mark.send = receive, send  # type: ignore[attr-defined]
        kept.append(weakref.ref(mark))
        await answering(ANSWER)(scope, receive, send)

    log = process_log(tmp_path, Lines())
    serve_once(app, log)
    gc.collect()
    assert [mark() for mark in kept] == [None]
