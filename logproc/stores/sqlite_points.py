"""Points of a plot out of one day's file: SQLite chooses the ids, so that only what is shown is handed over."""

from __future__ import annotations

import sqlite3
from typing import Final

from logproc.stores.archive import Question
from logproc.stores.points import TIME_BYTES, Axes
from logproc.stores.sqlite_condition import condition
from logproc.stores.sqlite_schema import REQUESTS

_STORED: Final = REQUESTS.stored
_PREFIX: Final = 4
_HIGHEST: Final = (1 << 8 * _PREFIX) - 1
"""Random ends by their first bytes, as a number: none is above it."""
_MORE: Final = 2
"""So many times what is wanted is asked for: chance has its way."""
_ROW_BYTES: Final = 200
"""A row, roughly; a wrong guess costs one look more."""


def odd_in(connection: sqlite3.Connection, question: Question, axes: Axes, limit: int) -> list[tuple[int, bytes]]:
    """Time (ns) and id of the `limit` requests with a flag that took longest."""
    where, parameters = _both(connection, question, axes)
    _, time = axes.columns
    query = f"""
        SELECT {time}, id FROM {_STORED} WHERE flags IS NOT NULL AND {where} ORDER BY {time} DESC, id LIMIT ?
    """  # noqa: S608 - names of our own
    return connection.execute(query, [*parameters, limit]).fetchall()


def sample_in(connection: sqlite3.Connection, question: Question, axes: Axes, limit: int) -> tuple[int, list[bytes]]:
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
