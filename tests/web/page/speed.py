"""How soon a view of the page is there: its first paint, its data, and the slowest answer of the API behind it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.web.page.browser import Browser

READY = {
    "now": ".plot .canvas canvas",
    "requests": ".rows tbody tr",
    "why": ".heat .canvas canvas",
    "alerts": ".alert-rows li, .state.is-calm",
}
"""What is there when a view shows its data."""

_TIMES = """
const paint = performance.getEntriesByName('first-contentful-paint')[0];
const asked = performance.getEntriesByType('resource').filter(e => /api.v1.(?!stream)/.test(e.name));
const slowest = asked.sort((a, b) => b.duration - a.duration)[0];
return [paint?.startTime ?? null, performance.now(), slowest?.duration ?? 0, slowest?.name ?? ''];
"""


@dataclass(frozen=True, slots=True)
class Visit:
    """Times are ms after the browser began to open the page; `slowest` is an answer, `question` what was asked."""

    first_paint_ms: float
    data_ms: float
    slowest_ms: float
    question: str


def visit(browser: Browser, url: str, view: str, query: str) -> Visit:
    """Open a view, and wait until it shows its data and asks for nothing more."""
    browser.open("about:blank")
    browser.open(f"{url}/?view={view}&{query}")
    browser.wait_for(lambda: browser.elements(READY[view]), f"{view} to show its data", 60)
    data_ms = float(browser.run("return performance.now()"))
    browser.wait_for(lambda: not browser.elements(".is-loading, .is-old"), f"{view} to be complete", 60)
    paint, _, slowest, name = browser.run(_TIMES)
    return Visit(float(paint), data_ms, float(slowest), str(name).partition("/api/v1/")[2])
