"""Questions to the documents on this machine: found, grouped, counted over time; any number read while one writes."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast, get_args

import numpy as np

from logproc.ids import id_bytes
from logproc.record import DAY_MS
from logproc.stores.archive import (
    By,
    Coverage,
    Found,
    Heat,
    HeatOf,
    Position,
    Question,
    Series,
    Server,
    Slowness,
    Summary,
    Who,
)
from logproc.stores.documents import flat_document
from logproc.stores.points import USUAL_AXES, USUAL_POINTS, Axes, Points, chosen
from logproc.stores.recent_points import RecentPoints
from logproc.stores.recent_rollups import HOUR_MS, RecentRollups, minutes_can_tell, versions
from logproc.stores.rollup import MINUTE_MS, Rollup, joined
from logproc.stores.sqlite import SERVERS_FILE
from logproc.stores.sqlite_condition import condition, skew_ms
from logproc.stores.sqlite_days import SqliteDays
from logproc.stores.sqlite_points import Part
from logproc.stores.sqlite_schema import REQUESTS, SPAN_MS
from logproc.stores.sqlite_servers import read_servers
from logproc.stores.sqlite_slowest import SHOWN, minutes_of_slowest, slowest
from logproc.stores.sqlite_tally import Tally, add_up, rollup
from logproc.stores.summing import heat_counts, steps, summary

_STORED: Final = REQUESTS.stored


class SqliteArchive:
    """Reads the files that `SqliteStore` writes into `folder`. One file may be read for `longest_s` at a time."""

    def __init__(self, folder: Path, longest_s: float | None = None) -> None:
        self.folder = folder
        self._days = SqliteDays(folder, longest_s)
        self._recent = RecentRollups()
        self._points = RecentPoints()
        self._warmed: dict[Path, dict[int, int]] = {}
        """By file the versions of its spans of time that `warm` has counted."""

    @property
    def missing(self) -> str | None:
        """Why there is nothing to be asked yet, for a person; None when there is something."""
        if self.folder.is_dir():
            return None
        return (
            f"no documents in {self.folder} yet: `logproc run` writes them as soon as there are lines. "
            "Is this the `state` that it uses?"
        )

    def find(
        self, question: Question, *, limit: int | None = None, after: Position | None = None, oldest_first: bool = False
    ) -> Iterator[Found]:
        """The documents that match, newest first unless said otherwise, going on after the position `after`.

        Raises:
            StoreUnavailableError: a day's file cannot be read.
        """
        left = limit
        if question.ids and after is None:
            found = list(self._by_event_id(question))
            if len(found) == len(set(question.ids)):  # each was an event's id, and there is no other document
                yield from sorted(found, key=lambda each: each.position, reverse=not oldest_first)[:limit]
                return
        days = self._days.files(question)
        for day, path in days if oldest_first else reversed(days):
            if after is not None and (day < after.time_ms // DAY_MS if oldest_first else day > after.time_ms // DAY_MS):
                continue
            with self._days.reading(path) as connection:
                if connection is None:
                    continue
                for found_here in _find(connection, question, left, after, oldest_first):
                    yield found_here
                    if left is not None:
                        left -= 1
            if left == 0:
                return

    def slowest(self, question: Question, *, limit: int, after: Slowness | None = None) -> list[Found]:
        """The documents that match and have a duration, the longest first, going on after `after`.

        Raises:
            StoreUnavailableError: a day's file cannot be read.
        """
        found: list[tuple[Slowness, Sequence[Any]]] = []
        for day, path in self._days.files(question):
            with self._days.reading(path) as connection:
                if connection is None:
                    continue
                pieces = [question]
                if minutes_can_tell(replace(question, slower_than_ns=None)):
                    pieces, inner = _without_edges(question, day, MINUTE_MS)
                    if inner is not None:
                        minutes = self._recent.rollups(connection, path, day, replace(inner, slower_than_ns=None))
                        pieces += minutes_of_slowest(inner, joined(minutes), limit, after)
                found += slowest(connection, pieces, limit, after)
        found.sort(key=lambda each: each[0], reverse=True)
        return [_found(row) for _, row in found[:limit]]

    def summarize(self, question: Question, by: By | None, *, exact: bool = True) -> Summary:
        """The documents that match, grouped. Days that are over answer from their minutes, where those can tell.

        Unless `exact`, so do the others: of every time that has passed it is kept what it came to.

        Raises:
            StoreUnavailableError: a day's file cannot be read.
        """
        who = None if by in {None, "model", "outcome"} else cast(Who, by)

        def once(closed: int) -> Summary:
            groups: defaultdict[str | None, Tally] = defaultdict(Tally)
            minutes, coverage = self._days.minutes(question, closed, by_minute=False, can_tell=who is None)
            parts = [minutes]
            for day, path in self._days.files(question):
                with self._days.reading(path) as connection:
                    if connection is None:
                        continue
                    edges = [question]
                    if not exact and minutes_can_tell(question):
                        edges, inner = _without_edges(question, day, MINUTE_MS if who is None else SPAN_MS)
                        if inner is not None:
                            parts += self._recent.rollups(connection, path, day, inner, who, HOUR_MS)
                    for edge in edges:
                        add_up(connection, day, edge, by, groups)
            found = joined(parts)
            return summary(groups, found, by, replace(coverage, is_exact=coverage.is_exact and not len(found)))

        return self._days.while_none_closes(once)

    def series(self, question: Question, step_ms: int, *, by_model: bool = False) -> Series:
        """The documents that match, by steps of time that begin at multiples of `step_ms`.

        A minute counts where it begins in the question's range of time, and a step is whole minutes or part of one.
        Days that are over answer from their minutes, where those can tell.

        Raises:
            StoreUnavailableError: a day's file cannot be read.
        """

        def once(closed: int) -> Series:
            units, unit_ms, coverage = self._units(question, step_ms, closed)
            return Series(steps(units, step_ms, by_model=by_model, unit_ms=unit_ms), coverage)

        return self._days.while_none_closes(once)

    def heat(self, question: Question, of: HeatOf, step_ms: int) -> Heat:
        """How many of the documents that match took how long, by steps of time as in `series`.

        Raises:
            StoreUnavailableError: a day's file cannot be read.
        """

        def once(closed: int) -> Heat:
            units, unit_ms, coverage = self._units(question, step_ms, closed)
            return Heat(heat_counts(units, of, step_ms, unit_ms), coverage)

        return self._days.while_none_closes(once)

    def points(self, question: Question, axes: Axes, limit: int) -> Points:
        """At most `limit` of the documents that match and have what is on both axes.

        Raises:
            StoreUnavailableError: a day's file cannot be read.
        """
        parts: list[Part] = []
        days = self._days.files(question)
        for day, path in days:
            with self._days.reading(path) as connection:
                if connection is not None:
                    parts += self._points.parts(connection, path, day, question, axes, limit)
        odd_ns = np.concatenate([np.empty(0, np.int64), *(part.odd_ns for part in parts)])
        shown = chosen(odd_ns, b"".join(part.odd for part in parts), b"".join(part.sample for part in parts), limit)
        found = self._points.documents(self._days, [path for _, path in days], shown)
        return Points(sum(part.total for part in parts), sorted(found, key=lambda each: each.position))

    def warm(self, since_ms: int, until_ms: int, is_over: Callable[[], bool]) -> None:
        """Count ahead what is usually asked: each hour in which documents were added since the last time.

        The newest come last: should there be too much to be kept, these are.

        Raises:
            StoreUnavailableError: a day's file cannot be read.
        """
        known: dict[Path, dict[int, int]] = {}
        first, last = since_ms // HOUR_MS, -(-until_ms // HOUR_MS)
        for day, path in self._days.files(Question(since_ms=since_ms, until_ms=until_ms)):
            with self._days.reading(path) as connection:
                known[path] = {} if connection is None else versions(connection)
            before = self._warmed.get(path, {})
            hours = {span * SPAN_MS // HOUR_MS for span, version in known[path].items() if before.get(span) != version}
            for hour in sorted(hours & set(range(first, last))):
                with self._days.reading(path) as connection:
                    if connection is None:
                        continue
                    question = Question(since_ms=hour * HOUR_MS, until_ms=(hour + 1) * HOUR_MS)
                    for who in (None, *get_args(Who)):
                        if is_over():
                            return
                        self._recent.rollups(connection, path, day, question, who, HOUR_MS)  # keeps what is shorter too
                    for axes in USUAL_AXES:
                        if is_over():
                            return
                        list(self._points.parts(connection, path, day, question, axes, USUAL_POINTS))
        self._warmed = known
        for axes in USUAL_AXES:
            if not is_over():
                self.points(Question(since_ms=first * HOUR_MS, until_ms=last * HOUR_MS), axes, USUAL_POINTS)

    def extent(self) -> tuple[int, int] | None:
        """The times (ms since 1970) of the oldest and the newest document; None when there is none."""
        oldest = next(self.find(Question(), limit=1, oldest_first=True), None)
        newest = next(self.find(Question(), limit=1), None)
        if oldest is None or newest is None:
            return None
        return oldest.position.time_ms, newest.position.time_ms

    def servers(self, since_ms: int | None = None, until_ms: int | None = None) -> list[Server]:
        """The servers that wrote a line of their own from `since_ms` until before `until_ms`, the last heard of first.

        Raises:
            StoreUnavailableError: their file cannot be read.
        """
        with self._days.reading(self.folder / SERVERS_FILE) as connection:
            return [] if connection is None else read_servers(connection, since_ms, until_ms)

    def files(self, question: Question) -> list[Path]:
        """The files in which documents of the question's range of time may be, oldest first."""
        return [path for _, path in self._days.files(question)]

    def _units(self, question: Question, step_ms: int, closed: int) -> tuple[Rollup, int, Coverage]:
        """The documents by the minute, or by the step where that is shorter; the length of such a unit, ms.

        A unit keeps its times as sketches, so what is made of it is within 1 %, and the coverage says so.
        """
        unit_ms = min(step_ms, MINUTE_MS)
        coarse_ms = MINUTE_MS if step_ms % SPAN_MS else SPAN_MS
        minutes, coverage = self._days.minutes(
            question, closed, by_minute=step_ms % DAY_MS != 0, can_tell=unit_ms == MINUTE_MS
        )
        parts = [minutes]
        for day, path in self._days.files(question):
            with self._days.reading(path) as connection:
                if connection is None:
                    continue
                if unit_ms < MINUTE_MS:
                    parts.append(rollup(connection, day, question, unit_ms))
                else:
                    parts += self._recent.rollups(connection, path, day, question, unit_ms=coarse_ms)
        return joined(parts), unit_ms, replace(coverage, is_exact=False)

    def _by_event_id(self, question: Question) -> Iterator[Found]:
        """The documents whose event id is asked for: by key, without looking at all the others."""
        wanted = [raw for raw in map(id_bytes, question.ids) if raw is not None]
        for day, path in self._days.files(question):
            keys = [raw for raw in wanted if abs(int.from_bytes(raw[:6], "big") // DAY_MS - day) <= 1]
            if not keys:
                continue
            with self._days.reading(path) as connection:
                if connection is not None:
                    where, parameters = condition(connection, question)
                    marks = ", ".join("?" * len(keys))
                    query = f"SELECT {SHOWN} FROM {_STORED} WHERE id IN ({marks}) AND {where}"  # noqa: S608
                    yield from map(_found, connection.execute(query, [*keys, *parameters]))


def _without_edges(question: Question, day: int, unit_ms: int) -> tuple[list[Question], Question | None]:
    """The part of the question's range on that day that is whole units of time, if there is any, and what is left."""
    since = max(day * DAY_MS, question.since_ms or 0)
    until = min((day + 1) * DAY_MS, (day + 1) * DAY_MS if question.until_ms is None else question.until_ms)
    first, last = -(-since // unit_ms) * unit_ms, until // unit_ms * unit_ms
    if first >= last:
        return [replace(question, since_ms=since, until_ms=until)], None
    edges = [(since, first), (last, until)]
    left = [replace(question, since_ms=start, until_ms=end) for start, end in edges if start < end]
    return left, replace(question, since_ms=first, until_ms=last)


def _find(
    connection: sqlite3.Connection, question: Question, limit: int | None, after: Position | None, oldest_first: bool
) -> Iterator[Found]:
    where, parameters = condition(connection, question)
    direction, beyond = ("ASC", ">") if oldest_first else ("DESC", "<")
    # Where every id's time is its document's, the order of ids is the order of time, and nothing has to be sorted.
    order = "id" if skew_ms(connection) == 0 else "time_ms {0}, id"
    if after is not None:
        where += f" AND (time_ms, id) {beyond} (?, ?)" if "time" in order else f" AND id {beyond} ?"
        parameters += [after.time_ms, after.id] if "time" in order else [after.id]
    query = (
        f"SELECT {SHOWN} FROM {_STORED} WHERE {where} "  # noqa: S608 - names of our own
        f"ORDER BY {order.format(direction)} {direction} LIMIT ?"
    )
    yield from map(_found, connection.execute(query, [*parameters, -1 if limit is None else limit]))


def _found(row: Sequence[Any]) -> Found:
    return Found(Position(row[1], row[0]), flat_document(REQUESTS.fields, row))
