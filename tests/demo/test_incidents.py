"""The schedule of the incidents."""

from __future__ import annotations

import itertools

import pytest

from logproc.demo.incidents import CYCLE_S, EMPTY, INCIDENTS, QUEUE, coming, playing


@pytest.mark.parametrize("turn", [0, 1, 5])
def test_each_incident_is_played_in_at_its_time_of_every_cycle(turn: int) -> None:
    start = turn * CYCLE_S
    assert [playing(start + at) for at in (0, 19.9, 20, 64.9, 65, 100, 149.9, 150, 179)] == [
        None, None, QUEUE, QUEUE, None, EMPTY, EMPTY, None, None,
    ]  # fmt: skip


def test_the_next_incident_is_foretold() -> None:
    assert coming(5) == (QUEUE, 15)
    assert coming(45) == (EMPTY, 55)
    assert coming(100) == (QUEUE, 100)
    assert coming(20) == (EMPTY, 80)


def test_no_two_incidents_overlap() -> None:
    assert all(one.ends_s <= other.begins_s for one, other in itertools.pairwise(INCIDENTS))
