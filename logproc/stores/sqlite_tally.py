"""Sums, counts and distributions of the documents in one file, added up by SQLite itself.

SQLite walks the rows and hands over one row a group, with the durations of the group as one text. Row by row Python
would take twice as long, and in a process that also counts lines it would wait for its turn at every row.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from logproc.record import DAY_MS
from logproc.stores.archive import By, Question, Tokens, Who
from logproc.stores.rollup import (
    COUNTS,
    MINUTE_MS,
    SKETCHES,
    TIMES,
    Ints,
    Rollup,
    RollupKind,
    Sketch,
    joined_sketches,
    sketch_of,
)
from logproc.stores.sqlite_condition import condition, skew_ms
from logproc.stores.sqlite_schema import REQUESTS

_KEYS: Final = 1 + len(RollupKind._fields)
PIECE_MS: Final = 3_600_000
"""So much of a day is asked for at once: groups stay small enough to be sorted in memory."""

_NS_PER_MS: Final = 1e6
_TIMED: Final = {"timed_ms": "iif(coalesce(queue_ns, prefill_ns, decode_ns) IS NULL, NULL, duration_ns)"}
_LOW_BITS: Final = 20  # sums of tokens are made of two halves: no sum of 64 bits can run over


@dataclass(slots=True)
class Tally:
    """What the requests of one group came to; times are all of them, in parts."""

    outcomes: Counter[str] = field(default_factory=Counter)
    tokens: defaultdict[str | None, Tokens] = field(default_factory=lambda: defaultdict(lambda: Tokens(0, 0)))
    """By model."""
    durations_ns: list[Ints] = field(default_factory=list)
    ttfts_ns: list[Ints] = field(default_factory=list)


def add_up(
    connection: sqlite3.Connection, day: int, question: Question, by: By | None, groups: defaultdict[str | None, Tally]
) -> None:
    """Add the documents of one day's file that match to the groups; without `by` there is one group, None."""
    halves = ", ".join(
        f"total({column} >> {_LOW_BITS}), total({column} & {(1 << _LOW_BITS) - 1})"
        for column in ("prompt_tokens", "completion_tokens")
    )
    columns = f"{by or 'NULL'}, outcome, model, {halves}, count(*), group_concat(duration_ns), group_concat(ttft_ns)"
    with _snapshot(connection) as texts:
        for piece in pieces(connection, day, question, PIECE_MS):
            for row in _grouped(connection, piece, columns, "1, 2, 3"):
                value, outcome, model, prompt_high, prompt_low, high, low, count, durations, ttfts = row
                group = groups[_text(texts, value)]
                group.outcomes[_text(texts, outcome)] += count
                prompt, completion = group.tokens[_text(texts, model)]
                group.tokens[_text(texts, model)] = Tokens(
                    prompt + (int(prompt_high) << _LOW_BITS) + int(prompt_low),
                    completion + (int(high) << _LOW_BITS) + int(low),
                )
                group.durations_ns.append(_numbers(durations or ""))
                group.ttfts_ns.append(_numbers(ttfts or ""))


def rollup(
    connection: sqlite3.Connection, day: int, question: Question, unit_ms: int = MINUTE_MS, who: Who | None = None
) -> Rollup:
    """The documents of one day's file that match, by minute (or another unit of time) and kind, also by who it was."""
    kind_columns = "model, operation, outcome, NULL" if who is None else f"model, NULL, outcome, {who}"
    counts = ", ".join(f"total({name})" for name in COUNTS[1:])
    times = ", ".join(f"total({_TIMED.get(name, name.removesuffix('_ms') + '_ns')})" for name in TIMES)
    sketches = ", ".join(f"group_concat({name.removesuffix('_ms')}_ns)" for name in SKETCHES)
    columns = f"time_ms / {unit_ms}, {kind_columns}, {sketches}, count(*), {counts}, {times}"
    kinds: dict[RollupKind, int] = {}
    keys: list[tuple[int, int]] = []
    numbers: list[tuple[float, ...]] = []
    parts: list[list[Sketch]] = [[] for _ in SKETCHES]
    with _snapshot(connection) as texts:
        for piece in pieces(connection, day, question, PIECE_MS):
            rows = list(_grouped(connection, piece, columns, "1, 2, 3, 4, 5"))
            for place, made in enumerate(parts):
                made.append(_sketch([row[_KEYS + place] for row in rows], len(keys)))
            for row in rows:
                kind = RollupKind(*(_text(texts, value) for value in row[1:_KEYS]))
                keys.append((row[0], kinds.setdefault(kind, len(kinds))))
                numbers.append(row[_KEYS + len(SKETCHES) :])
    key = np.array(keys, np.int64).reshape(-1, 2)
    number = np.array(numbers, np.float64).reshape(-1, len(COUNTS) + len(TIMES))
    return Rollup(
        tuple(kinds),
        key[:, 0],
        key[:, 1],
        number[:, : len(COUNTS)].astype(np.int64),
        number[:, len(COUNTS) :] / _NS_PER_MS,
        tuple(map(joined_sketches, parts)),
    )


def pieces(connection: sqlite3.Connection, day: int, question: Question, length_ms: int) -> Iterator[Question]:
    """The question for each piece of its range of time on that day; whole where ids tell the time too badly."""
    since = max(day * DAY_MS, question.since_ms or 0)
    until = min((day + 1) * DAY_MS, question.until_ms if question.until_ms is not None else (day + 1) * DAY_MS)
    if skew_ms(connection) > MINUTE_MS:
        length_ms = DAY_MS
    while since < until:
        end = min(since // length_ms * length_ms + length_ms, until)
        yield replace(question, since_ms=since, until_ms=end)
        since = end


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[dict[int, str]]:
    """Everything inside sees the same documents; gives the texts of the file by their numbers."""
    connection.execute("BEGIN")
    try:
        yield dict(connection.execute("SELECT number, text FROM texts").fetchall())
    finally:
        connection.execute("COMMIT")


def _grouped(
    connection: sqlite3.Connection, question: Question, columns: str, groups: str
) -> Iterator[tuple[Any, ...]]:
    where, parameters = condition(connection, question)
    query = f"SELECT {columns} FROM {REQUESTS.stored} WHERE {where} GROUP BY {groups}"  # noqa: S608 - own names
    yield from connection.execute(query, parameters)


def _sketch(texts: list[str | None], first_row: int) -> Sketch:
    """The sketch of the times (ns) of rows, a text for each; of all at once, for that is much quicker."""
    counts = [0 if text is None else text.count(",") + 1 for text in texts]
    rows = np.repeat(np.arange(first_row, first_row + len(texts)), counts)
    values = _numbers(",".join(text for text in texts if text is not None)) if rows.size else np.empty(0, np.int64)
    return sketch_of(rows, values / _NS_PER_MS)


def _text(texts: dict[int, str], value: Any) -> Any:
    return texts[value] if isinstance(value, int) else value


def _numbers(text: str) -> Ints:
    """`1,22,333` → the numbers."""
    return np.fromstring(text, np.int64, sep=",")
