"""Rows of one metric: they grow, and nothing is lost while they do."""

from __future__ import annotations

from logproc.measure.catalog import Metric
from logproc.measure.table import Table


def test_every_increase_counts_while_the_table_grows() -> None:
    table = Table(Metric("m", "", ("label",)), max_series=1000)

    for _ in range(2):
        for number in range(100):
            table.increase((str(number),), number)

    assert table.cells[:100, 0].tolist() == [2 * number for number in range(100)]
