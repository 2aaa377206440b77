"""`/relay/alertmanager/{route}`: takes Alertmanager's webhook, and answers 200 only when it is safely queued.

Alertmanager tries again after a 5xx, and gives up after any 4xx: so 400 is said only of what will never be a webhook.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from logproc import settings
from logproc.notify.deliveries import Deliveries
from logproc.notify.relay import LONGEST_BODY, NotAWebhookError, QueueFullError, enqueue, read_group

log = structlog.get_logger("logproc.web.relay")


def relay_routes(deliveries: Deliveries, routes: Mapping[str, settings.Route], clock: Callable[[], int]) -> list[Route]:
    """The relay. `routes` are those of the settings; `clock` is the wall clock, ms since 1970."""

    def queue(name: str, route: settings.Route, body: bytes) -> Response:
        try:
            queued = enqueue(deliveries, name, route, read_group(body), clock())
        except NotAWebhookError as error:
            return JSONResponse({"error": str(error)}, 400)
        except QueueFullError:
            return _not_now("too many notifications wait already: see logproc_notifications_waiting")
        except sqlite3.Error as error:
            return _not_now(f"notify.db cannot be written: {error}")
        return JSONResponse({"status": "queued" if queued else "duplicate"})

    async def relay(request: Request) -> Response:
        name = request.path_params["route"]
        route = routes.get(name)
        if route is None:
            known = ", ".join(sorted(routes)) or "there is none"
            return JSONResponse({"error": f"no route of this name in alerts.routes; known: {known}"}, 404)
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if body is None:
            return JSONResponse({"error": f"longer than {LONGEST_BODY} bytes: set max_alerts in Alertmanager"}, 413)
        return await run_in_threadpool(queue, name, route, body)

    return [Route("/relay/alertmanager/{route}", relay, methods=["POST"])]


async def _body(request: Request) -> bytes | None:
    """The body; None when it is too long. No more than that is ever kept."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            return None
    return bytes(body)


def _not_now(why: str) -> Response:
    log.warning("relay: not taken, Alertmanager will try again", why=why)
    return JSONResponse({"error": why}, 503)
