"""`/healthz` and `/readyz`: is it alive, is it ready, how far is each consumer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from logproc.consumer import Standing

MOST_TOLD: Final = 20
"""So many files that cannot be read are named."""


def health_routes(progress: Callable[[], Mapping[str, Standing]]) -> list[Route]:
    """The two pages."""

    def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    def readyz(_: Request) -> Response:
        found = readiness(progress())
        return JSONResponse(found, status_code=503 if found["status"] == "not ready" else 200)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def readiness(standing: Mapping[str, Standing]) -> dict[str, Any]:
    """`status` is "ready", "degraded" (only the store waits, or a log cannot be read) or "not ready"; and how far each
    consumer is.
    """
    needed = [standing[name] for name in ("measure", "notify") if name in standing]
    if any(not each.has_caught_up or each.problem for each in needed):
        status = "not ready"
    else:
        status = "degraded" if any(each.problem or each.unreadable for each in standing.values()) else "ready"
    consumers = {
        name: {
            "lag_bytes": each.lag_bytes,
            "lag_seconds": round(each.lag_seconds, 3),
            "problem": each.problem,
            "unreadable": dict(islice(each.unreadable.items(), MOST_TOLD)),
        }
        for name, each in standing.items()
    }
    return {"status": status, "consumers": consumers}
