"""`/api/v1/requests`, `summary`, `series`, `heatmap`: what `logproc query` finds, as JSON for programs.

Questions are answered in threads of their own, few at a time, so that neither `/metrics` nor health waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, cast, get_args

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from logproc.answers import cost_of, coverage_document, group_document, heat_document, step_document
from logproc.flags import Flagger
from logproc.question import UsageError, check_one_of
from logproc.settings import Price, Thresholds
from logproc.stores.archive import By, Group, HeatOf, Position, Question, Slowness
from logproc.stores.documents import time_text
from logproc.stores.original_line import original_line
from logproc.stores.points import PlottedArchive
from logproc.stores.store import StoreUnavailableError
from logproc.tailing.containers import Format
from logproc.web.api_cursor import Cursor, written
from logproc.web.api_parameters import FILTERS, PAGE, RANGE, Parameters
from logproc.web.why_api import scatter_page, usual_of

LONGEST_S: Final = 30.0
"""A question that takes longer is given up."""
AT_ONCE: Final = 2
"""Questions that are answered at the same time; others wait. More would only take each other's turns: all of them, also
the quick ones, would be answered when the last one is."""
MOST_STEPS: Final = 1500
USUAL_STEPS: Final = 300
HEAT_STEPS: Final = 100
SECOND_MS: Final = 1000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
SHORT_STEPS_MS: Final = tuple(seconds * SECOND_MS for seconds in (1, 2, 5, 10, 15, 30))
"""Steps that are counted from the documents each time: only of a range of an hour at most."""
STEPS_MS: Final = tuple(minutes * MINUTE_MS for minutes in (1, 5, 10, 15, 30, 60, 180, 360, 720, 1440, 10080))
_LATELY: Final = "1h"

Page = Callable[[Request], Any]


class _NotFoundError(Exception):
    """There is no such thing; the message says what."""


def api_routes(
    archive: PlottedArchive,
    wrapped: Format | None,
    clock: Callable[[], int],
    thresholds: Thresholds | None = None,
    prices: Mapping[str, Price] = MappingProxyType({}),
) -> list[Route]:
    """The pages over one archive. `wrapped` is `logs.format`; `clock` is the wall clock, ms since 1970.

    By the `thresholds` (None: the usual ones) it is told what is usual for the size of a request, by the `prices` of
    models what requests cost.
    """
    flagger = Flagger(thresholds or Thresholds())

    def requests(request: Request) -> dict[str, Any]:
        given = Parameters(request, {*RANGE, *FILTERS, *PAGE, "sort"})
        question, cursor = given.question(clock())
        limit, sort = given.number("limit", 50, 1000), given.one("sort") or "time"
        check_one_of(sort, ("time", "duration"), "sort")
        if sort == "duration":
            slower = None if cursor is None else Slowness(cursor.duration_ns, cursor.time_ms, cursor.id)
            found = archive.slowest(question, limit=limit + 1, after=slower)
        else:
            newer = None if cursor is None else Position(cursor.time_ms, cursor.id)
            found = list(archive.find(question, limit=limit + 1, after=newer))
        further = None
        if len(found) > limit:
            last, duration = found[limit - 1].position, found[limit - 1].document.get("event.duration") or 0
            further = Cursor(
                given.digest, question.since_ms, question.until_ms, last.time_ms, last.id, duration_ns=duration
            )
        return {"items": [each.document for each in found[:limit]], "next": further and written(further)}

    def one_request(request: Request) -> dict[str, Any]:
        Parameters(request, set())
        event_id = request.path_params["id"]
        for found in archive.find(Question(ids=(event_id,))):
            if found.document["event.id"] == event_id:
                line = original_line(found.document, wrapped, clock())
                bounds = usual_of(found.document, flagger)._asdict()
                return {"document": found.document, "line": line.text, "line_source": line.source, "usual": bounds}
        raise _NotFoundError("no request has this event.id")

    def priced(by: str | None, group: Group) -> dict[str, Any]:
        return {**group_document(by, group), "cost": cost_of(group, prices)}

    def summary(request: Request) -> dict[str, Any]:
        given = Parameters(request, {*RANGE, *FILTERS, *PAGE, "by"})
        question, cursor = given.question(clock(), lately=_LATELY)
        by, limit = given.one("by"), given.number("limit", 100, 1000)
        if by is not None:
            check_one_of(by, get_args(By), "by")
        found = archive.summarize(question, cast(By | None, by), exact=False)
        place = 0 if cursor is None else cursor.place
        further = None
        if len(found.groups) > place + limit:
            further = Cursor(given.digest, question.since_ms, question.until_ms, place=place + limit)
        return {
            **_range(question),
            "by": by,
            "total": found.total and priced(None, found.total),
            "items": [] if by is None else [priced(by, each) for each in found.groups[place : place + limit]],
            "next": further and written(further),
            **coverage_document(found.coverage),
        }

    def series(request: Request) -> dict[str, Any]:
        given = Parameters(request, {*RANGE, *FILTERS, "step", "by"})
        now = clock()
        question, _ = given.question(now, lately=_LATELY)
        if (by := given.one("by")) is not None:
            check_one_of(by, ("model",), "by")
        question, step_ms = _whole_steps(question, given.span_ms("step"), now)
        found = archive.series(question, step_ms, by_model=by is not None)
        return {
            **_range(question),
            "step_ms": step_ms,
            "by": by,
            "items": [step_document(step, by_model=by is not None) for step in found.steps],
            "next": None,
            **coverage_document(found.coverage),
        }

    def heat_map(request: Request) -> dict[str, Any]:
        given = Parameters(request, {*RANGE, *FILTERS, "of"})
        now = clock()
        question, _ = given.question(now, lately=_LATELY)
        of = given.one("of") or "duration"
        check_one_of(of, get_args(HeatOf), "of")
        question, step_ms = _whole_steps(question, None, now, HEAT_STEPS)
        found = archive.heat(question, cast(HeatOf, of), step_ms)
        return {
            **_range(question),
            "step_ms": step_ms,
            "of": of,
            **heat_document(found),
            **coverage_document(found.coverage),
        }

    limiter = anyio.CapacityLimiter(AT_ONCE)
    pages: dict[str, Page] = {
        "/api/v1/requests": requests,
        "/api/v1/requests/{id}": one_request,
        "/api/v1/summary": summary,
        "/api/v1/series": series,
        "/api/v1/heatmap": heat_map,
        "/api/v1/scatter": scatter_page(archive, flagger, clock),
    }
    return [Route(path, _answering(page, limiter), methods=["GET"]) for path, page in pages.items()]


def _answering(page: Page, limiter: anyio.CapacityLimiter) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return await anyio.to_thread.run_sync(_response, page, request, limiter=limiter)

    return answer


def _response(page: Page, request: Request) -> Response:
    try:
        status, body = 200, page(request)
    except UsageError as error:
        status, body = 400, {"error": str(error), "parameter": error.option or None}
    except _NotFoundError as error:
        status, body = 404, {"error": str(error)}
    except StoreUnavailableError as error:
        status, body = 503, {"error": str(error)}
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _range(question: Question) -> dict[str, str | None]:
    since, until = question.since_ms, question.until_ms
    return {"from": None if since is None else time_text(since), "to": None if until is None else time_text(until)}


def _whole_steps(
    question: Question, asked_ms: float | None, now: int, usual: int = USUAL_STEPS
) -> tuple[Question, int]:
    """The question with its range widened to whole steps, and the length of a step: at most MOST_STEPS of them.

    Raises:
        UsageError: the step is none that there is, or too short for the range.
    """
    since, until = question.since_ms or 0, now if question.until_ms is None else question.until_ms
    span = max(until - since, 1)
    least_ms = -(-span // MOST_STEPS)
    if asked_ms is None:
        wanted = -(-span // usual)
        step = next((each for each in STEPS_MS if each >= wanted), -(-wanted // STEPS_MS[-1]) * STEPS_MS[-1])
    elif asked_ms not in SHORT_STEPS_MS and (asked_ms < MINUTE_MS or asked_ms % MINUTE_MS):
        raise UsageError("step: expected whole minutes, such as 1m, 15m, 1h; or 1s, 2s, 5s, 10s, 15s, 30s", "step")
    elif asked_ms < MINUTE_MS and span > HOUR_MS:
        raise UsageError("step: steps of seconds are for an hour at most; expected at least 1m", "step")
    elif asked_ms < least_ms:
        unit, sign = (SECOND_MS, "s") if least_ms < MINUTE_MS else (MINUTE_MS, "m")
        message = f"step: that would be more than {MOST_STEPS} steps; expected at least {-(-least_ms // unit)}{sign}"
        raise UsageError(message, "step")
    else:
        step = round(asked_ms)
    return replace(question, since_ms=since // step * step, until_ms=-(-until // step) * step), step
