"""Every view over the log that a real vLLM wrote (tests/fixtures/vllm_access.jsonl), recounted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.web.page import traffic
from tests.web.page.browser import Browser
from tests.web.page.conftest import Site
from tests.web.page.speed import READY

pytestmark = pytest.mark.service

LOG = Path(__file__).parents[2] / "fixtures/vllm_access.jsonl"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lines = [json.loads(line) for line in LOG.read_bytes().splitlines()]
    site = Site(tmp_path_factory.mktemp("real"), lines, 0)
    yield site.start()
    site.pipeline.kill()


def span(site: Site) -> str:
    times = sorted(line["time"] for line in site.requests)
    end = datetime.fromisoformat(times[-1]) + timedelta(seconds=1)
    return f"from={times[0]}&to={traffic.time_text(int(end.timestamp() * 1000))}"


@pytest.mark.parametrize("view", READY)
def test_each_view_shows_it_without_a_complaint(real: Site, browser: Browser, view: str) -> None:
    browser.open(f"{real.url}/?view={view}&{span(real)}")
    browser.wait_for(lambda: browser.elements(READY[view]), f"{view} to be drawn")
    browser.wait_for(lambda: not browser.elements(".is-loading"), "everything to be there")

    assert browser.elements(".is-failed") == []
    assert browser.complaints() == []


def test_its_outcomes_are_recounted(real: Site, browser: Browser) -> None:
    expected = Counter(line["outcome"] for line in real.requests)
    words = {"client_disconnect": "client left", "reasoning_only": "reasoning only", "stream_error": "stream error"}
    browser.open(f"{real.url}/?view=why&by=outcome&{span(real)}")

    def shown() -> dict[str, int]:
        script = (
            "return Object.fromEntries([...document.querySelectorAll('.groups tbody tr')]"
            ".map(r => [r.cells[0].innerText.trim(), parseInt(r.cells[1].innerText.replace(',', ''))]))"
        )
        return dict(browser.run(script))

    browser.wait_for(lambda: shown() == {words.get(name, name): n for name, n in expected.items()}, f"{expected}")


def test_a_request_of_it_shows_its_line_as_vllm_wrote_it(real: Site, browser: Browser) -> None:
    line = next(each for each in real.requests if each["outcome"] == "ok" and each.get("decode_ms"))
    browser.open(f"{real.url}/?view=requests&{span(real)}&request={line['id']}")
    browser.wait_for(lambda: browser.elements(".waterfall .track"), "where its time went")

    assert json.loads(browser.text(".line")) == line
    assert traffic.written(iter([line])).decode().strip() == browser.text(".line")
