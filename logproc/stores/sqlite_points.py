"""Points of a plot out of SQLite: it chooses the ids, so that only what is shown is handed over."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence, Set
from heapq import nsmallest
from typing import Final, NamedTuple

import numpy as np

from logproc.record import DAY_MS
from logproc.stores.archive import Found, Position, Question
from logproc.stores.documents import flat_document
from logproc.stores.points import FIELDS, ID_BYTES, TIME_BYTES, Axes, Ints
from logproc.stores.sqlite_condition import condition
from logproc.stores.sqlite_schema import REQUESTS, text_of

_STORED: Final = REQUESTS.stored
_SHOWN: Final = ", ".join(text_of(field) for field in FIELDS)
_PREFIX: Final = 4
_HIGHEST: Final = (1 << 8 * _PREFIX) - 1
"""Random ends by their first bytes, as a number: none is above it."""
_MORE: Final = 2
"""So many times what is wanted is asked for: chance has its way."""
MOST_ROWS: Final = 50_000
"""So few that match a filter are looked at one by one, in one walk over the range; else it takes two or three."""
_ROW_BYTES: Final = 200
"""A row, roughly; a wrong guess costs one look more."""


class Part(NamedTuple):
    """What a piece of time in one file has to give."""

    total: int
    odd_ns: Ints
    """The times of those with a flag that took longest."""
    odd: bytes
    """Their ids, one after the other."""
    sample: bytes
    """The ids whose random ends are the lowest, and maybe more."""


def part_in(connection: sqlite3.Connection, question: Question, axes: Axes, limit: int) -> Part:
    """What is needed to choose `limit` points out of the documents of one file that match."""
    where, parameters = condition(connection, question)
    length, time = axes.columns
    where = f"{where} AND {length} IS NOT NULL AND {time} IS NOT NULL"
    if question.has_filters:
        told = f"SELECT {time}, id, flags IS NOT NULL FROM {_STORED} WHERE {where} LIMIT ?"  # noqa: S608
        rows = connection.execute(told, [*parameters, MOST_ROWS + 1]).fetchall()
        if len(rows) <= MOST_ROWS:
            flagged = sorted((-took, key) for took, key, is_odd in rows if is_odd)[: limit // 2]
            lowest = nsmallest(limit, (key for _, key, _ in rows), lambda key: (key[TIME_BYTES:], key))
            return _part(len(rows), [(-took, key) for took, key in flagged], b"".join(lowest))
    counted = f"""
        SELECT count(*), group_concat(hex(id)) FILTER (WHERE substr(id, {TIME_BYTES + 1}, {_PREFIX}) <= ?)
        FROM {_STORED} WHERE {where}
    """  # noqa: S608 - names of our own
    slowest = f"""
        SELECT {time}, id FROM {_STORED} WHERE flags IS NOT NULL AND {where} ORDER BY {time} DESC, id LIMIT ?
    """  # noqa: S608

    def up_to(bound: int) -> tuple[int, bytes]:
        total, ids = connection.execute(counted, [bound.to_bytes(_PREFIX, "big"), *parameters]).fetchone()
        return total, bytes.fromhex((ids or "").replace(",", ""))

    bound = _bound(limit, _rows(connection, question))
    total, sample = up_to(bound)
    while len(sample) < ID_BYTES * min(limit, total) and bound < _HIGHEST:
        bound = max(min(_HIGHEST, bound * 2), _bound(limit, total))
        total, sample = up_to(bound)
    odd = connection.execute(slowest, [*parameters, limit // 2]).fetchall()
    return _part(total, odd, sample)


def _part(total: int, odd: Sequence[tuple[int, bytes]], sample: bytes) -> Part:
    return Part(total, np.array([took for took, _ in odd], np.int64), b"".join(key for _, key in odd), sample)


def documents_in(connection: sqlite3.Connection, ids: Set[bytes]) -> list[Found]:
    """FIELDS of the documents with these ids."""
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(f"SELECT {_SHOWN} FROM {_STORED} WHERE id IN ({marks})", list(ids))  # noqa: S608
    return [Found(Position(row[1], row[0]), flat_document(FIELDS, row)) for row in rows]


def _bound(limit: int, rows: int) -> int:
    """Below it are about as many ends as are wanted, of so many rows."""
    return min(_HIGHEST, _HIGHEST * limit * _MORE // max(1, rows))


def _rows(connection: sqlite3.Connection, question: Question) -> int:
    """How many rows there are in the range of time, roughly."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    span = DAY_MS
    if question.since_ms is not None and question.until_ms is not None:
        span = min(DAY_MS, question.until_ms - question.since_ms)
    return int(pages * size // _ROW_BYTES * span // DAY_MS)
