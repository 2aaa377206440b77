"""`/api/v1/servers`, `/api/v1/about`, and what is streamed after a commit: how things are now."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from logproc import __version__
from logproc.alerts.record import newest
from logproc.consumer import Standing
from logproc.measure.measure import Measure
from logproc.measure.servers import FRESH_MS, MISSED_MS, Key, Server
from logproc.settings import Levels, Settings
from logproc.stores.documents import time_text

_LEVELS: Final = (
    "duration_s", "duration_p95_s", "ttft_s", "tokens_per_second", "stall_s", "error_ratio", "empty_ratio",
    "kv_cache_ratio", "gpu_memory_ratio",
)  # fmt: skip
MOST_SERVERS: Final = 200


def now_routes(
    settings: Settings, servers: Callable[[], Sequence[tuple[Key, Server]]], clock: Callable[[], int]
) -> list[Route]:
    """The pages. `servers` are those that `measure` knows; `clock` is the wall clock, ms since 1970."""

    async def about(_: Request) -> Response:
        return _json(about_document(settings))

    async def now(_: Request) -> Response:
        return _json({"items": server_documents(servers(), clock()), "next": None})

    return [Route("/api/v1/about", about, methods=["GET"]), Route("/api/v1/servers", now, methods=["GET"])]


def commit_facts(measure: Measure, standing: Mapping[str, Standing], now_ms: int) -> dict[str, Any]:
    """What is told after a commit; `alerts_seq` is null when that cannot be read just now."""
    alerts_seq = None
    with suppress(sqlite3.Error):
        alerts_seq = newest(measure.path)
    return {
        "at": time_text(now_ms),
        "lag_s": {name: round(each.lag_seconds, 3) for name, each in standing.items()},
        "lag_bytes": {name: each.lag_bytes for name, each in standing.items()},
        "requests": measure.requests(),
        "alerts_seq": alerts_seq,
    }


def about_document(settings: Settings) -> dict[str, Any]:
    """Version, store and the lowest level of each threshold (null: off); nothing that is secret."""
    thresholds = settings.thresholds
    levels: dict[str, Levels] = {name: getattr(thresholds, name) for name in _LEVELS}
    return {
        "version": __version__,
        "service": settings.service,
        "store": settings.store.kind,
        "needs_token": settings.http.token_file is not None,
        "thresholds": {name: each.lowest for name, each in levels.items()},
        "priced": bool(settings.prices),
        "decide": settings.alerts.decide,
    }


def server_documents(servers: Sequence[tuple[Key, Server]], now_ms: int) -> list[dict[str, Any]]:
    """The servers that were heard of within a day, the last heard of first; what is unknown is null, never 0.

    What a server said of its load is told while that is younger than 30 s.
    """
    heard = [item for item in servers if now_ms - item[1].heard_ms <= MISSED_MS]
    heard.sort(key=lambda item: (-item[1].heard_ms, item[0]))
    return [_document(host, pid, server, now_ms) for (host, pid), server in heard[:MOST_SERVERS]]


def _document(host: str, pid: str, server: Server, now_ms: int) -> dict[str, Any]:
    if server.stopped_ms and server.stopped_ms >= max(server.heartbeat_ms, server.started_ms):
        state = "stopped"
    else:
        state = "up" if now_ms - server.heard_ms <= FRESH_MS else "gone"
    beat = server.heartbeat if state == "up" and now_ms - server.heartbeat_ms <= FRESH_MS else None
    oldest_ms = None if beat is None else beat.oldest_in_flight_ms
    return {
        "host": host,
        "pid": pid,
        "model": server.model,
        "state": state,
        "started_at": time_text(server.started_ms) if server.started_ms else None,
        "seen_at": time_text(server.heard_ms),
        "startup_s": server.startup_s,
        "in_flight": None if beat is None else beat.in_flight,
        "oldest_s": None if oldest_ms is None else oldest_ms / 1000,
        "lines_lost": server.lines_lost,
        "engines": [] if beat is None else msgspec.to_builtins(beat.engines or []),
        "gpus": [] if beat is None else msgspec.to_builtins(beat.gpus or []),
    }


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
