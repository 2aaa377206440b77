"""The buckets that alerts are judged by come back from the state as they were, however they were written."""

from __future__ import annotations

import sqlite3

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from logproc.alerts.judge import Judge
from logproc.alerts.record import SCHEMA as ALERTS
from logproc.measure.bucket_journal import BUCKETS, CLEAREST, MANY, STRETCHES, BucketJournal
from logproc.settings import Thresholds

SCHEMA = BUCKETS + ALERTS + CLEAREST + STRETCHES + "CREATE TABLE facts (name TEXT PRIMARY KEY, value);"

commit = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 300), st.sampled_from([1, 3, MANY, 2 * MANY]))
"""A model, the first second and how many of them."""


@given(st.lists(commit, max_size=12), st.integers(1, 1 << 40))
def test_what_was_saved_in_few_seconds_or_many_is_loaded(commits: list[tuple[str, int, int]], most: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    journal, judge = BucketJournal(), Judge(Thresholds())

    for number, (model, first, count) in enumerate(commits):
        for second in range(first, first + count):
            row = np.zeros(len(judge.columns), np.int64)
            row[[0, number % len(row), -1]] = (1, second, most)
            judge.history.seconds.add_row(model, second, row)
            judge.history.dirty.add((model, second))
        journal.save(connection, judge, ())
        journal.saved(judge)
    loaded = Judge(Thresholds())
    BucketJournal().load(connection, dict(connection.execute("SELECT name, value FROM facts")), loaded)

    saved, found = judge.history.seconds.rows, loaded.history.seconds.rows
    assert {model: set(rows) for model, rows in saved.items()} == {model: set(rows) for model, rows in found.items()}
    for model, rows in saved.items():
        for second, row in rows.items():
            assert row.tolist() == found[model][second].tolist()
