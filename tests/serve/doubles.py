"""Doubles around the middleware: a clock that is set, a writer that keeps lines, a server that calls an app once."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec

from serve.access_line import Line
from serve.access_log import AccessLogMiddleware
from serve.exchange import Message
from serve.finished import Finished
from serve.process_log import ProcessLog
from serve.settings import Settings

App = Callable[[Any, Any, Any], Coroutine[Any, Any, Any]]

EPOCH = 1_700_000_000.0


@dataclass
class Clock:
    """Seconds since the test began."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return EPOCH + self.now


@dataclass
class Lines:
    """A writer that keeps what it is given, as a reader of the log would see it."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    lost: int = 0
    closed: bool = False

    def start(self) -> None:
        pass

    def put(self, line: Line | Finished) -> None:
        if isinstance(line, Finished):
            line = line.line()
        self.lines.append(msgspec.json.decode(msgspec.json.encode(line)))

    def close(self, timeout_s: float = 5.0) -> None:
        self.closed = True

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "event" not in line]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") == name]


@dataclass
class Served:
    """What one request came to, as the client and the log saw it."""

    sent: list[Message]
    lines: list[dict[str, Any]]
    raised: BaseException | None
    scope: dict[str, Any]

    @property
    def line(self) -> dict[str, Any]:
        assert len(self.lines) == 1, self.lines
        return self.lines[0]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent if message["type"] == "http.response.body")

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(next(message["headers"] for message in self.sent if message["type"] == "http.response.start"))


class QuietLog(ProcessLog):
    """A log without heartbeats, which does not end with the test run."""

    def start(self) -> None:
        super().start()
        atexit.unregister(self.stop)

    def _start_heartbeat(self) -> None:
        pass


def process_log(tmp_path: Any, lines: Any, clock: Clock | None = None, **settings: Any) -> ProcessLog:
    """A log that writes into `lines`, with the secret of its key ids in `tmp_path`."""
    clock = clock or Clock()
    chosen = Settings(hash_key_file=str(tmp_path / "access.key"), **settings)
    return QuietLog(chosen, writer=lines, monotonic=clock.monotonic, wall=clock.wall)


def http_scope(path: str = "/v1/chat/completions", method: str = "POST", **more: Any) -> dict[str, Any]:
    """A scope such as uvicorn makes; header names and values may be given as text."""
    headers = [(name.encode(), value.encode()) for name, value in more.pop("headers", {}).items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": method,
        "path": path,
        "root_path": "",
        "client": ("127.0.0.1", 40000),
        "headers": headers,
        "state": {},
        **more,
    }


def route(path: str) -> SimpleNamespace:
    """What Starlette leaves in a scope for a matched route."""
    return SimpleNamespace(path=path, endpoint=object())


def serve_once(
    app: App,
    log: ProcessLog,
    scope: dict[str, Any] | None = None,
    received: Iterable[Message] = (),
    send: Callable[[Message], Awaitable[None]] | None = None,
) -> Served:
    """Call the app behind the middleware as a server does. Receiving more than was given waits for ever."""
    scope = http_scope() if scope is None else scope
    sent: list[Message] = []
    waiting = iter([*received, {"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        for message in waiting:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def keep(message: Message) -> None:
        if send is not None:
            await send(message)
        sent.append(message)

    raised: BaseException | None = None
    writer: Any = log._given_writer
    before = len(writer.requests)
    try:
        asyncio.run(AccessLogMiddleware(app, log=log)(scope, receive, keep))
    except BaseException as error:
        raised = error
    return Served(sent, writer.requests[before:], raised, scope)


def answering(
    *bodies: bytes,
    status: int = 200,
    content_type: str = "application/json",
    path: str = "/v1/chat/completions",
    headers: Iterable[tuple[bytes, bytes]] = (),
    state: Any = None,
) -> App:
    """An app that answers with these bodies, one message each."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = route(path)
        if state is not None:
            scope["state"]["request_metadata"] = state
        start = [(b"content-type", content_type.encode()), *headers]
        await send({"type": "http.response.start", "status": status, "headers": start})
        for body in bodies[:-1]:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": bodies[-1] if bodies else b""})

    return app


def streaming(*chunks: bytes, **more: Any) -> App:
    """An app that answers with an event stream of these chunks, ended as Starlette ends it."""
    return answering(*chunks, b"", content_type="text/event-stream; charset=utf-8", **more)
