"""The slowest requests of one file, found without an index: it would cost every write, for a question asked seldom."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from logproc.sketch import BINS, bins_at
from logproc.stores.archive import Question, Slowness
from logproc.stores.rollup import MINUTE_MS, Rollup
from logproc.stores.sqlite_condition import condition
from logproc.stores.sqlite_schema import REQUESTS, text_of

_STORED: Final = REQUESTS.stored
SHOWN: Final = ", ".join(text_of(field) for field in REQUESTS.fields)
"""The columns of a whole document."""
MOST_MINUTES: Final = 300
"""Beyond it the whole range is walked over."""
_NS_PER_MS: Final = 1e6


def minutes_of_slowest(question: Question, minutes: Rollup, limit: int, after: Slowness | None) -> list[Question]:
    """The question for each minute in which one of the slowest can be: those of the longest bins of the sketches.

    `minutes` are all of the question's range, which must be whole minutes.
    """
    sketch = minutes.sketches[0]
    longest = BINS - 1 if after is None else int(bins_at(np.array([after.duration_ns / _NS_PER_MS]))[0])
    counts = np.bincount(sketch.bins, weights=sketch.counts, minlength=BINS)
    counts[longest + (after is None) :] = 0  # in the bin of `after` itself there may be longer ones
    enough = np.flatnonzero(counts[::-1].cumsum()[::-1] >= limit)
    shortest = int(enough[-1]) if enough.size else 0
    found = np.unique(minutes.minute[sketch.rows[(shortest <= sketch.bins) & (sketch.bins <= longest)]]) * MINUTE_MS
    if len(found) > MOST_MINUTES:
        return [question]
    return [replace(question, since_ms=start, until_ms=start + MINUTE_MS) for start in found.tolist()]


def slowest(
    connection: sqlite3.Connection, questions: Iterable[Question], limit: int, after: Slowness | None
) -> Iterator[tuple[Slowness, Sequence[Any]]]:
    """The rows (SHOWN) of the slowest documents that match one of the questions, in no order."""
    # First their ids alone: a whole row is dear, and all but a few are walked over in vain.
    found = [place for question in questions for place in _places(connection, question, limit, after)]
    ids = [place.id for place in sorted(found, reverse=True)[:limit]]
    marks = ", ".join("?" * len(ids))
    query = f"SELECT duration_ns, {SHOWN} FROM {_STORED} WHERE id IN ({marks})"  # noqa: S608 - names of our own
    for duration, *row in connection.execute(query, ids):
        yield Slowness(duration, row[1], row[0]), row


def _places(
    connection: sqlite3.Connection, question: Question, limit: int, after: Slowness | None
) -> Iterator[Slowness]:
    where, parameters = condition(connection, question)
    if after is not None:
        where += " AND (duration_ns, time_ms, id) < (?, ?, ?)"
        parameters += after
    query = (
        f"SELECT duration_ns, time_ms, id FROM {_STORED} WHERE duration_ns IS NOT NULL AND {where} "  # noqa: S608
        "ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT ?"
    )
    return map(Slowness._make, connection.execute(query, [*parameters, limit]))
