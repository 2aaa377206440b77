"""A proxy before Elasticsearch that harms the bulk requests that a test tells it to; all others pass.

It can ask for a login too, which the minimal build of Elasticsearch cannot.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

_UNKNOWN: Final = b'{"error":{"type":"security_exception","reason":"unable to authenticate user"},"status":401}'


class Answered(NamedTuple):
    """What the server answered."""

    status: int
    body: bytes


class Exchange(NamedTuple):
    """One bulk request: `body` as it came; `forward` sends this or another body on, and returns the answer."""

    body: bytes
    forward: Callable[[bytes], Answered]


class Cut(NamedTuple):
    """An answer that ends after so many bytes of its body."""

    answer: Answered
    bytes: int


class Reset(NamedTuple):
    """No answer: the connection is reset."""


Harm = Callable[[Exchange], Answered | Cut | Reset]


def passing(exchange: Exchange) -> Answered:
    """No harm."""
    return exchange.forward(exchange.body)


def reset_before(_: Exchange) -> Reset:
    """The server never sees it."""
    return Reset()


def reset_after(exchange: Exchange) -> Reset:
    """The server does all of it, and nobody hears of it."""
    exchange.forward(exchange.body)
    return Reset()


def cut_in_the_middle(exchange: Exchange) -> Cut:
    """The server does all of it; half the answer comes."""
    answer = exchange.forward(exchange.body)
    return Cut(answer, len(answer.body) // 2)


def shorter(exchange: Exchange) -> Answered:
    """The server does all of it; something on the way makes a shorter answer of it that is whole by its length."""
    answer = exchange.forward(exchange.body)
    return Answered(answer.status, answer.body[: len(answer.body) // 2])


def answering(status: int, body: bytes = b"") -> Harm:
    """The server never sees it; this is the answer."""
    return lambda _: Answered(status, body)


def every_other_busy(exchange: Exchange) -> Answered:
    """The server takes every other document, and has too much to do for the rest."""
    lines = exchange.body.split(b"\n")[:-1]
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    taken = b"".join(action + b"\n" + document + b"\n" for action, document in pairs[::2])
    answer = json.loads(exchange.forward(taken).body)
    busy = {"create": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue full"}}}
    items: list[Any] = []
    for item in answer["items"]:
        items += [item, busy]
    return Answered(200, json.dumps({"errors": True, "items": items[: len(pairs)]}).encode())


class ElasticsearchProxy:
    """Listens on a free port of 127.0.0.1. `harms` are used up one a bulk request; `always` is for all later ones.

    `login` is the header `Authorization` that every request must have.
    """

    def __init__(self, url: str) -> None:
        self.target: Final = urlsplit(url)
        self.harms: deque[Harm] = deque()
        self.always: Harm = passing
        self.login: str | None = None
        self.bulks = 0
        """How many bulk requests came."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.target.hostname or "", self.target.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass()

            def do_PUT(self) -> None:
                self._pass()

            def do_HEAD(self) -> None:
                self._pass()

            def do_POST(self) -> None:
                if "/_bulk" not in self.path or not self._may_pass():
                    self._pass()
                    return
                body = self._body()
                proxy.bulks += 1
                harm = proxy.harms.popleft() if proxy.harms else proxy.always
                try:
                    self._answer(harm(Exchange(body, self._forward)))
                except OSError:
                    self._reset()  # the server is away

            def _forward(self, body: bytes) -> Answered:
                headers = {name: self.headers[name] for name in ("Content-Type", "Accept") if name in self.headers}
                status, _, answer = proxy.forward("POST", self.path, headers, body)
                return Answered(status, answer)

            def _answer(self, result: Answered | Cut | Reset) -> None:
                if isinstance(result, Reset):
                    self._reset()
                    return
                answer = result.answer if isinstance(result, Cut) else result
                self.send_response(answer.status)
                self.send_header("X-Elastic-Product", "Elasticsearch")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body[: result.bytes] if isinstance(result, Cut) else answer.body)
                if isinstance(result, Cut):
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True

            def _reset(self) -> None:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def _may_pass(self) -> bool:
                return proxy.login is None or self.headers["Authorization"] == proxy.login

            def _pass(self) -> None:
                body = self._body()
                if not self._may_pass():
                    self._answer(Answered(401, _UNKNOWN))
                    return
                try:
                    status, headers, answer = proxy.forward(self.command, self.path, dict(self.headers), body)
                except OSError:
                    self._reset()
                    return
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
