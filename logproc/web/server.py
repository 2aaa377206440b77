"""The HTTP server, in a thread of its own: `/metrics`, `/healthz`, `/readyz`, and the routes of other modules."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from logproc.consumer import Standing
from logproc.measure.exposition import OPENMETRICS, TEXT
from logproc.settings import Http
from logproc.web import stream
from logproc.web.door import Door, door_routes
from logproc.web.health import health_routes
from logproc.web.limits import Limits, protocol
from logproc.web.metrics_page import MetricsPage
from logproc.web.page import Assets, page_routes
from logproc.web.session import Sessions


class ListenError(Exception):
    """The address cannot be listened on, or the token or certificates cannot be read."""


def application(
    metrics_page: MetricsPage,
    progress: Callable[[], Mapping[str, Standing]],
    token: str | None,
    more: Sequence[Route] = (),
) -> Starlette:
    """The ASGI application; `more` are the routes of other modules.

    With a token everything but health and the empty page needs it, see `Door`.
    """

    def metrics(request: Request) -> Response:
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        return Response(metrics_page.render(openmetrics=openmetrics), media_type=OPENMETRICS if openmetrics else TEXT)

    sessions = None if token is None else Sessions(token)
    return Starlette(
        routes=[
            *page_routes(Assets()),
            *door_routes(sessions),
            Route("/metrics", metrics),
            *health_routes(progress),
            *more,
        ],
        middleware=[
            Middleware(Door, sessions=sessions),
            Middleware(_Gzip, minimum_size=1024, compresslevel=3),
        ],
    )


class _Gzip(GZipMiddleware):
    """Packs what is worth it; a stream is never held back for that."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        packs = scope["type"] == "http" and scope["path"] != stream.PATH
        await (super().__call__ if packs else self.app)(scope, receive, send)


class WebServer:
    """Serves an application until it is stopped. `address` is where it really listens (a port 0 was given one).

    Raises:
        ListenError: the address is in use or not ours, or the certificates are no good, with what to do.
    """

    def __init__(self, app: Starlette, http: Http, limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
        config = uvicorn.Config(
            app,
            http=protocol(limits),
            ws="none",
            server_header=False,
            log_config=None,
            access_log=False,
            lifespan="off",
            ssl_certfile=http.tls_cert,
            ssl_keyfile=http.tls_key,
            timeout_graceful_shutdown=2,
        )
        try:
            config.load()  # later, in its own thread, nobody would hear of a bad certificate
        except OSError as error:
            raise ListenError(
                f"cannot use http.tls_cert {http.tls_cert} with http.tls_key {http.tls_key}: {error}"
            ) from error
        family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
        try:
            self._socket = _bound(family, http.host, http.port)
        except OSError as error:
            raise ListenError(
                f"cannot listen on {http.host}:{http.port}: {error.strerror}. "
                "Set http.listen in the settings, or METRICS_PORT in the environment."
            ) from error
        host, port = self._socket.getsockname()[:2]
        self.address = (
            f"http{'s' if http.tls_cert else ''}://{f'[{host}]' if family == socket.AF_INET6 else host}:{port}"
        )
        self._server = _QuietServer(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="web", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)

    def stop(self) -> None:
        """Finish the answers under way, then close."""
        self._server.ask_to_exit()
        self._thread.join(5)


class _QuietServer(uvicorn.Server):
    """uvicorn, which looks ten times a second whether it should exit; here it is told, and wakes once a second."""

    _loop: asyncio.AbstractEventLoop | None = None

    def ask_to_exit(self) -> None:
        """Make it end. From any thread."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._asked.set)

    async def main_loop(self) -> None:
        """Keep the `date` header true until it is told to exit."""
        self._asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), 1.0)


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def read_token(http: Http) -> str | None:
    """The bearer token from its file, None when there is none. Raises ListenError when it cannot be read."""
    if http.token_file is None:
        return None
    try:
        token = Path(http.token_file).read_text("utf-8").strip()
    except OSError as error:
        raise ListenError(f"cannot read http.token_file {http.token_file}: {error.strerror}") from error
    if not token:
        raise ListenError(f"http.token_file {http.token_file} is empty")
    return token
