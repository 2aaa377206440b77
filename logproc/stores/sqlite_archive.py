"""Questions to the documents on this machine: found, grouped, or asked in SQL; any number read while one writes."""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from logproc.ids import id_bytes
from logproc.record import DAY_MS
from logproc.stores.archive import By, Found, Group, Position, Question
from logproc.stores.documents import flat_document
from logproc.stores.sqlite import day_files
from logproc.stores.sqlite_schema import APPLICATION_ID, REQUESTS, VERSION, text_of
from logproc.stores.store import StoreUnavailableError

_STORED: Final = REQUESTS.stored
_SHOWN: Final = ", ".join(text_of(field) for field in REQUESTS.fields)
_LOW_BITS: Final = 20  # sums of tokens are made of two halves: no sum of 64 bits can run over


class SqliteArchive:
    """Reads the files that `SqliteStore` writes into `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
            if found:
                yield from sorted(found, key=lambda each: each.position, reverse=not oldest_first)
                return
        days = self.days(question)
        for day, path in days if oldest_first else reversed(days):
            if after is not None and (day < after.time_ms // DAY_MS if oldest_first else day > after.time_ms // DAY_MS):
                continue
            with self._reading(path) as connection:
                if connection is None:
                    continue
                for found_here in _find(connection, question, left, after, oldest_first):
                    yield found_here
                    if left is not None:
                        left -= 1
            if left == 0:
                return

    def summarize(self, question: Question, by: By) -> list[Group]:
        """The documents that match, grouped; the largest group first. Percentiles are exact.

        Raises:
            StoreUnavailableError: a day's file cannot be read.
        """
        durations: defaultdict[str | None, array[int]] = defaultdict(lambda: array("q"))
        outcomes: defaultdict[str | None, Counter[str]] = defaultdict(Counter)
        tokens: Counter[tuple[str | None, str]] = Counter()
        for _, path in self.days(question):
            with self._reading(path) as connection:
                if connection is not None:
                    _tally(connection, question, by, durations, outcomes, tokens)
        groups = []
        for key, values in durations.items():
            p50, p95, p99 = _percentiles(values)
            prompt, completion = tokens[key, "prompt"], tokens[key, "completion"]
            groups.append(Group(key, len(values), outcomes[key], prompt, completion, p50, p95, p99))
        return sorted(groups, key=lambda group: (-group.requests, group.key is None, group.key or ""))

    def extent(self) -> tuple[int, int] | None:
        """The times (ms since 1970) of the oldest and the newest document; None when there is none."""
        oldest = next(self.find(Question(), limit=1, oldest_first=True), None)
        newest = next(self.find(Question(), limit=1), None)
        if oldest is None or newest is None:
            return None
        return oldest.position.time_ms, newest.position.time_ms

    def days(self, question: Question) -> list[tuple[int, Path]]:
        """The files in which documents of the question's range of time may be, oldest first."""
        first = -1 if question.since_ms is None else question.since_ms // DAY_MS
        last = None if question.until_ms is None else (question.until_ms - 1) // DAY_MS
        return [(day, path) for day, path in day_files(self.folder) if first <= day and (last is None or day <= last)]

    def _by_event_id(self, question: Question) -> Iterator[Found]:
        """The documents whose event id is asked for: by key, without looking at all the others."""
        wanted = [raw for raw in map(id_bytes, question.ids) if raw is not None]
        for day, path in self.days(question):
            keys = [raw for raw in wanted if abs(int.from_bytes(raw[:6], "big") // DAY_MS - day) <= 1]
            if not keys:
                continue
            with self._reading(path) as connection:
                if connection is not None:
                    condition, parameters = _condition(connection, question)
                    marks = ", ".join("?" * len(keys))
                    query = f"SELECT {_SHOWN} FROM {_STORED} WHERE id IN ({marks}) AND {condition}"  # noqa: S608
                    yield from map(_found, connection.execute(query, [*keys, *parameters]))

    @contextmanager
    def _reading(self, path: Path) -> Iterator[sqlite3.Connection | None]:
        """A read-only connection; None for a file that has gone, or has nothing in it yet."""
        try:
            if not path.exists():  # a day that was dropped since we looked
                yield None
                return
            with closing(open_to_read(path)) as connection:
                yield connection if _has_documents(path, connection) else None
        except sqlite3.Error as error:
            if "interrupted" in str(error):
                raise KeyboardInterrupt from error
            raise StoreUnavailableError(
                f"{path} cannot be read: {error}. Leave it out with --from and --to, or move it away."
            ) from error


def address(path: Path) -> str:
    """The URI that opens a file to read only, and never makes one."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    if Path(f"{path}-wal").exists() or os.access(path.parent, os.W_OK):
        return uri
    return f"{uri}&immutable=1"  # nobody writes it, and we may not make the files beside it that a reader needs


def open_to_read(path: Path) -> sqlite3.Connection:
    """A read-only connection; Ctrl-C ends a long question."""
    connection = sqlite3.connect(address(path), uri=True, isolation_level=None, check_same_thread=False)
    connection.set_progress_handler(lambda: 0, 100_000)  # Python looks for signals there
    return connection


def _has_documents(path: Path, connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return False
    if application != APPLICATION_ID or version > VERSION:
        raise StoreUnavailableError(f"{path}: it was written by another program, or by a newer logproc.")
    return True


def _find(
    connection: sqlite3.Connection, question: Question, limit: int | None, after: Position | None, oldest_first: bool
) -> Iterator[Found]:
    condition, parameters = _condition(connection, question)
    direction, beyond = ("ASC", ">") if oldest_first else ("DESC", "<")
    # Where every id's time is its document's, the order of ids is the order of time, and nothing has to be sorted.
    order = "id" if _skew_ms(connection) == 0 else "time_ms {0}, id"
    if after is not None:
        condition += f" AND (time_ms, id) {beyond} (?, ?)" if "time" in order else f" AND id {beyond} ?"
        parameters += [after.time_ms, after.id] if "time" in order else [after.id]
    query = (
        f"SELECT {_SHOWN} FROM {_STORED} WHERE {condition} "  # noqa: S608 - names of our own
        f"ORDER BY {order.format(direction)} {direction} LIMIT ?"
    )
    yield from map(_found, connection.execute(query, [*parameters, -1 if limit is None else limit]))


def _found(row: Sequence[Any]) -> Found:
    return Found(Position(row[1], row[0]), flat_document(REQUESTS.fields, row))


def _skew_ms(connection: sqlite3.Connection) -> int:
    (skew,) = connection.execute("SELECT max(ms) FROM skew").fetchone()
    return skew or 0


def _condition(connection: sqlite3.Connection, question: Question) -> tuple[str, list[Any]]:
    """The question as an SQL condition over the stored columns of one file, and its parameters."""
    parts: list[str] = ["1"]
    parameters: list[Any] = []
    skew = _skew_ms(connection)

    def add(part: str, *values: Any) -> None:
        parts.append(part)
        parameters.extend(values)

    for moment, sign, earliest in ((question.since_ms, ">=", -skew), (question.until_ms, "<", skew)):
        if moment is not None:
            add(f"id {sign} ?", min(max(moment + earliest, 0), (1 << 48) - 1).to_bytes(6, "big"))
            if skew:
                add(f"time_ms {sign} ?", moment)
    if question.slower_than_ns is not None:
        add("duration_ns > ?", question.slower_than_ns)
    for column, texts in (("outcome", question.outcomes), ("model", question.models), ("client", question.clients)):
        if texts:
            add(*_is_any(connection, column, texts))
    if question.users:
        users, keys = (_is_any(connection, column, question.users) for column in ("user_id", "api_key_id"))
        add(f"({users[0]} OR {keys[0]})", *users[1:], *keys[1:])
    if question.flags:
        add(*_has_any(connection, question.flags))
    if question.ids:
        marks = ", ".join("?" * len(question.ids))
        events = [raw for raw in map(id_bytes, question.ids) if raw is not None]
        places = " OR ".join(f"{column} IN ({marks})" for column in ("request_id", "response_id", "trace_id"))
        add(f"(id IN ({', '.join('?' * len(events))}) OR {places})", *events, *question.ids * 3)
    return " AND ".join(parts), parameters


def _is_any(connection: sqlite3.Connection, column: str, texts: Sequence[str]) -> tuple[Any, ...]:
    """The condition that a column of repeated texts holds one of these, and its parameters."""
    marks = ", ".join("?" * len(texts))
    rows = connection.execute(f"SELECT number FROM texts WHERE text IN ({marks})", texts)  # noqa: S608
    values = [*(number for (number,) in rows), *texts]
    return f"{column} IN ({', '.join('?' * len(values))})", *values


def _has_any(connection: sqlite3.Connection, flags: Sequence[str]) -> tuple[Any, ...]:
    """The condition that a request has one of these flags, and its parameters."""
    wanted = set(flags)
    texts = connection.execute("SELECT number, text FROM texts")
    values = [number for number, text in texts if wanted & set(text.split(","))]
    unnumbered = " OR ".join("instr(',' || flags || ',', ?)" for _ in flags)
    condition = f"(flags IN ({', '.join('?' * len(values))}) OR typeof(flags) = 'text' AND ({unnumbered}))"
    return condition, *values, *(f",{flag}," for flag in flags)


def _tally(
    connection: sqlite3.Connection,
    question: Question,
    by: By,
    durations: defaultdict[str | None, array[int]],
    outcomes: defaultdict[str | None, Counter[str]],
    tokens: Counter[tuple[str | None, str]],
) -> None:
    """Add one file's share to the groups."""
    condition, parameters = _condition(connection, question)
    texts: dict[Any, str] = dict(connection.execute("SELECT number, text FROM texts").fetchall())

    def text(value: Any) -> Any:
        return texts[value] if isinstance(value, int) else value

    by_number: defaultdict[Any, array[int]] = defaultdict(lambda: array("q"))
    query = f"SELECT {by}, duration_ns FROM {_STORED} WHERE {condition}"  # noqa: S608 - names of our own
    with closing(connection.cursor()) as cursor:
        connection.execute("BEGIN")  # both questions see the same documents
        for value, duration in cursor.execute(query, parameters):
            by_number[value].append(duration)
        halves = ", ".join(
            f"total({column} >> {_LOW_BITS}), total({column} & {(1 << _LOW_BITS) - 1})"
            for column in ("prompt_tokens", "completion_tokens")
        )
        query = f"SELECT {by}, outcome, count(*), {halves} FROM {_STORED} WHERE {condition} GROUP BY 1, 2"  # noqa: S608
        for value, outcome, count, prompt_high, prompt_low, high, low in cursor.execute(query, parameters):
            key = text(value)
            outcomes[key][text(outcome)] += count
            tokens[key, "prompt"] += (int(prompt_high) << _LOW_BITS) + int(prompt_low)
            tokens[key, "completion"] += (int(high) << _LOW_BITS) + int(low)
        connection.execute("COMMIT")
    for value, values in by_number.items():
        durations[text(value)].extend(values)


def _percentiles(values: array[int]) -> tuple[int, int, int]:
    """P50, P95, P99: each the least value that so many percent of the values do not exceed."""
    ordered = np.sort(np.frombuffer(values, np.int64))
    p50, p95, p99 = (int(ordered[-(-len(ordered) * percent // 100) - 1]) for percent in (50, 95, 99))
    return p50, p95, p99
