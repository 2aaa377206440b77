"""A day with a million requests: every view is there, and no answer keeps anybody waiting for ever.

How long it takes is told by `python -m benchmarks.page_speed`; the bounds here only end what would never end.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.page_speed import a_day
from tests.web.page.browser import Browser
from tests.web.page.speed import READY, visit

pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]

REQUESTS = 1_000_000
VISITS = 3
FIRST_PAINT_MS = 10_000
ANSWER_MS = 20_000


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of a logproc that has read a million requests, and the day that they are of."""
    with a_day(tmp_path_factory.mktemp("million"), REQUESTS) as found:
        yield found


@pytest.mark.parametrize("view", READY)
def test_a_view_over_a_million_requests_is_there(million: tuple[str, str], browser: Browser, view: str) -> None:
    url, day = million

    visits = [visit(browser, url, view, day) for _ in range(VISITS)]

    print(*visits, sep="\n")
    assert min(each.first_paint_ms for each in visits) < FIRST_PAINT_MS
    assert min(each.slowest_ms for each in visits) < ANSWER_MS, visits
    assert browser.elements(".is-failed") == []
