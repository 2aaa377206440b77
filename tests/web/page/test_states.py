"""What the page says when there is nothing, when logproc is late, half broken, or gone."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.web.page import traffic
from tests.web.page.browser import Browser
from tests.web.page.conftest import Site

pytestmark = pytest.mark.service


def test_without_any_request_the_page_says_what_to_look_at(tmp_path: Path, browser: Browser) -> None:
    site = Site(tmp_path, [], int(time.time() * 1000)).start()
    try:
        for view in ("now", "requests", "why"):
            browser.open(f"{site.url}/?view={view}")
            browser.wait_text(".state", "No requests yet")
    finally:
        site.pipeline.kill()


def test_an_empty_range_leads_to_where_there_are_requests(busy: Site, browser: Browser) -> None:
    browser.open(f"{busy.url}/?from={traffic.time_text(busy.end_ms + 60_000)}")
    browser.wait_text(".state", "No requests in this range")

    browser.click(".state button")

    browser.wait_for(lambda: browser.elements(".plot canvas"), "the plots of the hour before the newest request")


def test_filters_that_match_nothing_can_be_cleared(busy: Site, browser: Browser) -> None:
    browser.open(f"{busy.url}/?view=requests&from=2h&model=none&slower_than=3s")
    browser.wait_text(".state", "No requests match")

    browser.click(".state button")

    browser.wait_for(lambda: len(browser.elements(".rows tbody tr")) == 50, "all requests")
    assert "model" not in browser.url
    assert "slower_than" not in browser.url


def test_a_question_that_cannot_be_understood_is_answered_with_why(busy: Site, browser: Browser) -> None:
    browser.open(f"{busy.url}/?view=requests&slower_than=quick")

    browser.wait_text(".is-failed", "slower_than")
    browser.wait_text(".is-failed", "Try again")


def test_a_request_that_is_gone_says_so(busy: Site, browser: Browser) -> None:
    browser.open(f"{busy.url}/?view=requests&request=AAAAAAAAAAAAAAAAAAAAAA")

    browser.wait_text(".one", "There is no such request")


def test_when_logproc_is_gone_the_page_says_so_and_comes_back_by_itself(tmp_path: Path, browser: Browser) -> None:
    rng = random.Random(2)
    now = int(time.time() * 1000)
    site = Site(tmp_path, [traffic.request(rng, now - 1000)], now).start()
    try:
        browser.open(f"{site.url}/")
        browser.wait_text(".fresh", "live")

        site.pipeline.kill()
        browser.wait_text(".fresh", "no answer")
        browser.wait_text(".trouble", "Is it running?")

        site.pipeline.start()
        browser.wait_text(".fresh", "live")
        browser.wait_for(lambda: browser.text(".trouble") == "", "no trouble any more")
    finally:
        site.pipeline.kill()


def test_however_many_tabs_are_open_the_next_one_is_answered(busy: Site, browser: Browser) -> None:
    """A browser has six connections for all tabs of one server, and a link in a chat opens a tab each time."""
    with ExitStack() as tabs:
        for _ in range(8):
            tabs.enter_context(browser.another_tab())
            browser.open(f"{busy.url}/?view=alerts")
            browser.wait_text(".fresh", "live")
    browser.open(f"{busy.url}/")
    browser.wait_text(".fresh", "live")


def test_a_page_that_was_left_takes_no_connection(busy: Site, browser: Browser) -> None:
    for _ in range(8):
        browser.open(f"{busy.url}/?view=alerts")
        browser.wait_text(".fresh", "live")
        browser.open("about:blank")


def test_a_store_that_cannot_be_written_is_told_with_what_it_means(tmp_path: Path, browser: Browser) -> None:
    now = int(time.time() * 1000)
    site = Site(
        tmp_path,
        [traffic.request(random.Random(2), now - 1000)],
        now,
        store={"kind": "elasticsearch", "urls": ["http://127.0.0.1:9"]},
    )
    site.pipeline.start()
    try:
        browser.wait_for(lambda: _opens(browser, site.url), "the page to be served")
        browser.wait_text(".fresh", "degraded")
        browser.wait_text(".trouble", "index cannot go on")
        browser.wait_for(lambda: browser.elements(".state.is-failed"), "why there are no numbers")
    finally:
        site.pipeline.kill()


def _opens(browser: Browser, url: str) -> bool:
    try:
        browser.open(url)
    except Exception:
        return False
    return bool(browser.elements(".top"))
