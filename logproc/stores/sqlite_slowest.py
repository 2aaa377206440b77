"""The slowest requests of one file, found without an index: it would cost every write, for a question asked seldom."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from logproc.stores.archive import Question, Slowness
from logproc.stores.sqlite_condition import condition
from logproc.stores.sqlite_schema import REQUESTS, text_of

_STORED: Final = REQUESTS.stored
SHOWN: Final = ", ".join(text_of(field) for field in REQUESTS.fields)
"""The columns of a whole document."""


def slowest(
    connection: sqlite3.Connection, question: Question, limit: int, after: Slowness | None
) -> list[tuple[Slowness, Sequence[Any]]]:
    """The rows (SHOWN) of at most `limit` documents that match, in no order."""
    where, parameters = condition(connection, question)
    if after is not None:
        where += " AND (duration_ns, time_ms, id) < (?, ?, ?)"
        parameters += after
    # First their ids alone: a whole row is dear, and all but a few are walked over in vain.
    ids = connection.execute(
        f"SELECT id FROM {_STORED} WHERE duration_ns IS NOT NULL AND {where} "  # noqa: S608 - names of our own
        "ORDER BY duration_ns DESC, time_ms DESC, id DESC LIMIT ?",
        [*parameters, limit],
    ).fetchall()
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(
        f"SELECT duration_ns, {SHOWN} FROM {_STORED} WHERE id IN ({marks})",  # noqa: S608
        [each for (each,) in ids],
    )
    return [(Slowness(duration, row[1], row[0]), row) for duration, *row in rows]
