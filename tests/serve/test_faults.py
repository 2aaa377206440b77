"""Whatever fails in the access log, every response is served as if it were not there, byte by byte."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

import serve.access_line
import serve.access_log
import serve.exchange
import serve.identity
import serve.line_maker
import serve.process_log
import serve.response
import serve.response_reader
from serve.access_log import AccessLogMiddleware
from serve.event_stream import EventStream
from serve.in_flight import InFlight
from serve.process_log import ProcessLog
from serve.response_reader import JsonBody
from serve.timings import TIMINGS
from tests.serve.doubles import Lines, answering, http_scope, process_log, serve_once, streaming

JSON = answering(b'{"id":"chatcmpl-1","choices":[', b'{"index":0,"message":{"content":"Hi"}}]}')
STREAM = streaming(*[b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'] * 3)


async def _failing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("the app's own")


APPS = {"json": JSON, "stream": STREAM, "failing": _failing}


def _fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("a defect of the access log")


class _FailingWriter(Lines):
    put = close = start = _fail


PARTS: dict[str, tuple[object, str]] = {
    "the beginning of an exchange": (serve.process_log, "received"),
    "the look at the path": (serve.exchange, "_kind"),
    "the request id": (serve.identity, "request_id"),
    "the response start": (serve.exchange.Exchange, "start"),
    "the choice of a reader": (serve.response, "reader_for"),
    "reading an event stream": (EventStream, "feed"),
    "parsing an event stream": (EventStream, "_parse"),
    "the end of an event stream": (EventStream, "close"),
    "reading a JSON body": (JsonBody, "feed"),
    "parsing a JSON body": (JsonBody, "close"),
    "decoding a document": (serve.response_reader, "decode"),
    "the decision": (serve.access_line, "decide"),
    "the line": (serve.line_maker, "access_line"),
    "the required fields": (serve.line_maker, "required_fields"),
    "the line's id": (serve.line_maker, "make_line_id"),
    "the route": (serve.identity, "template_of"),
    "the client's address": (serve.identity, "client_address"),
    "the key's id": (serve.identity.ApiKeys, "id_of"),
    "the secret": (serve.identity, "load_hash_key"),
    "the time": (serve.line_maker, "timestamp"),
    "the time of a server line": (serve.process_log, "timestamp"),
    "the end of a response": (serve.response.Response, "close"),
    "the server line": (ProcessLog, "_put_server_line"),
    "the timings of a request": (ProcessLog, "_timings"),
    "the count of running requests": (InFlight, "leave"),
    "the engine's timings": (TIMINGS, "take"),
}


def _served(app: Any, log: ProcessLog) -> tuple[list[dict[str, Any]], str]:
    served = serve_once(app, log, http_scope(headers={"authorization": "Bearer sk-1"}))
    messages = [
        {**message, "headers": [header for header in message.get("headers", ()) if header[0] != b"x-request-id"]}
        for message in served.sent
    ]
    return messages, repr(served.raised)


def _bare(app: Any) -> tuple[list[dict[str, Any]], str]:
    sent: list[dict[str, Any]] = []
    raised = None

    async def send(message: Any) -> None:
        sent.append({**message, "headers": list(message.get("headers", ()))})

    try:
        asyncio.run(app(http_scope(), None, send))
    except RuntimeError as error:
        raised = error
    return sent, repr(raised)


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
@pytest.mark.parametrize(("holder", "name"), PARTS.values(), ids=PARTS)
def test_a_part_that_fails_leaves_the_response_untouched(
    holder: object, name: str, app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(holder, name) is not None
    monkeypatch.setattr(holder, name, _fail)
    log = process_log(tmp_path, Lines())
    for _ in range(2):
        assert _served(app, log) == _bare(app)


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
def test_a_writer_that_fails_leaves_the_response_untouched(app: Any, tmp_path: Path) -> None:
    log = process_log(tmp_path, _FailingWriter())
    for _ in range(2):
        assert _served(app, log) == _bare(app)


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
@pytest.mark.parametrize("good_calls", range(8))
def test_a_clock_that_fails_leaves_the_response_untouched(good_calls: int, app: Any, tmp_path: Path) -> None:
    calls = 0

    def clock() -> float:
        nonlocal calls
        calls += 1
        return 1.0 if calls <= good_calls else _fail()

    for which in ("monotonic", "wall"):
        calls = 0
        log = process_log(tmp_path, Lines())
        setattr(log, which, clock)
        assert _served(app, log) == _bare(app)


@pytest.mark.parametrize(
    ("holder", "name", "known"),
    [
        (EventStream, "feed", {"outcome"}),
        (EventStream, "close", {"outcome"}),
        (TIMINGS, "take", {"outcome", "stream"}),
        (serve.access_line, "decide", set()),
        (serve.identity, "template_of", set()),
    ],
)
def test_a_line_is_written_all_the_same_with_what_is_left(
    holder: object, name: str, known: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder, name, _fail)
    line = serve_once(STREAM, process_log(tmp_path, Lines())).line
    required = {"time", "id", "method", "path", "status", "prompt_tokens", "completion_tokens", "duration_ms"}
    assert required | known <= set(line)
    assert line["status"] == 200


def test_a_failure_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serve.access_line, "decide", _fail)
    log = process_log(tmp_path, Lines())
    for _ in range(5):
        serve_once(JSON, log)
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def test_a_constructor_that_fails_serves_without_a_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serve.access_log, "read_settings", _fail)
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def nothing() -> Any:
        raise AssertionError

    asyncio.run(AccessLogMiddleware(JSON)(http_scope(), nothing, send))
    assert len(sent) == 3
    assert "no access log" in caplog.text


@pytest.mark.parametrize("name", ["start", "started", "_put_server_line", "_make_writer"])
def test_a_lifespan_goes_on_when_the_log_cannot(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message: Any) -> None:
        told.append(message["type"])

    log = process_log(tmp_path, None)
    monkeypatch.setattr(log, name, _fail)
    asyncio.run(AccessLogMiddleware(app, log=log)({"type": "lifespan"}, asyncio.Event().wait, send))  # type: ignore[arg-type]
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_odd_messages_pass_as_they_are(tmp_path: Path) -> None:
    odd: list[Any] = [
        {"type": "http.response.start", "status": "200", "headers": None},
        {"type": "http.response.debug", "info": {}},
        {"no": "type"},
        {"type": "http.response.body", "body": None},
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in odd:
            await send(message)

    served = serve_once(app, process_log(tmp_path, Lines()))
    assert served.sent[1:] == odd[1:]
    assert served.sent[0]["status"] == "200"


@pytest.mark.parametrize("odd", [{"headers": None}, {"client": 7}, {"path": None}, {"state": 7}, {"root_path": None}])
def test_an_odd_scope_is_served(odd: dict[str, Any], tmp_path: Path) -> None:
    served = serve_once(JSON, process_log(tmp_path, Lines()), http_scope() | odd)
    assert served.body == b'{"id":"chatcmpl-1","choices":[{"index":0,"message":{"content":"Hi"}}]}'
    assert served.raised is None
