"""Now: the numbers and plots are those of the log, what is new is shown without being asked for, alerts have bands."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import pytest

from tests.web.page import counting, traffic
from tests.web.page.browser import Browser, scrolled
from tests.web.page.conftest import Site

pytestmark = pytest.mark.service


def whole_minutes(site: Site, minutes: int) -> tuple[int, int]:
    """A range of whole minutes before the last line, ms."""
    end = site.end_ms // traffic.MINUTE_MS * traffic.MINUTE_MS
    return end - minutes * traffic.MINUTE_MS, end


def span(begin: int, end: int) -> str:
    return f"from={traffic.time_text(begin)}&to={traffic.time_text(end)}"


def tile(browser: Browser, name: str) -> str:
    """The text of a tile below its name."""
    for text in browser.texts(".tile"):
        head, _, rest = str(text).partition("\n")
        if head == name:
            return rest
    return ""


def plot_values(browser: Browser, title: str) -> str:
    """What a plot says of the step that is pointed at."""
    return str(
        browser.run(
            "return [...document.querySelectorAll('.plot .canvas')]"
            ".find(e => e.getAttribute('aria-label').startsWith(arguments[0]))?.getAttribute('aria-valuetext') ?? ''",
            title,
        )
    )


def test_the_tiles_are_recounted_from_the_log(busy: Site, browser: Browser) -> None:
    begin, end = whole_minutes(busy, 40)
    lines = busy.between(begin, end)
    failed = sum(counting.outcomes(lines).get(name, 0) for name in ("stream_error", "server_error", "empty"))

    browser.open(f"{busy.url}/?{span(begin, end)}")
    browser.wait_text(".tile", f"{failed}")

    per_second, _, count = tile(browser, "Requests").partition("\n")
    assert counting.number(count) == pytest.approx(len(lines), rel=0.005)
    assert counting.number(per_second.split()[0]) == pytest.approx(len(lines) / 2400, rel=0.01)
    assert float(tile(browser, "Failed").split()[0]) == pytest.approx(100 * failed / len(lines), abs=0.06)
    p95, _, others = tile(browser, "P95 duration").partition("\n")
    all_durations = counting.durations(lines)
    assert counting.seconds(p95) == pytest.approx(counting.percentile(all_durations, 0.95) / 1000, rel=0.015)
    for part, share in zip(others.split(" · "), (0.5, 0.99), strict=True):
        expected = counting.percentile(all_durations, share) / 1000
        assert counting.seconds(part.partition(" ")[2]) == pytest.approx(expected, rel=0.015)
    tokens = tile(browser, "Tokens out").partition("\n")[2].split(" → ")
    for text, which in zip(tokens, ("prompt", "completion"), strict=True):
        assert counting.number(text) == pytest.approx(counting.tokens(lines, which), rel=0.005)


def test_a_plot_tells_each_step_by_key_and_leads_to_its_requests(busy: Site, browser: Browser) -> None:
    begin, end = whole_minutes(busy, 300)  # steps of a minute
    browser.open(f"{busy.url}/?{span(begin, end)}")
    browser.wait_for(lambda: browser.elements(".plot canvas"), "plots")
    browser.run("document.querySelector('.plot .canvas').focus()")
    browser.press("\ue010", *["\ue012"] * 3)  # End, three times left

    told = browser.wait_for(lambda: plot_values(browser, "Requests by outcome"), "the plot to tell its values")
    clock = re.match(r"(\d\d:\d\d:\d\d)", told)
    assert clock is not None, told
    minute = next(at for at in range(begin, end, 60_000) if traffic.time_text(at)[11:19] == clock[1])
    expected = counting.outcomes(busy.between(minute, minute + 60_000))
    assert f"ok {expected['ok'] / 60:.2f}" in told

    browser.press("\ue007")  # Enter
    browser.wait_for(lambda: "view=requests" in browser.url, "the requests of that minute")
    browser.wait_for(lambda: scrolled(browser) and "That is all" in browser.text(".end"), "the last of them")
    assert len(browser.elements(".rows tbody tr")) == sum(expected.values())


def test_a_click_on_a_plot_leads_to_the_requests_behind_it_and_back_comes_back(busy: Site, browser: Browser) -> None:
    begin, end = whole_minutes(busy, 300)
    browser.open(f"{busy.url}/?{span(begin, end)}")
    browser.wait_for(lambda: browser.elements(".plot canvas"), "plots")
    box = browser.run(
        "const r = document.querySelectorAll('.plot .u-over')[1].getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height]"
    )

    browser.click_at(int(box[0] + box[2] - 20), int(box[1] + box[3] / 2))

    browser.wait_for(lambda: "view=requests" in browser.url, "the requests behind the point")
    assert "sort=duration" in browser.url
    browser.wait_for(lambda: browser.elements(".rows tbody tr, .state:not(.is-loading)"), "an answer")
    browser.back()
    browser.wait_for(lambda: browser.elements(".plot canvas"), "plots")


def test_dragging_over_a_plot_looks_closer(busy: Site, browser: Browser) -> None:
    begin, end = whole_minutes(busy, 50)
    browser.open(f"{busy.url}/?{span(begin, end)}")
    browser.wait_for(lambda: browser.elements(".plot canvas"), "plots")
    box = browser.run(
        "const r = document.querySelector('.plot .u-over').getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height].map(Math.round)"
    )
    middle = box[1] + box[3] // 2

    browser.drag((box[0] + box[2] // 4, middle), (box[0] + box[2] // 2, middle))

    moved = browser.wait_for(
        lambda: re.search(r"from=([^&]*)&to=([^&]*)", browser.url.replace("%3A", ":")), "another range"
    )
    browser.wait_for(lambda: traffic.time_text(begin) not in browser.url.replace("%3A", ":"), "a later beginning")
    assert moved is not None


def test_alerts_are_bands_with_a_letter_and_their_sentence(busy: Site, browser: Browser) -> None:
    browser.open(f"{busy.url}/?from=2h")
    browser.wait_for(lambda: len(browser.elements(".alert-list li")) >= 3, "the alerts of the range")

    letters = browser.texts(".alert-list .letter")
    sentences = browser.texts(".alert-list .sentence")
    told = json.loads(busy.pipeline.get("/api/v1/alerts?from=2h")[1])["items"]

    assert letters == sorted(letters)
    assert set(sentences) == {each["text"]["en"] for each in told if each["state"] != "pending"}
    assert any("queue" in sentence for sentence in sentences)


def test_what_is_new_is_shown_without_asking(tmp_path: Path, browser: Browser) -> None:
    rng = random.Random(3)
    now = int(time.time() * 1000)
    site = Site(tmp_path, [traffic.request(rng, now - 5000 * i, broken=0) for i in range(20, 0, -1)], now).start()
    try:
        browser.open(f"{site.url}/")
        browser.wait_for(lambda: tile(browser, "Requests").endswith("\n20"), "twenty requests")
        browser.wait_text(".fresh", "live")

        site.append(traffic.request(rng, int(time.time() * 1000)))

        browser.wait_for(lambda: tile(browser, "Requests").endswith("\n21"), "the one that is new")

        with browser.another_tab():
            site.append(traffic.request(rng, int(time.time() * 1000)))
        browser.wait_for(lambda: tile(browser, "Requests").endswith("\n22"), "what came while nobody looked")
        site.append(traffic.request(rng, int(time.time() * 1000)))
        browser.wait_for(lambda: tile(browser, "Requests").endswith("\n23"), "what comes now")
    finally:
        site.pipeline.kill()
