"""`/healthz` and `/readyz`: is it alive, is it ready, how far is each consumer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from logproc.consumer import Standing


def health_routes(progress: Callable[[], Mapping[str, Standing]]) -> list[Route]:
    """The two pages."""

    def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    def readyz(_: Request) -> Response:
        found = readiness(progress())
        return JSONResponse(found, status_code=503 if found["status"] == "not ready" else 200)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def readiness(standing: Mapping[str, Standing]) -> dict[str, Any]:
    """`status` is "ready", "degraded" (only the store waits) or "not ready"; and how far each consumer is."""
    needed = [standing[name] for name in ("measure", "notify") if name in standing]
    if any(not each.has_caught_up or each.problem for each in needed):
        status = "not ready"
    else:
        status = "degraded" if any(each.problem for each in standing.values()) else "ready"
    consumers = {
        name: {"lag_bytes": each.lag_bytes, "lag_seconds": round(each.lag_seconds, 3), "problem": each.problem}
        for name, each in standing.items()
    }
    return {"status": status, "consumers": consumers}
