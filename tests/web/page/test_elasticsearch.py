"""The page is the same over Elasticsearch: every view is drawn, and its numbers are those of the log."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.stores.elastic import set_up, settings
from tests.web.page import counting, traffic
from tests.web.page.browser import Browser
from tests.web.page.conftest import Site
from tests.web.page.speed import READY

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]

INDEX = "page-access"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, elasticsearch: str) -> Iterator[Site]:
    """Half an hour of a busy server, in Elasticsearch."""
    set_up(settings(elasticsearch, INDEX))
    end_ms = int(time.time() * 1000) - 2 * traffic.MINUTE_MS
    site = Site(
        tmp_path_factory.mktemp("searched"),
        list(traffic.hour(end_ms, minutes=30, per_second=1.0)),
        end_ms,
        store={"kind": "elasticsearch", "urls": [elasticsearch], "index": INDEX},
        prices={"qwen3-32b": {"input": 0.4, "output": 1.2}},
    )
    yield site.start(seconds=120)
    site.pipeline.kill()


@pytest.mark.parametrize("view", READY)
def test_each_view_is_drawn_without_a_complaint(searched: Site, browser: Browser, view: str) -> None:
    browser.open(f"{searched.url}/?view={view}&from=1h")
    browser.wait_for(lambda: browser.elements(READY[view]), f"{view} to be drawn")
    browser.wait_for(lambda: not browser.elements(".is-loading"), "everything to be there")

    assert browser.elements(".is-failed") == []
    assert browser.complaints() == []


def test_requests_and_groups_are_those_of_the_log(searched: Site, browser: Browser) -> None:
    slowest = max(searched.requests, key=lambda line: line["duration_ms"])
    browser.open(f"{searched.url}/?view=requests&from=1h&sort=duration")
    browser.click(".rows tbody a")
    browser.wait_for(lambda: f"request={slowest['id']}" in browser.url, "the slowest of all")
    browser.wait_for(lambda: browser.elements(".waterfall .track"), "where its time went")
    assert traffic.written(iter([slowest])).decode().strip() == browser.text(".line")

    browser.open(f"{searched.url}/?view=why&from=1h&by=outcome")
    expected = sorted(counting.outcomes(searched.requests).values(), reverse=True)
    browser.wait_for(
        lambda: (
            [int(text.split()[0].replace(",", "")) for text in browser.texts(".groups tbody td:nth-child(2)")]
            == expected
        ),
        f"{expected}",
    )
