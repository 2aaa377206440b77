"""The ASGI middleware that writes one access line per request, and never gets in the way of one."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from serve.exchange import Message, Receive, Scope, Send
from serve.process_log import ProcessLog, process_uptime_s
from serve.settings import read_settings

App = Callable[[Any, Any, Any], Awaitable[Any]]

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
        exchange = log.begin(scope, receive, send) if log is not None and kind == "http" else None
        if log is None or exchange is None:
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, exchange.receive, exchange.send)
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
