"""`/api/v1/alerts`, one of them, its `ack`, `/api/v1/silences`: what is wrong, who sees to it, what is not told."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, get_args

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from logproc.alerts.alert import KINDS, State
from logproc.notify import subjects
from logproc.notify.deliveries import Deliveries
from logproc.notify.history import Wanted, alerts, life
from logproc.notify.plan import Silence
from logproc.question import UsageError, moment_ms, span_ms
from logproc.stores.documents import time_text

LONGEST_SILENCE_MS: Final = 30 * 86_400_000
LONGEST_TEXT: Final = 500
LONGEST_BODY: Final = 16 * 1024
MOST_ITEMS: Final = 500

Answer = Callable[[Request], Awaitable[Response]]


class _BadRequestError(Exception):
    """What was asked for cannot be done; the message says why."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


def alerts_routes(
    measure_db: Path, deliveries: Deliveries, clock: Callable[[], int], changed: Callable[[], None]
) -> list[Route]:
    """The pages. `clock` is the wall clock, ms since 1970; `changed` is called when there is something to plan anew."""

    def list_alerts(request: Request) -> Response:
        now = clock()
        parameters = request.query_params
        if unknown := set(parameters) - {"from", "to", "kind", "model", "state", "limit", "cursor"}:
            raise _BadRequestError(f"unknown parameter {min(unknown)!r}", min(unknown))
        wanted = Wanted(
            since_ms=_moment(parameters.get("from"), now, "from"),
            until_ms=_moment(parameters.get("to"), now, "to"),
            kinds=_one_of(parameters.getlist("kind"), KINDS, "kind"),
            models=parameters.getlist("model"),
            states=_one_of(parameters.getlist("state"), get_args(State), "state"),
        )
        limit = _number(parameters.get("limit", "50"), "limit", MOST_ITEMS)
        cursor = parameters.get("cursor")
        before = None if cursor is None else _number(cursor, "cursor", 1 << 62)
        items, further = alerts(measure_db, deliveries, wanted, now, limit=limit, before=before)
        return JSONResponse({"items": items, "next": None if further is None else str(further)})

    def one_alert(request: Request) -> Response:
        found = life(measure_db, deliveries, request.path_params["id"], clock())
        return JSONResponse({"error": "there is no alert of this id"}, 404) if found is None else JSONResponse(found)

    def list_silences(_: Request) -> Response:
        with deliveries.reading() as connection:
            silences = subjects.silences(connection, clock())
        return JSONResponse({"items": [_silence(each) for each in silences], "next": None})

    def end_silence(request: Request) -> Response:
        with deliveries.writing() as connection:
            ended = subjects.end_silence(connection, request.path_params["id"], clock())
        changed()
        return Response(status_code=204) if ended else JSONResponse({"error": "no such silence is in force"}, 404)

    def begin_silence(_: Request, body: dict[str, Any]) -> Response:
        now = clock()
        _check_keys(body, {"kind", "model", "for", "until", "by", "comment"})
        kind = _text(body, "kind")
        if kind not in KINDS:
            raise _BadRequestError(f"`kind`: expected one of {', '.join(KINDS)}", "kind")
        model = _text(body, "model") or None
        until = _until(body, now)
        with deliveries.writing() as connection:
            made = subjects.silence(connection, kind, model, until, _text(body, "by"), _text(body, "comment"), now)
        return JSONResponse(_silence(made), 201)

    def acknowledge(request: Request, body: dict[str, Any]) -> Response:
        now = clock()
        _check_keys(body, {"by"})
        alert_id, by = request.path_params["id"], _text(body, "by")
        with deliveries.writing() as connection:
            alert = subjects.acknowledge(connection, alert_id, by, now)
        if alert is None:
            return JSONResponse({"error": "no alert of this id fires"}, 404)
        return JSONResponse({"id": alert.id, "by": by, "severity": alert.severity, "time": time_text(now)})

    return [
        Route("/api/v1/alerts", _plain(list_alerts), methods=["GET"]),
        Route("/api/v1/alerts/{id}", _plain(one_alert), methods=["GET"]),
        Route("/api/v1/alerts/{id}/ack", _with_body(acknowledge), methods=["POST"]),
        Route("/api/v1/silences", _plain(list_silences), methods=["GET"]),
        Route("/api/v1/silences", _with_body(begin_silence), methods=["POST"]),
        Route("/api/v1/silences/{id}", _plain(end_silence), methods=["DELETE"]),
    ]


def _plain(page: Callable[[Request], Response]) -> Answer:
    async def answer(request: Request) -> Response:
        return await run_in_threadpool(_or_error, lambda: page(request))

    return answer


def _with_body(page: Callable[[Request, dict[str, Any]], Response]) -> Answer:
    async def answer(request: Request) -> Response:
        # A form of a foreign web page cannot have this type, so no page that a browser visits can post here.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return JSONResponse({"error": "expected Content-Type: application/json"}, 415)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_BODY:
                return JSONResponse({"error": f"longer than {LONGEST_BODY} bytes"}, 413)
        return await run_in_threadpool(_or_error, lambda: page(request, _object(bytes(body))))

    return answer


def _or_error(page: Callable[[], Response]) -> Response:
    try:
        return page()
    except _BadRequestError as error:
        return JSONResponse({"error": str(error), "parameter": error.parameter}, 400)
    except sqlite3.Error as error:
        return JSONResponse({"error": f"a database cannot be read or written now: {error}"}, 503)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise _BadRequestError("the body is no JSON") from None
    if not isinstance(value, dict):
        raise _BadRequestError("the body is no JSON object")
    return value


def _check_keys(body: dict[str, Any], known: set[str]) -> None:
    if unknown := body.keys() - known:
        raise _BadRequestError(f"unknown key {min(unknown)!r}; known: {', '.join(sorted(known))}")


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise _BadRequestError(f"`{key}`: expected a text of at most {LONGEST_TEXT} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _BadRequestError(f"`{key}`: half a character (a lone surrogate)") from None
    return value


def _until(body: dict[str, Any], now: int) -> int:
    span, until = _text(body, "for"), _text(body, "until")
    if bool(span) == bool(until):
        raise _BadRequestError("one of `for` (such as 2h) and `until` (a time) is needed")
    try:
        end = now + round(span_ms(span, "`for`")) if span else moment_ms(until, now, "`until`")
    except UsageError as error:
        raise _BadRequestError(str(error)) from None
    if not now < end <= now + LONGEST_SILENCE_MS:
        raise _BadRequestError("a silence ends in the future, at most 30 days from now")
    return end


def _moment(text: str | None, now: int, name: str) -> int | None:
    try:
        return None if text is None else moment_ms(text, now, f"`{name}`")
    except UsageError as error:
        raise _BadRequestError(str(error), name) from None


def _one_of(values: Collection[str], known: Collection[str], name: str) -> Collection[str]:
    for value in values:
        if value not in known:
            raise _BadRequestError(f"`{name}`: expected one of {', '.join(known)}", name)
    return values


def _number(text: str, name: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 1 <= int(text) <= most:
        raise _BadRequestError(f"`{name}`: expected a number from 1 to {most}", name)
    return int(text)


def _silence(silence: Silence) -> dict[str, Any]:
    told = asdict(silence)
    told["until"], told["created"] = time_text(told.pop("until_ms")), time_text(told.pop("created_ms"))
    return told
