"""Points of a plot out of SQLite: it chooses the ids, so that only what is shown is handed over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

from logproc.stores.archive import Found, Position, Question
from logproc.stores.documents import flat_document
from logproc.stores.points import FIELDS, TIME_BYTES, Axes, Points, chosen
from logproc.stores.sqlite_condition import condition
from logproc.stores.sqlite_schema import REQUESTS, text_of

_T = TypeVar("_T")

_STORED: Final = REQUESTS.stored
_SHOWN: Final = ", ".join(text_of(field) for field in FIELDS)
_PREFIX: Final = 4
_HIGHEST: Final = (1 << 8 * _PREFIX) - 1
"""Random ends by their first bytes, as a number: none is above it."""
_MORE: Final = 2
"""So many times what is wanted is asked for: chance has its way."""
_ROW_BYTES: Final = 200
"""A row, roughly; a wrong guess costs one look more."""


def points(
    paths: Sequence[Path],
    reading: Callable[[Path], AbstractContextManager[sqlite3.Connection | None]],
    question: Question,
    axes: Axes,
    limit: int,
) -> Points:
    """At most `limit` points out of these files; `reading` opens one, None where it has gone."""

    def found_in(path: Path, look: Callable[[sqlite3.Connection], list[_T]]) -> list[_T]:
        with reading(path) as connection:
            return [] if connection is None else look(connection)

    with ThreadPoolExecutor(2) as pool:  # SQLite walks the rows without Python's lock
        odd = pool.map(lambda path: found_in(path, lambda each: _odd(each, question, axes, limit // 2)), paths)
        samples = pool.map(lambda path: found_in(path, lambda each: [_sample(each, question, axes, limit)]), paths)
        counted = list(chain.from_iterable(samples))
        shown = chosen(chain.from_iterable(odd), chain.from_iterable(ids for _, ids in counted), limit)
    found = chain.from_iterable(found_in(path, lambda each: _documents(each, shown)) for path in paths)
    return Points(sum(total for total, _ in counted), sorted(found, key=lambda each: each.position))


def _documents(connection: sqlite3.Connection, ids: Set[bytes]) -> list[Found]:
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(f"SELECT {_SHOWN} FROM {_STORED} WHERE id IN ({marks})", list(ids))  # noqa: S608
    return [Found(Position(row[1], row[0]), flat_document(FIELDS, row)) for row in rows]


def _odd(connection: sqlite3.Connection, question: Question, axes: Axes, limit: int) -> list[tuple[int, bytes]]:
    """Time (ns) and id of the `limit` requests with a flag that took longest."""
    where, parameters = _both(connection, question, axes)
    _, time = axes.columns
    query = f"""
        SELECT {time}, id FROM {_STORED} WHERE flags IS NOT NULL AND {where} ORDER BY {time} DESC, id LIMIT ?
    """  # noqa: S608 - names of our own
    return connection.execute(query, [*parameters, limit]).fetchall()


def _sample(connection: sqlite3.Connection, question: Question, axes: Axes, limit: int) -> tuple[int, list[bytes]]:
    """How many requests there are, and the ids of at least those `limit` whose random ends are the lowest."""
    where, parameters = _both(connection, question, axes)
    query = f"""
        SELECT count(*), group_concat(hex(id)) FILTER (WHERE substr(id, {TIME_BYTES + 1}, {_PREFIX}) <= ?)
        FROM {_STORED} WHERE {where}
    """  # noqa: S608

    def up_to(bound: int) -> tuple[int, list[bytes]]:
        total, ids = connection.execute(query, [bound.to_bytes(_PREFIX, "big"), *parameters]).fetchone()
        return total, [bytes.fromhex(each) for each in (ids or "").split(",") if each]

    bound = min(_HIGHEST, _HIGHEST * limit * _MORE // max(1, _rows(connection)))
    total, found = up_to(bound)
    while len(found) < min(limit, total) and bound < _HIGHEST:
        bound = min(_HIGHEST, max(bound * 2, _HIGHEST * limit * _MORE // total))
        total, found = up_to(bound)
    return total, found


def _both(connection: sqlite3.Connection, question: Question, axes: Axes) -> tuple[str, list[object]]:
    where, parameters = condition(connection, question)
    length, time = axes.columns
    return f"{where} AND {length} IS NOT NULL AND {time} IS NOT NULL", parameters


def _rows(connection: sqlite3.Connection) -> int:
    """How many rows the file has, roughly."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages * size // _ROW_BYTES)
