"""Alerts: what was wrong, why, and the requests that show it, two clicks away; messages can be answered and stopped."""

from __future__ import annotations

import json

import pytest

from tests.web.page import counting, traffic
from tests.web.page.browser import Browser
from tests.web.page.conftest import Site

pytestmark = pytest.mark.service


def alerts(site: Site) -> list[dict[str, object]]:
    return list(json.loads(site.pipeline.get("/api/v1/alerts?from=2h&limit=100")[1])["items"])


def test_from_an_alert_to_a_request_that_shows_it_in_two_clicks(busy: Site, browser: Browser) -> None:
    by_id = {line["id"]: line for line in busy.requests}
    browser.open(f"{busy.url}/?view=alerts&from=2h")

    browser.click(".alert-rows a", containing="P99")
    browser.click(".examples a")

    browser.wait_for(lambda: browser.elements(".waterfall .track"), "the request")
    shown = by_id[browser.url.partition("request=")[2].partition("&")[0]]
    total = dict(zip(browser.texts(".track-name"), browser.texts(".track b"), strict=True))["total"]
    assert counting.seconds(total) == pytest.approx(shown["duration_ms"] / 1000, rel=0.006)
    assert shown["queue_ms"] > 1000, "the alert says that the queue is the cause: so its examples must show"


def test_an_alert_tells_what_it_was_judged_by_and_how_it_went(busy: Site, browser: Browser) -> None:
    alert = next(each for each in alerts(busy) if each["kind"] == "errors")
    browser.open(f"{busy.url}/?view=alerts&from=2h&alert={alert['id']}")
    browser.wait_for(lambda: browser.elements(".life li"), "its life")

    assert browser.text(".one .sentence") == alert["text"]["en"]  # type: ignore[index]
    assert browser.texts(".numbers dd")[:2] == [f"{100 * alert['value']:.0f} %", "10 %"]  # type: ignore[operator]
    states = [text.partition(", ")[0].split()[-1] for text in browser.texts(".life li")]
    assert states[-1] == "resolved"
    assert "firing" in states

    browser.click(".plain[lang]")
    browser.wait_for(lambda: browser.text(".one .sentence") == alert["text"]["zh"], "the Chinese sentence")  # type: ignore[index]


def test_who_sees_to_an_alert_is_told_to_everyone(busy: Site, browser: Browser) -> None:
    alert = next(each for each in alerts(busy) if each["state"] == "firing")
    browser.open(f"{busy.url}/?view=alerts&from=2h&alert={alert['id']}")

    browser.type(".actions form:first-child input[name=by]", "Grace <b>H.</b>")
    browser.click(".actions .primary")

    browser.wait_text(".actions", "seen to by Grace <b>H.</b>")
    acknowledged = next(each for each in alerts(busy) if each["id"] == alert["id"])["acknowledged"]
    assert acknowledged["by"] == "Grace <b>H.</b>"  # type: ignore[index]


def test_a_kind_of_alert_is_silenced_and_heard_again(busy: Site, browser: Browser) -> None:
    alert = next(each for each in alerts(busy) if each["kind"] == "ttft")
    browser.open(f"{busy.url}/?view=alerts&from=2h&alert={alert['id']}")

    browser.type(".actions form:last-of-type input[name=comment]", "load test")
    browser.click(".actions form:last-of-type button")

    browser.wait_text(".silences li", "load test")
    silences = json.loads(busy.pipeline.get("/api/v1/silences")[1])["items"]
    assert [(each["kind"], each["comment"]) for each in silences] == [("ttft", "load test")]

    browser.click(".silences button")
    browser.wait_for(lambda: not browser.elements(".silences li"), "no silence")
    assert json.loads(busy.pipeline.get("/api/v1/silences")[1])["items"] == []


def test_a_range_without_alerts_says_that_nothing_was_wrong(busy: Site, browser: Browser) -> None:
    begin = busy.end_ms - 600 * traffic.MINUTE_MS
    until = traffic.time_text(begin + traffic.MINUTE_MS)
    browser.open(f"{busy.url}/?view=alerts&from={traffic.time_text(begin)}&to={until}")

    browser.wait_text(".state", "No alerts")
