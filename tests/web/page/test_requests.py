"""Requests: filters, order and pages are those of the log; one request shows where its time went, and its line."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.web.page import counting, traffic
from tests.web.page.browser import Browser, scrolled
from tests.web.page.conftest import Site

pytestmark = pytest.mark.service


def rows(browser: Browser) -> int:
    return len(browser.elements(".rows tbody tr"))


def test_a_filter_is_chosen_and_removed_and_the_url_tells_it(busy: Site, browser: Browser) -> None:
    errors = [line for line in busy.requests if line["outcome"] == "stream_error"]
    browser.open(f"{busy.url}/?view=requests&from=2h")
    browser.wait_for(lambda: rows(browser) == 50, "the first page")

    browser.run(
        "const s = document.querySelectorAll('.filters select')[1]; s.value = 'stream_error';"
        "s.dispatchEvent(new Event('change', {bubbles: true}))"
    )

    browser.wait_text(".chip", "stream error")
    assert "outcome=stream_error" in browser.url
    browser.wait_for(lambda: set(browser.texts(".rows .outcome")) == {"stream error"}, "only stream errors")
    browser.wait_for(lambda: scrolled(browser) and "That is all" in browser.text(".end"), "the end of the list")
    assert rows(browser) == len(errors)

    browser.click(".chip button")
    browser.wait_for(lambda: "outcome" not in browser.url, "no filter")


def test_pages_follow_without_end_in_the_order_of_the_log(busy: Site, browser: Browser) -> None:
    expected = [line["time"][11:23] for line in sorted(busy.requests, key=lambda line: line["time"], reverse=True)]
    browser.open(f"{busy.url}/?view=requests&from=2h")
    browser.wait_for(lambda: rows(browser) >= 50, "the first page")

    browser.wait_for(lambda: scrolled(browser) and rows(browser) >= 200, "pages after it")

    shown = browser.texts(".rows tbody td:first-child")
    assert shown == expected[: len(shown)]


def test_the_slowest_come_first_when_asked_for(busy: Site, browser: Browser) -> None:
    expected = sorted(counting.durations(busy.requests), reverse=True)[:50]
    browser.open(f"{busy.url}/?view=requests&from=2h")
    browser.wait_for(lambda: rows(browser) == 50, "the first page")

    browser.run(
        "const s = document.querySelector('.tools-end select'); s.value = 'duration';"
        "s.dispatchEvent(new Event('change', {bubbles: true}))"
    )

    browser.wait_for(lambda: "sort=duration" in browser.url, "the order in the URL")
    shown = browser.wait_for(lambda: _in_order(browser.texts(".rows tbody td:nth-child(3)")), "the slowest first")
    assert shown == pytest.approx([ms / 1000 for ms in expected], rel=0.006)


def _in_order(texts: list[str]) -> list[float]:
    found = [counting.seconds(text) for text in texts]
    return found if found == sorted(found, reverse=True) else []


def test_one_request_shows_where_its_time_went_and_its_line(busy: Site, browser: Browser) -> None:
    line = max((each for each in busy.requests if each["outcome"] == "ok"), key=lambda each: each["queue_ms"])
    browser.open(f"{busy.url}/?view=requests&from=2h&id={line['id']}")
    browser.click(".rows tbody a")
    browser.wait_for(lambda: browser.elements(".waterfall .track"), "the waterfall")

    names = browser.texts(".track-name")
    lengths = [counting.seconds(text) * 1000 for text in browser.texts(".track b")]
    told = dict(zip(names, lengths, strict=True))
    rest = line["duration_ms"] - line["queue_ms"] - line["prefill_ms"] - line["decode_ms"]
    expected = {
        "first token": line["ttft_ms"],
        "queue": line["queue_ms"],
        "prefill": line["prefill_ms"],
        "decode": line["decode_ms"],
        "client and rest": rest,
        "longest stall": line["stall_max_ms"],
        "total": line["duration_ms"],
    }
    assert told == pytest.approx(expected, rel=0.006, abs=0.51)
    assert traffic.written(iter([line])).decode().strip() == browser.text(".line")
    assert f"request={line['id']}" in browser.url
    width = browser.run(
        "const f = document.querySelectorAll('.track-fill')[1], l = f.parentElement;"
        "return f.getBoundingClientRect().width / l.getBoundingClientRect().width"
    )
    assert width == pytest.approx(line["queue_ms"] / line["duration_ms"], abs=0.02)


def test_keys_go_through_the_rows_and_close_what_is_open(busy: Site, browser: Browser) -> None:
    browser.open(f"{busy.url}/?view=requests&from=2h")
    browser.wait_for(lambda: rows(browser) == 50, "the first page")
    newest = [line["id"] for line in sorted(busy.requests, key=lambda line: line["time"], reverse=True)[:3]]

    browser.press("j")
    browser.wait_for(lambda: f"request={newest[0]}" in browser.url, "the first row")
    browser.press("j")
    browser.wait_for(lambda: f"request={newest[1]}" in browser.url, "the second row")
    browser.press("k")
    browser.wait_for(lambda: f"request={newest[0]}" in browser.url, "the first row again")
    browser.press("\ue00c")  # Escape
    browser.wait_for(lambda: "request=" not in browser.url, "the list alone")


def test_following_shows_new_requests_on_top(tmp_path: Path, browser: Browser) -> None:
    rng = random.Random(5)
    now = int(time.time() * 1000)
    site = Site(tmp_path, [traffic.request(rng, now - 1000 * i) for i in range(10, 0, -1)], now).start()
    try:
        browser.open(f"{site.url}/?view=requests&follow=1")
        browser.wait_for(lambda: rows(browser) == 10, "ten rows")
        for _ in range(3):
            site.append(traffic.request(rng, int(time.time() * 1000)))

        browser.wait_for(lambda: rows(browser) == 13, "three more")
        shown = browser.texts(".rows tbody td:first-child")
        assert shown == sorted(shown, reverse=True)
    finally:
        site.pipeline.kill()
