"""`logproc query`: which requests, when, whose, how slow; as a table, JSON lines or CSV."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, TextIO, cast, get_args

from logproc.answers import group_document
from logproc.clock import now_ms
from logproc.query_output import (
    CsvWriter,
    RequestTable,
    json_line,
    show_groups,
    show_whole,
    write_groups_csv,
    write_rows,
)
from logproc.query_parquet import write_parquet
from logproc.question import Asked, UsageError, check_one_of, question_of
from logproc.stores.archive import Archive, By, Coverage, Found, Question
from logproc.stores.documents import time_text
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.sqlite_sql import TooManyDaysError, open_sql
from logproc.stores.store import StoreUnavailableError

Form = Literal["table", "json", "csv"]

FOLLOW_S: Final = 1.0
LATE_MS: Final = 60_000
"""`--follow` also shows documents that come so much later than others of their time."""


def run_query(
    archive: Archive,
    asked: Asked,
    *,
    by: str | None = None,
    limit: int = 50,
    follow: bool = False,
    sql: str | None = None,
    parquet: Path | None = None,
    form: Form = "table",
    out: TextIO,
    err: TextIO,
    clock: Callable[[], int] = now_ms,
    wait: Callable[[float], bool] | None = None,
) -> int:
    """Answer one question from what a store holds, and return the exit code: 0, 1 failed, 2 usage.

    `limit` 0 means all. `wait` sleeps between two looks of `follow`, and says whether to go on.
    """
    try:
        question = question_of(asked, clock(), options=True)
        _check_together(question, by=by, limit=limit, follow=follow, sql=sql, until=asked.to, parquet=parquet)
        if not follow and archive.missing:
            err.write(f"logproc: {archive.missing}\n")
            return 1
        if sql is not None:
            _answer_sql(archive, question, sql, form, out)
        elif by is not None:
            _answer_groups(archive, question, cast(By, by), limit, form, out, err)
        elif parquet is not None:
            count = write_parquet(archive.find(question, limit=limit or None, oldest_first=not limit), parquet)
            err.write(f"{count:,} requests are in {parquet}.\n")
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
    except OSError as error:
        err.write(f"logproc: {parquet or 'the output'} cannot be written: {error.strerror or error}\n")
        return 1
    except KeyboardInterrupt:
        return 0 if follow else 130
    return 0


def _sleep(span_s: float) -> bool:
    time.sleep(span_s)
    return True


def _check_together(
    question: Question,
    *,
    by: str | None,
    limit: int,
    follow: bool,
    sql: str | None,
    until: str | None,
    parquet: Path | None,
) -> None:
    if by is not None:
        check_one_of(by, get_args(By), "--by")
    if limit < 0:
        raise UsageError("--limit: 0 is all, and there is no less")
    if sum((by is not None, follow, sql is not None, parquet is not None)) > 1:
        raise UsageError("--by, --follow, --sql and --parquet are four questions: ask one")
    if follow and until is not None:
        raise UsageError("--follow has no end: leave out --to")
    if sql is not None and question.has_filters:
        raise UsageError("--sql brings its own WHERE: only --last, --from and --to go with it")


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
