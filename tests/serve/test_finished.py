"""Between the end of a request and its line little is kept, and nothing changes; another thread makes the line."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.pretty import pretty_repr

from serve import process_log as process_log_module
from serve.access_line import AccessLine, Line
from serve.finished import Finished
from serve.log_writer import MOST_UNMADE, LogWriter
from serve.response import BUNDLE, MOST_UNREAD
from serve.timings import Timings, TimingsTable
from tests.serve.doubles import Clock, Lines, answering, http_scope, process_log, serve_once, streaming
from tests.serve.test_log_writer import eventually

ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","choices":[{"message":{"content":"%b"},"finish_reason":"stop"}]}'
)


class Late(Lines):
    """A writer that makes no line before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def put(self, line: Line | Finished) -> None:
        self.kept.append(line)

    @property
    def finished(self) -> list[Finished]:
        return [each for each in self.kept if isinstance(each, Finished)]

    def make(self) -> list[dict[str, Any]]:
        for each in self.kept:
            super().put(each)
        return self.requests


def test_the_line_tells_what_was_so_when_the_request_ended(tmp_path: Path) -> None:
    late, clock = Late(), Clock(1.0)
    scope = http_scope(headers={"user-agent": "curl", "x-request-id": "mine"})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.now = 1.5
        await answering(ANSWER % b"Hi", path="/v1/chat/completions")(scope, receive, send)

    serve_once(app, process_log(tmp_path, late, clock), scope)
    scope["headers"].clear()
    scope.update(path="/else", method="PUT", client=None, route=None, state={})
    clock.now = 99.0
    (line,) = late.make()
    assert (line["path"], line["method"], line["client"]) == ("/v1/chat/completions", "POST", "127.0.0.1")
    assert (line["user_agent"], line["request_id"], line["duration_ms"]) == ("curl", "mine", 500.0)
    assert line["time"] == "2023-11-14T22:13:21.500Z"


def test_two_requests_of_one_id_have_each_what_the_engine_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, late, clock = TimingsTable(), Late(), Clock()
    monkeypatch.setattr(process_log_module, "TIMINGS", table)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.now += 1.0
        noted = SimpleNamespace(request_id="chatcmpl-1", final_usage_info=None)
        await answering(ANSWER % b"Hi", state=noted)(scope, receive, send)

    log = process_log(tmp_path, late, clock)
    for queue_ms in (1.0, 2.0):
        table.put("chatcmpl-1", Timings(queue_ms=queue_ms))
        serve_once(app, log)
    assert [line["queue_ms"] for line in late.make()] == [1.0, 2.0]


