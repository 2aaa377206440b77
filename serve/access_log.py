"""The ASGI middleware that writes one access line per request, and never gets in the way of one."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from serve.exchange import Exchange, Message, Scope, excluded
from serve.process_log import ProcessLog, process_uptime_s
from serve.settings import read_settings

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[Any]]

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
_BODIES: Final = (_BODY, "http.response.pathsend", "http.response.zerocopysend")

_LOG: Final = logging.getLogger("logproc.serve")


class AccessLogMiddleware:
    """Writes the access log of an ASGI app: `vllm serve … --middleware serve.AccessLogMiddleware`.

    It looks at what passes between the server and the app: it never receives by itself, never changes or holds back
    a body, and adds nothing but an X-Request-Id where there is none. Settings come from the environment. A failure of
    its own is said once through `logging`; the request is served as if it were not there.

    Args:
        app: the ASGI application.
        log: the log of this process, made from the environment unless given.
    """

    def __init__(self, app: App, *, log: ProcessLog | None = None) -> None:
        self.app = app
        self._log: ProcessLog | None = None
        try:
            self._log = log if log is not None else ProcessLog(read_settings(os.environ))
        except Exception:  # raised here, it would turn every request into a 500
            _LOG.exception("no access log is written")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        log = self._log
        if log is not None:
            if scope["type"] == "http":
                exchange = _begin(log, scope)
                if exchange is not None:
                    await self._serve(log, exchange, receive, send)
                    return
            elif scope["type"] == "lifespan":
                await self._live(log, scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _serve(self, log: ProcessLog, exchange: Exchange, receive: Receive, send: Send) -> None:
        monotonic = log.monotonic
        feed: Callable[[bytes, float], None] | None = None

        async def receive_noted() -> Message:
            nonlocal feed
            message = await receive()
            if message.get("type") == "http.disconnect" and exchange.final_at is None:
                exchange.left = True
                feed = None  # what is sent now reaches nobody
            return message

        async def send_noted(message: Message) -> None:
            nonlocal feed
            final = False
            try:
                if feed is not None and message["type"] == _BODY and message.get("more_body"):
                    feed(message.get("body", b""), monotonic())
                elif message["type"] == _START:
                    message = exchange.start(message)
                    feed = None if exchange.reader is None else exchange.reader.feed
                elif message["type"] in _BODIES and not message.get("more_body"):
                    final = True
                    if feed is not None and (body := message.get("body")):
                        feed(body, monotonic())
                    if exchange.final_at is None:
                        exchange.final_at = monotonic()  # from here on a client that leaves has its answer
            except Exception:
                feed = exchange.reader = None
                log.complain("a response")
            try:
                await send(message)
            except OSError:  # how a server says that the client is gone, since version 2.4 of the HTTP spec
                if not exchange.written:
                    exchange.left = True
                raise
            if final and not exchange.written:
                try:
                    exchange.final_at = monotonic()
                except Exception:
                    log.complain("the clock")
                log.finish(exchange)

        try:
            await self.app(exchange.scope, receive_noted, send_noted)
        except BaseException as error:
            exchange.raised = type(error).__name__
            raise
        finally:
            log.finish(exchange)

    async def _live(self, log: ProcessLog, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_noted(message: Message) -> None:
            kind = message.get("type")
            if kind == "lifespan.startup.complete":
                try:
                    log.start()
                    log.started(scope.get("app"), process_uptime_s())
                except Exception:
                    log.complain("the start")
            elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                log.stop("shutdown")
            await send(message)

        await self.app(scope, receive, send_noted)


def _begin(log: ProcessLog, scope: Scope) -> Exchange | None:
    """The exchange of a request that gets a line; None for the others, and when the log cannot be kept."""
    try:
        if excluded(scope) and not log.settings.log_all:
            return None
        return log.begin(scope)
    except Exception:
        log.complain("the start of a request")
        return None
