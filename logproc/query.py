"""`logproc query`: which requests, when, whose, how slow; as a table, JSON lines or CSV."""

from __future__ import annotations

import difflib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Literal, TextIO, cast, get_args

from logproc.flags import FLAGS
from logproc.query_output import (
    CsvWriter,
    RequestTable,
    group_document,
    json_line,
    show_groups,
    show_whole,
    write_groups_csv,
    write_rows,
)
from logproc.record import OUTCOMES
from logproc.stores.archive import Archive, By, Coverage, Found, Question
from logproc.stores.documents import time_text
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.sqlite_sql import TooManyDaysError, open_sql
from logproc.stores.store import StoreUnavailableError

Form = Literal["table", "json", "csv"]

FOLLOW_S: Final = 1.0
LATE_MS: Final = 60_000
"""`--follow` also shows documents that come so much later than others of their time."""

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?")
_UNIT_MS: Final = {"ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6, "d": 8.64e7, "w": 6.048e8}


class UsageError(Exception):
    """What was asked for cannot be understood; the message says what can."""


def now_ms() -> int:
    """The wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


def run_query(
    archive: Archive,
    *,
    last: str | None = None,
    since: str | None = None,
    until: str | None = None,
    outcomes: Sequence[str] = (),
    flags: Sequence[str] = (),
    models: Sequence[str] = (),
    clients: Sequence[str] = (),
    users: Sequence[str] = (),
    ids: Sequence[str] = (),
    slower_than: str | None = None,
    by: str | None = None,
    limit: int = 50,
    follow: bool = False,
    sql: str | None = None,
    form: Form = "table",
    out: TextIO,
    err: TextIO,
    clock: Callable[[], int] = now_ms,
    wait: Callable[[float], bool] | None = None,
) -> int:
    """Answer one question from what a store holds, and return the exit code: 0, 1 failed, 2 usage.

    `last` is a span such as `90s`, `1h`, `7d`; `since` and `until` are RFC 3339 times, dates, or spans before now;
    without any of them everything stored is searched. `slower_than` is a span, a plain number means seconds.
    `limit` 0 means all. `wait` sleeps between two looks of `follow`, and says whether to go on.
    """
    try:
        question = _question(
            last, since, until, clock(), outcomes=outcomes, flags=flags, models=models, clients=clients, users=users,
            ids=ids, slower_than=slower_than,
        )  # fmt: skip
        _check_together(question, by=by, limit=limit, follow=follow, sql=sql, until=until)
        if not follow and archive.missing:
            err.write(f"logproc: {archive.missing}\n")
            return 1
        if sql is not None:
            _answer_sql(archive, question, sql, form, out)
        elif by is not None:
            _answer_groups(archive, question, cast(By, by), limit, form, out, err)
        elif follow:
            _follow(archive, question, limit, form, out, wait or _sleep)
        else:
            _answer(archive, question, limit, form, out, err)
        out.flush()
    except UsageError as error:
        err.write(f"logproc: {error}\n")
        return 2
    except (StoreUnavailableError, TooManyDaysError) as error:
        err.write(f"logproc: {error}\n")
        return 1
    except BrokenPipeError:  # `| head` has seen enough; what is left in the buffer must not fail again at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    except KeyboardInterrupt:
        return 0 if follow else 130
    return 0


def _sleep(span_s: float) -> bool:
    time.sleep(span_s)
    return True


# --- what is asked ---------------------------------------------------------------------------------------------------


def _question(
    last: str | None,
    since: str | None,
    until: str | None,
    now: int,
    *,
    outcomes: Sequence[str],
    flags: Sequence[str],
    models: Sequence[str],
    clients: Sequence[str],
    users: Sequence[str],
    ids: Sequence[str],
    slower_than: str | None,
) -> Question:
    if last is not None and (since is not None or until is not None):
        raise UsageError("--last says all: give it alone, or --from and --to")
    for given, known, option in ((outcomes, OUTCOMES, "--outcome"), (flags, FLAGS, "--flag")):
        for name in given:
            if name not in known:
                raise UsageError(_unknown(option, name, known))
    since_ms = now - round(span_ms(last, "--last")) if last is not None else None
    if since is not None:
        since_ms = moment_ms(since, now, "--from")
    until_ms = None if until is None else moment_ms(until, now, "--to")
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise UsageError(f"--from {time_text(since_ms)} is not before --to {time_text(until_ms)}")
    return Question(
        since_ms=since_ms,
        until_ms=until_ms,
        outcomes=tuple(outcomes),
        flags=tuple(flags),
        models=tuple(models),
        clients=tuple(clients),
        users=tuple(users),
        ids=tuple(ids),
        slower_than_ns=None
        if slower_than is None
        else round(span_ms(slower_than, "--slower-than", bare_unit="s") * 1e6),
    )


def _check_together(
    question: Question, *, by: str | None, limit: int, follow: bool, sql: str | None, until: str | None
) -> None:
    if by is not None and by not in get_args(By):
        raise UsageError(_unknown("--by", by, get_args(By)))
    if limit < 0:
        raise UsageError("--limit: 0 is all, and there is no less")
    if sum((by is not None, follow, sql is not None)) > 1:
        raise UsageError("--by, --follow and --sql are three questions: ask one")
    if follow and until is not None:
        raise UsageError("--follow has no end: leave out --to")
    if sql is not None and replace(question, since_ms=None, until_ms=None) != Question():
        raise UsageError("--sql brings its own WHERE: only --last, --from and --to go with it")


def _unknown(option: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{option} {name!r} is none of {', '.join(known)}.{hint}"


def span_ms(text: str, option: str, bare_unit: str | None = None) -> float:
    """A span such as `250ms`, `3s`, `1.5h` → ms; `bare_unit` is that of a plain number, if there may be one.

    Raises:
        UsageError: it is no such text.
    """
    found = _SPAN.fullmatch(text.strip())
    unit = found and (found[2] or bare_unit)
    if not found or not unit or len(found[1]) > 15:
        raise UsageError(f"{option} {text!r}: expected a span such as 250ms, 3s, 15m, 1h, 7d")
    return float(found[1]) * _UNIT_MS[unit]


def moment_ms(text: str, now: int, option: str) -> int:
    """A time, a date, or a span before `now` → ms since 1970. Without a time zone it is UTC.

    Raises:
        UsageError: it is no such text.
    """
    if text.strip() == "now":
        return now
    if _SPAN.fullmatch(text.strip()) and not text.strip().isdigit():
        return now - round(span_ms(text, option))
    try:
        when = datetime.fromisoformat(text.strip())
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0, int(when.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r}: expected a time such as 2026-11-20T14:02:00Z, a date, or a span before now such as 1h"
        ) from None


# --- answers ---------------------------------------------------------------------------------------------------------


def _answer(archive: Archive, question: Question, limit: int, form: Form, out: TextIO, err: TextIO) -> None:
    found = archive.find(question, limit=limit or None)
    if form == "table":
        documents = [each.document for each in found]
        count = len(documents)
        if documents and question.ids:
            show_whole(documents, out)
        elif documents:
            RequestTable(out).show(documents)
    else:
        count = _write(found, form, out)
    if not count:
        _say_nothing_found(archive, question, err)
    elif limit and count == limit:
        err.write(f"The newest {limit} are shown; --limit 0 shows all.\n")


def _write(found: Iterable[Found], form: Form, out: TextIO) -> int:
    count = 0
    table = CsvWriter(out)
    if form == "csv":
        table.begin()
    for each in found:
        count += 1
        if form == "csv":
            table.add(each.document)
        else:
            out.write(json_line(each.document) + "\n")
    return count


def _answer_groups(
    archive: Archive, question: Question, by: By, limit: int, form: Form, out: TextIO, err: TextIO
) -> None:
    summary = archive.summarize(question, by)
    every = summary.groups
    groups = every[:limit] if limit else every
    if form == "json":
        for group in groups:
            out.write(json_line(group_document(by, group)) + "\n")
    elif form == "csv":
        write_groups_csv(by, groups, out)
    elif groups:
        show_groups(by, groups, out)
    if len(groups) < len(every):
        err.write(f"The largest {limit} of {len(every)} are shown; --limit 0 shows all.\n")
    for note in _notes(summary.coverage):
        err.write(f"{note}\n")
    if not groups and not summary.coverage.left_out:
        _say_nothing_found(archive, question, err)


def _notes(coverage: Coverage) -> Iterator[str]:
    """What a person has to know of an answer."""
    if coverage.rolled_up:
        since, until = map(time_text, coverage.rolled_up)
        yield f"From {since} to {until} only minutes are kept: whole minutes were counted, percentiles are within 1 %."
    elif not coverage.is_exact:
        yield "Percentiles are within 1 %."
    if coverage.left_out:
        since, until = map(time_text, coverage.left_out)
        yield (
            f"From {since} to {until} only minutes are kept, by model and outcome. They cannot tell this: "
            "nothing of that time is in the answer."
        )


def _answer_sql(archive: Archive, question: Question, sql: str, form: Form, out: TextIO) -> None:
    if not isinstance(archive, SqliteArchive):
        raise UsageError("--sql asks the files of `store.kind: sqlite`, and this pipeline stores elsewhere")
    try:
        with closing(open_sql(archive, question)) as connection:
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description or ()]
            write_rows(names, cursor, form, out)
    except (sqlite3.Error, sqlite3.Warning) as error:
        if "interrupted" in str(error):
            raise KeyboardInterrupt from error
        hint = " It can only read." if "authorized" in str(error) or "prohibited" in str(error) else ""
        raise UsageError(f"--sql: {error}.{hint} The tables are `requests` and `servers`.") from error


def _say_nothing_found(archive: Archive, question: Question, err: TextIO) -> None:
    start = "the beginning" if question.since_ms is None else time_text(question.since_ms)
    end = "now" if question.until_ms is None else time_text(question.until_ms)
    extent = archive.extent()
    held = (
        "the store holds no request yet"
        if extent is None
        else f"the store holds requests from {time_text(extent[0])} to {time_text(extent[1])}"
    )
    err.write(f"No request matches from {start} to {end}; {held}.\n")


def _follow(
    archive: Archive,
    question: Question,
    limit: int,
    form: Form,
    out: TextIO,
    wait: Callable[[float], bool],
) -> None:
    """The newest requests in order of time, then those that come, until `wait` says no.

    Documents of several files come in no strict order: whatever is at most LATE_MS older than the newest is looked at
    again, and shown unless it was.
    """
    table, rows = RequestTable(out), CsvWriter(out)
    if form == "table":
        table.begin()
    elif form == "csv":
        rows.begin()

    def show(each: Found) -> None:
        if form == "table":
            table.add(each.document)
        elif form == "csv":
            rows.add(each.document)
        else:
            out.write(json_line(each.document) + "\n")

    def recent() -> Question:
        since = (question.since_ms or 0) if newest is None else max(newest - LATE_MS, question.since_ms or 0)
        return replace(question, since_ms=since)

    newest = next((each.position.time_ms for each in archive.find(question, limit=1)), None)
    # What is there already, but for the newest `limit`, is not shown. Asked first: what comes in between is shown.
    shown = {} if newest is None else {each.position.id: each.position.time_ms for each in archive.find(recent())}
    for each in reversed(list(archive.find(question, limit=limit or None))):
        show(each)
        shown[each.position.id] = each.position.time_ms
    out.flush()
    while wait(FOLLOW_S):
        for each in archive.find(recent(), oldest_first=True):
            if each.position.id not in shown:
                show(each)
                shown[each.position.id] = each.position.time_ms
        out.flush()
        newest = max(shown.values(), default=None)
        shown = {key: time_ms for key, time_ms in shown.items() if newest is None or time_ms >= newest - LATE_MS}
