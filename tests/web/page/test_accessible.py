"""Nobody is kept out: axe-core finds nothing in any view, light and dark, wide and narrow; keys do as a mouse does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.page.browser import Browser
from tests.web.page.conftest import Site

pytestmark = pytest.mark.service

READY = {
    "now": ".plot .canvas canvas",
    "requests": ".rows tbody tr",
    "why": ".groups tbody tr",
    "alerts": ".alert-rows li",
}


def violations(browser: Browser, axe: str) -> list[Any]:
    """What axe-core finds, each as its rule and the places where it is broken."""
    browser.run(axe)
    found = browser.run_async(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations), e => done([{id: String(e)}]))"
    )
    return [
        (each["id"], [(node["target"], node.get("failureSummary", "")) for node in each.get("nodes", [])])
        for each in found
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", READY)
def test_axe_finds_nothing_in_a_view(busy: Site, browser: Browser, axe: str, view: str, theme: str) -> None:
    browser.open(f"{busy.url}/?view={view}&from=2h&theme={theme}&outcome=ok&lang={'zh' if theme == 'dark' else 'en'}")
    browser.wait_for(lambda: browser.elements(READY[view]), f"{view} to be drawn")

    assert violations(browser, axe) == []


@pytest.mark.parametrize(
    ("path", "ready"),
    [
        ("view=requests&from=2h&request={request}", ".waterfall"),
        ("view=alerts&from=2h&alert={alert}", ".one .actions"),
        ("from=2h&to=90m&model=none", ".state"),
        ("from=2026-11-01T22:00:00Z&to=2026-11-03T23:30:00Z&model=none", ".state"),
    ],
)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_axe_finds_nothing_beside_a_list_or_where_nothing_is_and_a_phone_is_wide_enough(
    busy: Site, browser: Browser, axe: str, path: str, ready: str, theme: str, width: int
) -> None:
    browser.size(width, 800)
    browser.open(f"{busy.url}/?view=alerts&from=2h")
    alert = browser.wait_for(
        lambda: browser.run("return document.querySelector('.alert-rows a')?.href?.match(/alert=(\\w+)/)?.[1]"),
        "an alert",
    )
    request = busy.requests[-1]["id"]

    browser.open(f"{busy.url}/?{path.format(request=request, alert=alert)}&theme={theme}")
    browser.wait_for(lambda: browser.elements(ready), ready)

    assert violations(browser, axe) == []
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_axe_would_find_something(busy: Site, browser: Browser, axe: str) -> None:
    browser.open(f"{busy.url}/?view=alerts&from=2h")
    browser.wait_for(lambda: browser.elements(READY["alerts"]), "the alerts")
    browser.run("document.querySelector('main').append(document.createElement('input'))")

    assert [rule for rule, _ in violations(browser, axe)] == ["label"]
