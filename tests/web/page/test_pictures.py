"""The pictures of docs/page.md are taken of the page as it is.

`LOGPROC_PICTURES=docs/images python -m pytest tests/web/page/test_pictures.py` writes them anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.web.page.browser import Browser
from tests.web.page.conftest import Site

pytestmark = pytest.mark.service

DOCS = Path(__file__).parents[3] / "docs"

PICTURES = {
    "page-now": ("from=1h", ".plot .canvas canvas", 1360, 1010),
    "page-now-dark-zh": ("from=1h&theme=dark&lang=zh", ".plot .canvas canvas", 1360, 1010),
    "page-requests": ("view=requests&from=1h&sort=duration&request={request}", ".waterfall .track", 1360, 800),
    "page-why": ("view=why&from=1h", ".plots .canvas canvas", 1360, 1010),
    "page-alerts": ("view=alerts&from=1h&alert={alert}", ".examples a .bar", 1360, 860),
    "page-phone": ("from=1h", ".plot .canvas canvas", 390, 844),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_a_view_with_everything_in_it(busy: Site, browser: Browser, tmp_path: Path, name: str) -> None:
    query, ready, width, height = PICTURES[name]
    alerts = json.loads(busy.pipeline.get("/api/v1/alerts?from=2h")[1])["items"]
    alert = next(each["id"] for each in alerts if each["kind"] == "latency_p99")
    slow = max((line for line in busy.requests if line.get("queue_ms")), key=lambda line: line["queue_ms"])
    browser.size(width, height)
    browser.open(f"{busy.url}/?{query.format(alert=alert, request=slow['id'])}")
    browser.wait_for(lambda: browser.elements(ready), ready)
    browser.wait_for(lambda: not browser.elements(".is-loading, .is-old"), "everything to be there")
    browser.run_async("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    path = Path(os.environ.get("LOGPROC_PICTURES", tmp_path)) / f"{name}.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    browser.screenshot(path)

    assert browser.elements(".is-failed") == []
    assert path.stat().st_size > 5_000
    assert f"images/{name}.webp" in (DOCS / "page.md").read_text("utf-8")
    assert (DOCS / f"images/{name}.webp").exists()
