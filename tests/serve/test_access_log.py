"""The middleware at its boundary: one true line a request, ids both ways, and a server that begins and ends."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.pretty import pretty_repr

from logproc.record import REQUEST_FIELDS, line_id_bytes
from serve import process_log as process_log_module
from serve.access_line import AccessLine
from serve.access_log import AccessLogMiddleware
from serve.settings import read_settings
from serve.timings import Timings, TimingsTable
from tests.serve.doubles import (
    EPOCH,
    Clock,
    Lines,
    QuietLog,
    answering,
    http_scope,
    process_log,
    route,
    serve_once,
    streaming,
)

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "tiny",
    "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}
ANSWER = json.dumps(CHAT).encode()
DISCONNECT = {"type": "http.disconnect"}
REQUEST = {"type": "http.request", "body": b"", "more_body": False}
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}


def _chunk(content: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "chatcmpl-1", "model": "tiny", "choices": [choice]}).encode() + b"\n\n"


def test_a_line_tells_when_who_and_what(tmp_path: Path) -> None:
    clock = Clock()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.now = 1.25
        await answering(ANSWER)(scope, receive, send)

    log = process_log(tmp_path, Lines(), clock, user_header=b"x-user")
    headers = {
        "x-request-id": "r-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "user-agent": "curl/8",
        "x-user": "u-7",
        "authorization": "Bearer sk-1",
    }
    line = serve_once(app, log, http_scope(headers=headers)).line
    assert line["time"] == "2023-11-14T22:13:21.250Z"
    assert line_id_bytes(line["id"], int((EPOCH + 1.25) * 1000)) is not None
    assert line["duration_ms"] == 1250.0
    assert (line["method"], line["path"], line["status"], line["outcome"]) == (
        "POST",
        "/v1/chat/completions",
        200,
        "ok",
    )
    assert (line["prompt_tokens"], line["completion_tokens"]) == (3, 2)
    assert (line["request_id"], line["response_id"]) == ("r-1", "chatcmpl-1")
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert (line["client"], line["user_id"], line["user_agent"]) == ("127.0.0.1", "u-7", "curl/8")
    assert re.fullmatch(r"[0-9a-f]{12}", line["api_key_id"])
    assert (line["service"], line["stream"], line["model"], line["operation"]) == ("vllm", False, "tiny", "chat")
    assert list(line) == [name for name in REQUEST_FIELDS if name in line]


def test_no_two_lines_have_the_same_id(tmp_path: Path) -> None:
    log = process_log(tmp_path, Lines())
    assert len({serve_once(answering(ANSWER), log).line["id"] for _ in range(50)}) == 50


# --- ids both ways ---


def test_a_safe_request_id_is_kept_and_answered(tmp_path: Path) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await answering(ANSWER)(scope, receive, send)

    scope = http_scope(headers={"x-request-id": "client-1", "accept": "*/*"})
    served = serve_once(app, process_log(tmp_path, Lines()), scope)
    assert seen == [(b"x-request-id", b"client-1"), (b"accept", b"*/*")]
    assert served.headers[b"x-request-id"] == b"client-1"


@pytest.mark.parametrize("given", [{}, {"x-request-id": "two words"}, {"x-request-id": "x" * 3000}])
def test_a_missing_or_odd_request_id_is_replaced_everywhere(given: dict[str, str], tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(value for name, value in scope["headers"] if name == b"x-request-id")
        await answering(ANSWER)(scope, receive, send)

    served = serve_once(app, process_log(tmp_path, Lines()), http_scope(headers=given))
    assert seen == [served.line["request_id"].encode()]
    assert served.headers[b"x-request-id"] == seen[0]
    assert re.fullmatch(rb"[0-9a-f]{32}", seen[0])


def test_an_app_that_answers_with_its_own_request_id_keeps_it(tmp_path: Path) -> None:
    app = answering(ANSWER, headers=[(b"X-Request-ID", b"its-own")])
    served = serve_once(app, process_log(tmp_path, Lines()))
    assert [value for name, value in served.sent[0]["headers"] if name.lower() == b"x-request-id"] == [b"its-own"]


def test_the_messages_of_the_app_are_not_changed_in_place(tmp_path: Path) -> None:
    headers = [(b"content-type", b"application/json")]
    start = {"type": "http.response.start", "status": 200, "headers": headers}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": ANSWER})

    for _ in range(2):
        serve_once(app, process_log(tmp_path, Lines()))
    assert headers == [(b"content-type", b"application/json")]
    assert start == {"type": "http.response.start", "status": 200, "headers": headers}


# --- how requests end ---


def test_a_client_that_leaves_before_the_first_byte_is_499_whatever_is_sent_after(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        await send(START)
        await send({"type": "http.response.body", "body": b"null"})

    line = serve_once(app, process_log(tmp_path, Lines()), received=[REQUEST, DISCONNECT]).line
    assert (line["status"], line["outcome"]) == (499, "client_disconnect")
    assert "stream" not in line
    assert "error_type" not in line


def test_a_client_that_leaves_in_mid_stream_keeps_the_status_it_was_sent(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = route("/v1/chat/completions")
        await receive()
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": _chunk("Hi"), "more_body": True})
        await receive()
        raise asyncio.CancelledError

    served = serve_once(app, process_log(tmp_path, Lines()), received=[REQUEST, DISCONNECT])
    assert (served.line["status"], served.line["outcome"]) == (200, "client_disconnect")
    assert served.line["response_id"] == "chatcmpl-1"
    assert isinstance(served.raised, asyncio.CancelledError)


def test_a_disconnect_behind_the_final_body_is_no_disconnect(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering(ANSWER)(scope, receive, send)
        await receive()
        await receive()

    assert serve_once(app, process_log(tmp_path, Lines()), received=[REQUEST, DISCONNECT]).line["outcome"] == "ok"


def test_a_disconnect_while_the_final_body_is_handed_over_is_no_disconnect(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        final = asyncio.create_task(send_all(scope, receive, send))
        await started.wait()
        await receive()
        handed_over.set()
        await final

    async def slow(message: Any) -> None:
        if message["type"] == "http.response.body":
            started.set()
            await handed_over.wait()

    started, handed_over = asyncio.Event(), asyncio.Event()
    send_all = answering(ANSWER)
    served = serve_once(app, process_log(tmp_path, Lines()), received=[REQUEST, DISCONNECT], send=slow)
    assert served.line["outcome"] == "ok"


@pytest.mark.parametrize("spec_version", ["2.3", "2.4", "2.10"])
def test_a_server_that_cannot_send_the_end_says_that_the_client_is_gone(spec_version: str, tmp_path: Path) -> None:
    async def refuse(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise ConnectionResetError

    scope = http_scope(asgi={"version": "3.0", "spec_version": spec_version})
    served = serve_once(answering(ANSWER), process_log(tmp_path, Lines()), scope, send=refuse)
    assert served.line["outcome"] == "client_disconnect"


@pytest.mark.parametrize("asgi", [None, {}, {"spec_version": None}, {"spec_version": 2.4}, "3.0", {"spec_version": ""}])
def test_a_server_that_says_odd_things_of_itself_is_served(asgi: Any, tmp_path: Path) -> None:
    log = process_log(tmp_path, Lines())
    served = serve_once(answering(ANSWER), log, http_scope(asgi=asgi))
    assert (served.body, served.line["outcome"], log.in_flight.count) == (ANSWER, "ok", 0)


def test_what_is_no_body_is_not_read_as_one(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "more_body": True})
        await send({"type": "x.custom", "body": b"not a body", "more_body": True})
        await send({"type": "http.response.body", "body": ANSWER})

    served = serve_once(app, process_log(tmp_path, Lines()))
    assert (served.line["status"], served.line["prompt_tokens"], served.line["outcome"]) == (200, 3, "ok")
    assert b"x-request-id" in served.headers


def test_an_answer_with_an_empty_id_has_none(tmp_path: Path) -> None:
    served = serve_once(answering(json.dumps(CHAT | {"id": ""}).encode()), process_log(tmp_path, Lines()))
    assert "response_id" not in served.line
    assert served.line["prompt_tokens"] == 3


def test_headers_of_another_type_are_passed_on(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers: list[Any] = [("content-type", "application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": iter(headers)})
        await send({"type": "http.response.body", "body": ANSWER})

    served = serve_once(app, process_log(tmp_path, Lines()))
    assert served.sent[0]["headers"] == [("content-type", "application/json")]
    assert served.line["status"] == 200


@pytest.mark.parametrize("sent_before", [0, 1, 2])
def test_a_server_that_refuses_to_send_says_that_the_client_is_gone(sent_before: int, tmp_path: Path) -> None:
    async def refuse(message: Any) -> None:
        nonlocal sent_before
        if sent_before == 0:
            raise OSError("gone")
        sent_before -= 1

    scope = http_scope(asgi={"version": "3.0", "spec_version": "2.4"})
    served = serve_once(streaming(_chunk("Hi")), process_log(tmp_path, Lines()), scope, send=refuse)
    assert isinstance(served.raised, OSError)
    assert served.line["outcome"] == "client_disconnect"


def test_an_exception_before_the_start_is_500_and_is_raised_on(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("what the user wrote")

    served = serve_once(app, process_log(tmp_path, Lines()))
    assert isinstance(served.raised, KeyError)
    assert (served.line["status"], served.line["outcome"]) == (500, "server_error")
    assert served.line["error_type"] == "KeyError"
    assert "wrote" not in json.dumps(served.line)


def test_an_exception_behind_the_final_body_changes_nothing(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering(ANSWER)(scope, receive, send)
        raise RuntimeError("a background task")

    served = serve_once(app, process_log(tmp_path, Lines()))
    assert isinstance(served.raised, RuntimeError)
    assert served.line["outcome"] == "ok"
    assert "error_type" not in served.line


def test_an_app_that_stops_in_the_middle_of_its_answer_failed(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": ANSWER[:9], "more_body": True})

    assert serve_once(app, process_log(tmp_path, Lines())).line["outcome"] == "stream_error"


def test_an_app_that_answers_nothing_failed(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    line = serve_once(app, process_log(tmp_path, Lines())).line
    assert (line["status"], line["outcome"]) == (500, "server_error")


def test_a_file_sent_in_place_of_a_body_is_complete(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": "/tmp/x"})

    assert serve_once(app, process_log(tmp_path, Lines()), http_scope("/x", "GET")).line["outcome"] == "ok"


def test_the_duration_ends_when_the_last_byte_was_handed_over(tmp_path: Path) -> None:
    clock = Clock()

    async def slow(message: Any) -> None:
        clock.now += 2.0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering(ANSWER)(scope, receive, send)
        clock.now += 100.0  # a background task

    assert serve_once(app, process_log(tmp_path, Lines(), clock), send=slow).line["duration_ms"] == 4000.0


# --- what is logged ---


@pytest.mark.parametrize("path", ["/health", "/ping", "/load", "/version", "/metrics"])
def test_what_monitors_ask_gets_no_line_unless_all_are_wanted(path: str, tmp_path: Path) -> None:
    served = serve_once(answering(b"{}"), process_log(tmp_path, Lines()), http_scope(path, "GET"))
    assert served.lines == []
    assert b"x-request-id" not in served.headers
    log = process_log(tmp_path, Lines(), log_all=True)
    assert serve_once(answering(b"{}", path=path), log, http_scope(path, "GET")).line["path"] == path


def test_a_preflight_gets_no_line(tmp_path: Path) -> None:
    assert serve_once(answering(b"OK"), process_log(tmp_path, Lines()), http_scope(method="OPTIONS")).lines == []


def test_a_health_check_below_a_root_path_gets_no_line(tmp_path: Path) -> None:
    scope = http_scope("/api/health", "GET", root_path="/api")
    assert serve_once(answering(b""), process_log(tmp_path, Lines()), scope).lines == []


def test_a_path_without_a_route_is_never_written(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "status": 404})
        await send({"type": "http.response.body", "body": b"{}"})

    served = serve_once(app, process_log(tmp_path, Lines()), http_scope("/secret/42", app=object()))
    assert served.line["path"] == "/__unmatched__"
    assert "operation" not in served.line


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/responses/resp_1", "GET"),
        ("/v1/responses/resp_1/cancel", "POST"),
        ("/v1/chat/completions/render", "POST"),
        ("/v1/chat/completions/derender", "POST"),
    ],
)
def test_an_answer_that_is_only_shown_again_has_no_usage(path: str, method: str, tmp_path: Path) -> None:
    served = serve_once(answering(ANSWER, path=path), process_log(tmp_path, Lines()), http_scope(path, method))
    assert (served.line["prompt_tokens"], served.line["completion_tokens"]) == (None, None)
    assert served.line["outcome"] == "ok"


def test_websockets_pass_untouched(tmp_path: Path) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([scope, receive, send])

    scope, receive, send = {"type": "websocket"}, object(), object()
    lines = Lines()
    asyncio.run(AccessLogMiddleware(app, log=process_log(tmp_path, lines))(scope, receive, send))  # type: ignore[arg-type]
    assert seen == [scope, receive, send]
    assert lines.lines == []


# --- where usage comes from ---


def _noted(prompt: Any, completion: Any, cached: Any = None) -> SimpleNamespace:
    details = None if cached is None else SimpleNamespace(cached_tokens=cached)
    usage = SimpleNamespace(prompt_tokens=prompt, completion_tokens=completion, prompt_tokens_details=details)
    return SimpleNamespace(request_id="chatcmpl-1", final_usage_info=usage)


def test_the_response_is_believed_before_the_server_and_the_server_before_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TimingsTable()
    monkeypatch.setattr(process_log_module, "TIMINGS", table)
    engine = Timings(prompt_tokens=30, completion_tokens=20, cached_tokens=10, finish_reason="length")
    bare = json.dumps({**CHAT, "usage": None}).encode()
    seen = []
    for body, state in (
        (ANSWER, _noted(31, 21, 11)),
        (bare, _noted(31, 21, 11)),
        (bare, _noted(31, None)),
        (bare, None),
    ):
        table.put("chatcmpl-1", engine)
        line = serve_once(answering(body, state=state), process_log(tmp_path, Lines())).line
        seen.append((line["prompt_tokens"], line["completion_tokens"], line["cached_tokens"]))
    assert seen == [(3, 2, 11), (31, 21, 11), (31, 20, 10), (30, 20, 10)]


@pytest.mark.parametrize(
    "state", [7, SimpleNamespace(), _noted("3", -1), SimpleNamespace(final_usage_info={"prompt_tokens": 5})]
)
def test_an_account_of_another_shape_is_ignored(state: Any, tmp_path: Path) -> None:
    bare = json.dumps({**CHAT, "usage": None}).encode()
    line = serve_once(answering(bare, state=state), process_log(tmp_path, Lines())).line
    assert (line["prompt_tokens"], line["completion_tokens"], line["outcome"]) == (None, None, "ok")


@pytest.mark.parametrize(
    ("timings", "times"),
    [
        (
            Timings(prefill_ms=10.0, decode_ms=10.0, tpot_ms=10.0),
            {"prefill_ms": 10.0, "decode_ms": 10.0, "tpot_ms": 10.0},
        ),
        (Timings(queue_ms=0.0, prefill_ms=1863.0, decode_ms=3.0), {"decode_ms": 3.0}),
        (Timings(queue_ms=11.0, prefill_ms=2.0), {"prefill_ms": 2.0}),
        (Timings(prefill_ms=2.0, decode_ms=11.0, tpot_ms=11.0), {"prefill_ms": 2.0}),
        (Timings(queue_ms=1.0), {"queue_ms": 1.0}),
    ],
)
def test_a_time_of_the_engine_that_cannot_be_true_is_left_out(
    timings: Timings, times: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, clock = TimingsTable(), Clock()
    monkeypatch.setattr(process_log_module, "TIMINGS", table)
    table.put("chatcmpl-1", timings)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.now = 0.01
        await answering(ANSWER)(scope, receive, send)

    line = serve_once(app, process_log(tmp_path, Lines(), clock)).line
    assert {name: line[name] for name in ("queue_ms", "prefill_ms", "decode_ms", "tpot_ms") if name in line} == times


def test_what_only_the_engine_knows_is_in_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = TimingsTable()
    monkeypatch.setattr(process_log_module, "TIMINGS", table)
    table.put("chatcmpl-1", Timings(preemptions=2, max_tokens=64, corrupted=True))
    line = serve_once(answering(ANSWER), process_log(tmp_path, Lines())).line
    assert (line["preemptions"], line["max_tokens"], line["corrupted"]) == (2, 64, True)


def test_reasoning_that_was_streamed_but_not_counted_has_no_number(tmp_path: Path) -> None:
    message = {"content": "Hi", "reasoning": "Hm"}
    usage = {"prompt_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 0}}
    body = {**CHAT, "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    line = serve_once(answering(json.dumps(body).encode()), process_log(tmp_path, Lines())).line
    assert "reasoning_tokens" not in line


# --- the server ---


def _live(middleware: Any, body: Any, scope: dict[str, Any] | None = None) -> list[str]:
    """Run a lifespan around `body`, as a server does; what the server was told."""
    told: list[str] = []

    async def main() -> None:
        to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        answered: asyncio.Queue[str] = asyncio.Queue()

        async def send(message: Any) -> None:
            told.append(message["type"])
            answered.put_nowait(message["type"])

        live = asyncio.create_task(middleware(scope or {"type": "lifespan", "state": {}}, to_app.get, send))
        to_app.put_nowait({"type": "lifespan.startup"})
        await answered.get()
        await body()
        to_app.put_nowait({"type": "lifespan.shutdown"})
        await answered.get()
        await live

    asyncio.run(main())
    return told


async def _alive(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def _nothing() -> None:
    pass


def test_a_server_tells_that_it_started_and_stopped(tmp_path: Path) -> None:
    lines = Lines()
    arguments = SimpleNamespace(served_model_name=["tiny", "alias"], model="/models/tiny")
    scope = {"type": "lifespan", "app": SimpleNamespace(state=SimpleNamespace(args=arguments))}
    told = _live(AccessLogMiddleware(_alive, log=process_log(tmp_path, lines, service="chat")), _nothing, scope)
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    (started,), (stopped,) = lines.events("server_started"), lines.events("server_stopped")
    assert started["model"] == "tiny"
    assert 0 < started["startup_s"] < 3600
    assert stopped["reason"] == "shutdown"
    assert started["service"] == stopped["service"] == "chat"
    assert lines.closed


def test_a_request_that_still_runs_at_the_shutdown_gets_its_line(tmp_path: Path) -> None:
    lines, running = Lines(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _alive(scope, receive, send)
            return
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": _chunk("Hi"), "more_body": True})
        await asyncio.Event().wait()

    middleware = AccessLogMiddleware(app, log=process_log(tmp_path, lines))

    async def begin_a_request() -> None:
        sent = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                sent.set()

        waiting: Any = asyncio.Event().wait
        running.append(asyncio.create_task(middleware(http_scope(), waiting, send)))
        await sent.wait()

    _live(middleware, begin_a_request)
    (line,) = lines.requests
    assert (line["status"], line["outcome"]) == (200, "stream_error")
    assert [line.get("event", "request") for line in lines.lines] == ["server_started", "request", "server_stopped"]


def test_without_a_lifespan_the_log_begins_with_the_first_request(tmp_path: Path) -> None:
    log = process_log(tmp_path, lines := Lines())
    serve_once(answering(ANSWER), log)
    serve_once(answering(ANSWER), log)
    assert [line.get("event", "request") for line in lines.lines] == ["server_started", "request", "request"]
    assert "startup_s" not in lines.lines[0]
    log.stop("exit")
    log.stop("exit")
    assert [line["reason"] for line in lines.events("server_stopped")] == ["exit"]


def test_a_monitor_that_asks_before_the_first_request_does_not_begin_the_log(tmp_path: Path) -> None:
    log = process_log(tmp_path, lines := Lines())
    serve_once(answering(ANSWER), log, http_scope("/health", "GET"))
    assert lines.lines == []
    log.stop("exit")
    serve_once(answering(ANSWER), log, http_scope("/health", "GET"))
    assert lines.lines == []


def test_what_the_app_is_given_does_not_show_the_headers_to_those_who_print_it(tmp_path: Path) -> None:
    shown = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shown.append(repr(receive) + repr(send) + pretty_repr(receive) + pretty_repr(send.__self__))
        await answering(ANSWER)(scope, receive, send)

    serve_once(app, process_log(tmp_path, Lines()), http_scope(headers={"authorization": "Bearer sk-marker"}))
    assert "sk-marker" not in shown[0]


def test_requests_are_counted_while_they_run(tmp_path: Path) -> None:
    log, counts = process_log(tmp_path, Lines()), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        counts.append(log.in_flight.count)
        raise RuntimeError

    serve_once(app, log)
    serve_once(app, log)
    assert counts == [1, 1]
    assert log.in_flight.count == 0


def test_the_line_has_the_fields_of_the_contract_in_their_order() -> None:
    assert AccessLine.__struct_fields__ == tuple(name for name in REQUEST_FIELDS if name != "event")


def test_a_client_is_told_apart_by_each_of_its_headers(tmp_path: Path) -> None:
    log = process_log(tmp_path, Lines(), user_header=b"x-user")
    seen = set()
    for name in ("x-user", "authorization", "x-api-key", "user-agent"):
        for value in ("Bearer one", "Bearer two"):
            for _ in range(2):
                line = serve_once(answering(ANSWER), log, http_scope(headers={name: value})).line
                seen.add((line.get("user_id"), line.get("api_key_id"), line.get("user_agent")))
    assert len(seen) == 8


def test_the_rust_front_end_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
    process_log(tmp_path, Lines()).start()
    assert "Rust front end" in caplog.text


def test_bad_settings_are_said_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key_file = str(tmp_path / "access.key")
    QuietLog(
        read_settings({"LOGPROC_ACCESS_LOG_KEEP": "many", "LOGPROC_HASH_KEY_FILE": key_file}), writer=Lines()
    ).start()
    assert "LOGPROC_ACCESS_LOG_KEEP" in caplog.text