def test_a_large_response_is_read_where_it_ends(tmp_path: Path) -> None:
    late = Late()
    log = process_log(tmp_path, late)
    for size in (10, MOST_UNREAD):
        serve_once(answering(ANSWER % (b"x" * size)), log)
        serve_once(answering((ANSWER % (b"x" * size))[:20], (ANSWER % (b"x" * size))[20:]), log)
        serve_once(streaming(*[b"data: " + ANSWER % (b"x" * 200) + b"\n\n"] * (3 + size // 250)), log)
    unread = [sum(map(len, each.response.bodies)) for each in late.finished if each.response is not None]
    assert [size > 0 for size in unread] == [True] * 3 + [False] * 3
    assert max(unread) <= MOST_UNREAD
    assert [line["outcome"] for line in late.make()] == ["ok"] * 6


def test_what_waits_does_not_show_keys_or_texts_to_those_who_print_it(tmp_path: Path) -> None:
    late = Late()
    scope = http_scope(headers={"authorization": "Bearer sk-marker"})
    serve_once(answering(ANSWER % b"text-marker"), process_log(tmp_path, late), scope)
    (finished,) = late.finished
    shown = "".join(map(repr, (finished, finished.response))) + pretty_repr(finished) + pretty_repr(finished.response)
    assert "marker" not in shown
    assert b"text-marker" in b"".join(finished.response.bodies if finished.response else [])


def test_a_buffer_that_the_app_uses_again_is_read_before_it_has_it_back(tmp_path: Path) -> None:
    late = Late()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        buffer = bytearray(ANSWER % b"Hi")
        await answering(buffer)(scope, receive, send)  # type: ignore[arg-type]
        buffer[:] = bytes(len(buffer))

    serve_once(app, process_log(tmp_path, late))
    assert late.make()[0]["response_id"] == "chatcmpl-1"


def test_a_body_of_another_type_costs_no_line(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": 5})

    assert serve_once(app, process_log(tmp_path, Lines())).line["status"] == 200


TOOL = b'data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"f"}}\n\n'
CHUNK = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'


def test_what_was_read_before_a_part_that_cannot_be_read_counts_once(tmp_path: Path) -> None:
    odd: Any = memoryview(b"data: {}")
    served = serve_once(streaming(TOOL, odd, *[CHUNK] * (2 * BUNDLE)), process_log(tmp_path, Lines()))
    assert served.line["tool_calls"] == 1


def test_the_engines_words_are_taken_for_a_response_that_cannot_be_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, odd = TimingsTable(), memoryview(b"data: {}")
    monkeypatch.setattr(process_log_module, "TIMINGS", table)
    table.put("chatcmpl-1", Timings(preemptions=3))
    line = serve_once(streaming(CHUNK, odd), process_log(tmp_path, Lines())).line  # type: ignore[arg-type]
    assert (line["preemptions"], dict(table.waiting)) == (3, {})


def test_headers_that_can_be_read_once_reach_the_app_and_the_line(tmp_path: Path) -> None:
    scope = http_scope(headers={"user-agent": "curl"})
    served = serve_once(
        answering(ANSWER % b"Hi"), process_log(tmp_path, Lines()), scope | {"headers": iter(scope["headers"])}
    )
    assert served.scope["headers"][0] == (b"user-agent", b"curl")
    assert served.line["user_agent"] == "curl"


def test_a_log_made_before_a_fork_tells_the_process_in_which_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = process_log(tmp_path, Lines())
    monkeypatch.setattr(os, "getpid", lambda: 4242)
    assert serve_once(answering(ANSWER % b"Hi"), log).line["pid"] == 4242


# --- the writer ---


def _finished(number: int, made_in: list[str]) -> Finished:
    def make(_: Finished) -> AccessLine:
        made_in.append(threading.current_thread().name)
        if number < 0:
            raise ZeroDivisionError
        return AccessLine("t", str(number), "POST", "/", 200, None, None, 1.0)

    return Finished(make, 0, 0.0, 0.0, "POST", None, None, [], b"", 200, False, None, True, None)


def _ids(log: Path) -> list[str]:
    return [json.loads(line)["id"] for line in log.read_bytes().splitlines()] if log.exists() else []


def test_lines_are_made_in_the_writers_thread_and_stay_in_order(tmp_path: Path) -> None:
    log, made_in = tmp_path / "access.jsonl", list[str]()
    writer = LogWriter(str(log))
    for number in range(10):
        writer.put(_finished(number, made_in))
        writer.put({"id": f"server-{number}"})
    assert made_in == []
    writer.start()
    writer.close()
    assert _ids(log) == [each for number in range(10) for each in (str(number), f"server-{number}")]
    assert set(made_in) == {"logproc-log-writer"}


def test_a_request_whose_line_cannot_be_made_is_counted_and_costs_no_other_line(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    writer = LogWriter(str(log))
    for number in (1, -1, 2):
        writer.put(_finished(number, []))
    writer.start()
    writer.close()
    assert (_ids(log), writer.lost) == (["1", "2"], 1)


class _RaisingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("a handler of the server's own")


def test_a_log_handler_that_raises_does_not_end_the_log(tmp_path: Path) -> None:
    log, logger, handler = tmp_path / "access.jsonl", logging.getLogger("logproc.serve"), _RaisingHandler()
    writer = LogWriter(str(log))
    logger.addHandler(handler)
    try:
        writer.start()
        writer.put(_finished(-1, []))
        writer.put(_finished(1, []))
        writer.close()
    finally:
        logger.removeHandler(handler)
    assert (_ids(log), writer.lost) == (["1"], 1)


def test_a_writer_that_is_behind_keeps_lines_in_place_of_responses(tmp_path: Path) -> None:
    disk_answers, entered = threading.Event(), threading.Event()

    def hang(fd: int, data: bytes) -> int:
        entered.set()
        disk_answers.wait()
        return os.write(fd, data)

    log, made_in = tmp_path / "access.jsonl", list[str]()
    writer = LogWriter(str(log), write=hang)
    writer.start()
    writer.put(_finished(0, made_in))
    assert entered.wait(20)
    for number in range(1, MOST_UNMADE + 6):
        writer.put(_finished(number, made_in))
    assert made_in == ["logproc-log-writer"] + ["MainThread"] * 5
    writer.put(_finished(-1, made_in))
    assert writer.lost == 1
    disk_answers.set()
    eventually(lambda: _ids(log) == [str(number) for number in range(MOST_UNMADE + 6)])
    writer.close()
