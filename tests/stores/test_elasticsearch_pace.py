"""How many requests may be under way: fewer at once when the server has too much to do, more again only slowly."""

from __future__ import annotations

import threading

from logproc.stores.elasticsearch_pace import CALM_S, Pace, wait_s
from tests.pipeline import until


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_too_much_halves_and_a_calm_while_allows_one_more() -> None:
    clock = Clock()
    pace = Pace(8, clock)
    limits = []
    for _ in range(5):
        pace.too_much()
        limits.append(pace.limit)
    assert limits == [4, 2, 1, 1, 1]
    pace.taken()
    assert pace.limit == 1  # it was not calm for long enough
    for _ in range(20):
        clock.now += CALM_S
        pace.taken()
        limits.append(pace.limit)
    assert limits[5:] == [2, 3, 4, 5, 6, 7, 8, *[8] * 13]


def test_no_more_than_the_limit_are_under_way() -> None:
    pace = Pace(2)
    pace.too_much()
    inside: list[int] = []
    go_on = threading.Event()

    def work(number: int) -> None:
        with pace.turn():
            inside.append(number)
            go_on.wait(10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    threads[0].start()
    until(lambda: inside == [0], "the first")
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(pace._free._waiters) == 2, "the others wait")  # type: ignore[attr-defined]
    assert inside == [0]
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert sorted(inside) == [0, 1, 2]


def test_waits_double_up_to_a_bound_and_are_spread_by_chance() -> None:
    longest = [wait_s(attempt, lambda: 1.0) for attempt in range(12)]
    assert longest[:5] == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert longest[5:] == [5.0] * 7
    assert 0 < wait_s(4, lambda: 0.0) < 0.5
