"""The ASGI middleware that writes one access line per request, and never gets in the way of one."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from serve.exchange import BUNDLE, SMALL, Message, Scope
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
        log, kind = self._log, scope["type"]
        if log is not None and kind == "lifespan":
            await self._live(log, scope, receive, send)
            return
        exchange = log.begin(scope) if log is not None and kind == "http" else None
        if log is None or exchange is None:
            await self.app(scope, receive, send)
            return
        monotonic, bodies, moments, is_read = log.monotonic, exchange.bodies, exchange.moments, False

        async def watched(message: Message) -> None:
            try:
                await send(message)
            except OSError:
                if not exchange.written:
                    exchange.left = True
                raise

        forward = watched if exchange.tells_by_error else send

        async def receive_noted() -> Message:
            nonlocal is_read
            message = await receive()
            if message.get("type") == "http.disconnect" and exchange.final_at is None:
                exchange.left = True
                is_read = False  # what is sent now reaches nobody
            return message

        def send_noted(message: Message) -> Awaitable[None]:
            """Not a coroutine of its own: for the chunk of a stream that would be half of the cost."""
            nonlocal is_read
            try:
                kind = message["type"]
                if kind == _BODY and message.get("more_body"):
                    if is_read and (body := message.get("body")):
                        bodies.append(body)
                        moments.append(monotonic())
                        if len(bodies) >= BUNDLE or len(body) > SMALL:
                            exchange.read()
                    return forward(message)
                if kind == _START:
                    headers = [*message.get("headers", ())]
                    message = {**message, "headers": headers}
                    exchange.start(message["status"], headers)
                    is_read = exchange.reader is not None
                elif kind in _BODIES and not message.get("more_body"):
                    return send_final(message)
            except Exception:
                is_read, exchange.reader = False, None
                log.complain("a response")
            return watched(message)

        async def send_final(message: Message) -> None:
            try:
                if is_read and (body := message.get("body")):
                    bodies.append(body)
                    moments.append(monotonic())
                if exchange.final_at is None:
                    exchange.final_at = monotonic()  # from here on a client that leaves has its answer
            except Exception:
                exchange.reader = None
                log.complain("a response")
            try:
                await send(message)
            except OSError:
                if not exchange.written:
                    exchange.left = True
                raise
            if not exchange.written:
                try:
                    exchange.final_at = monotonic()
                except Exception:
                    log.complain("the clock")
                log.finish(exchange)

        try:
            await self.app(scope, receive_noted, send_noted)
        except BaseException as error:
            exchange.raised = type(error).__name__
            raise
        finally:
            if not exchange.written:
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
