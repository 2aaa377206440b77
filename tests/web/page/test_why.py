"""Why: the heat map, the lengths and the groups are those of the log, and lead to the requests behind them."""

from __future__ import annotations

import re

import pytest

from tests.web.page import counting, traffic
from tests.web.page.browser import Browser
from tests.web.page.conftest import Site

pytestmark = pytest.mark.service


@pytest.fixture
def why(busy: Site, browser: Browser) -> tuple[Site, Browser, list[dict[str, object]]]:
    """The view over fifty whole minutes, and the requests of that time."""
    end = busy.end_ms // traffic.MINUTE_MS * traffic.MINUTE_MS
    begin = end - 50 * traffic.MINUTE_MS
    browser.open(f"{busy.url}/?view=why&from={traffic.time_text(begin)}&to={traffic.time_text(end)}")
    browser.wait_for(lambda: browser.elements(".groups tbody tr"), "the groups")
    return busy, browser, busy.between(begin, end)


def spoken(browser: Browser, which: str) -> str:
    return str(browser.run("return document.querySelector(arguments[0])?.getAttribute('aria-valuetext') ?? ''", which))


def column(browser: Browser, number: int) -> dict[str, str]:
    """A column of the table of groups, by the names of the groups."""
    script = (
        "return Object.fromEntries([...document.querySelectorAll('.groups tbody tr')]"
        ".map(r => [r.cells[0].innerText, r.cells[arguments[0] - 1]?.innerText ?? '']))"
    )
    return dict(browser.run(script, number))


def test_the_heat_map_tells_each_column_by_key_and_leads_to_its_requests(
    why: tuple[Site, Browser, list[dict[str, object]]],
) -> None:
    busy, browser, _ = why
    browser.wait_for(lambda: browser.elements(".heat .canvas canvas"), "the heat map")
    browser.run("document.querySelector('.heat .canvas').focus()")
    browser.press("\ue012", "\ue012")  # the column before the last

    told = browser.wait_for(lambda: re.search(r": ([\d,]+) requests", spoken(browser, ".heat .canvas")), "its number")
    browser.press("\ue007")
    browser.wait_for(lambda: "view=requests" in browser.url, "the requests of the column")
    found = re.search(r"from=([^&]*)&to=([^&]*)", browser.url.replace("%3A", ":"))
    assert found is not None
    behind = [line for line in busy.requests if found[1] <= line["time"] < found[2]]

    assert int(told[1].replace(",", "")) == len(behind)


@pytest.mark.parametrize(("by", "field"), [("model", "model"), ("client", "client"), ("user", "user_id")])
def test_the_groups_are_recounted(why: tuple[Site, Browser, list[dict[str, object]]], by: str, field: str) -> None:
    _, browser, lines = why
    browser.click(".groups .segments button", containing=by)
    expected: dict[object, int] = {}
    for line in lines:
        expected[line[field]] = expected.get(line[field], 0) + 1

    def counted() -> bool:
        numbers = {name: int(text.split()[0].replace(",", "")) for name, text in column(browser, 2).items()}
        return numbers == expected

    browser.wait_for(counted, f"the requests by {by}")


def test_tokens_have_their_price(why: tuple[Site, Browser, list[dict[str, object]]]) -> None:
    _, browser, lines = why
    mine = [line for line in lines if line["model"] == "qwen3-32b"]
    cost = (0.4 * counting.tokens(mine, "prompt") + 1.2 * counting.tokens(mine, "completion")) / 1e6

    def priced() -> bool:
        shown = column(browser, 9).get("qwen3-32b", "–")
        return shown != "–" and float(shown) == pytest.approx(cost, abs=0.006)

    browser.wait_for(priced, f"what the tokens cost: {cost}")


def test_lengths_against_times_lead_from_the_slowest_point_to_its_request(
    why: tuple[Site, Browser, list[dict[str, object]]],
) -> None:
    _, browser, lines = why
    browser.wait_for(lambda: browser.elements(".plots .plot .canvas canvas"), "the points")
    assert "queue" in browser.texts(".plots .plot .legend li")
    slowest = max((line for line in lines if line.get("ttft_ms")), key=lambda line: float(str(line["ttft_ms"])))

    browser.run("document.querySelector('.plots .plot .canvas').focus()")
    browser.press("\ue014")  # to the right: the slowest that has a flag
    browser.wait_for(lambda: "→" in spoken(browser, ".plots .plot .canvas"), "the point to tell itself")
    browser.press("\ue007")

    browser.wait_for(lambda: f"request={slowest['id']}" in browser.url, "that request")
    browser.wait_for(lambda: browser.elements(".waterfall .track"), "where its time went")
