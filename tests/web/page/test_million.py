"""A day with a million requests: every view is there, and no answer keeps anybody waiting for ever.

How long it takes is told by `python -m benchmarks.page_speed`; the bounds here only end what would never end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.make_log import lines
from benchmarks.page_speed import read_all, span_of
from tests.pipeline import Pipeline
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
    folder = tmp_path_factory.mktemp("million")
    log = folder / "access.jsonl"
    start_ms = int(time.time() * 1000) - 21 * REQUESTS
    with log.open("wb") as file:
        file.writelines(lines(REQUESTS, full=True, start_ms=start_ms))
    pipeline = Pipeline(folder, [str(log)])
    pipeline.start()
    read_all(pipeline)
    yield f"http://127.0.0.1:{pipeline.port}", span_of(log)
    pipeline.kill()
    for path in (log, *_files(pipeline.state)):
        path.unlink(missing_ok=True)  # a gigabyte that nobody looks at again


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("view", READY)
def test_a_view_over_a_million_requests_is_there(million: tuple[str, str], browser: Browser, view: str) -> None:
    url, day = million

    visits = [visit(browser, url, view, day) for _ in range(VISITS)]

    print(*visits, sep="\n")
    assert min(each.first_paint_ms for each in visits) < FIRST_PAINT_MS
    assert min(each.slowest_ms for each in visits) < ANSWER_MS, visits
    assert browser.elements(".is-failed") == []
