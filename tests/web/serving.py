"""The real HTTP server over routes of a test, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from logproc.settings import Http, Settings
from logproc.web.limits import Limits
from logproc.web.server import WebServer, application


class NoMetrics:
    """Stands in for the page of metrics."""

    def render(self, *, openmetrics: bool) -> str:
        return "up 1\n"


async def echo(request: Request) -> Response:
    """What was sent, as it came."""
    return JSONResponse({"method": request.method, "body": (await request.body()).decode()})


ECHO = Route("/api/v1/echo", echo, methods=["GET", "POST", "DELETE"])


@contextmanager
def serving(
    routes: Sequence[Route] = (ECHO,), token: str | None = None, limits: Limits | None = None, **http: Any
) -> Iterator[WebServer]:
    """A running server; `address` is where."""
    app = application(NoMetrics(), dict, token, routes)  # type: ignore[arg-type]
    server = WebServer(app, http_settings(**http), limits or Limits())
    server.start()
    try:
        yield server
    finally:
        server.stop()


def http_settings(**values: Any) -> Http:
    return Settings.model_validate({"logs": {"paths": ["-"]}, "http": {"listen": "127.0.0.1:0", **values}}).http


def connect(server: WebServer) -> socket.socket:
    """A bare connection, to send what no client library would."""
    host, port = server.address.partition("://")[2].rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def exchange(server: WebServer, sent: bytes) -> bytes:
    """Everything that is answered until the server closes."""
    with connect(server) as connection:
        connection.sendall(sent)
        answer = b""
        while more := connection.recv(65536):
            answer += more
        return answer
