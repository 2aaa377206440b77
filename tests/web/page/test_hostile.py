"""Whatever stands in the log is shown as text: no markup, no script, no turned direction, no megabyte."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from logproc.alerts import record
from logproc.alerts.alert import Alert
from tests.web.page import traffic
from tests.web.page.browser import Browser
from tests.web.page.conftest import Site

pytestmark = pytest.mark.service

MARKUP = "<img src=x onerror=\"document.title='broken into'\"><script>document.title='broken into'</script>"
TURNED = "\u202egnol si siht\u2066 \u200bmodel\u0007"
LONG = "x" * 200_000


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose every name is an attack."""
    rng = random.Random(8)
    now = int(time.time() * 1000)
    lines = []
    for i, text in enumerate(
        (MARKUP, TURNED, LONG, '"><svg onload=alert(1)>', "javascript:alert(1)", "中文\u0300" * 40)
    ):
        line = traffic.request(rng, now - 1000 * (i + 1))
        lines.append(line | {"model": text, "user_id": text, "client": text, "user_agent": text, "path": text[:500]})
        lines.append(traffic.heartbeat(rng, now - 1000 * (i + 1)) | {"host": text, "service": text})
    site = Site(tmp_path_factory.mktemp("hostile"), sorted(lines, key=lambda line: line["time"]), now)
    site.start()
    since = traffic.time_text(now - 60_000)
    with closing(sqlite3.connect(site.pipeline.state / "measure.db", timeout=30)) as database, database:
        record.append(
            database,
            [
                Alert(id=f"{i:016x}", kind="errors", severity="critical", state="firing", time=since, since=since,
                      model=text, value=0.5, bound=0.1, n=9, examples=[text], text={"en": f"{text} fails: {text}"})
                for i, text in enumerate((MARKUP, TURNED, LONG))
            ],
        )  # fmt: skip
    yield site
    site.pipeline.kill()


@pytest.mark.parametrize(
    ("view", "ready"),
    [
        ("view=requests", ".rows tbody tr"),
        ("", ".servers li"),
        ("view=why", ".groups tbody tr"),
        ("view=why&by=client", ".groups tbody tr"),
        ("view=why&by=user_id", ".groups tbody tr"),
        ("view=alerts", ".alert-rows li"),
        (f"view=alerts&alert={1:016x}", ".one .actions"),
    ],
)
def test_names_are_shown_as_text(hostile: Site, browser: Browser, view: str, ready: str) -> None:
    browser.open(f"{hostile.url}/?from=1h&{view}")
    browser.wait_for(lambda: browser.elements(ready), ready)
    browser.wait_for(lambda: "onerror" in browser.text("main"), "the markup as text")

    assert browser.run("return document.title").endswith("logproc")
    assert browser.elements("img, script:not([src]), svg[onload]") == []
    text = browser.run("return document.body.textContent")
    assert not set(text) & set("\u202e\u2066\u200b\u0007")
    assert "\\u202e" in text
    assert len(text) < 50_000
    assert browser.run("return document.documentElement.scrollWidth") <= 1360


def test_a_request_with_hostile_fields_shows_them_and_its_line(hostile: Site, browser: Browser) -> None:
    for line in hostile.requests:
        browser.open(f"{hostile.url}/?view=requests&from=1h&request={line['id']}")
        browser.wait_for(lambda: browser.elements(".one pre.line"), "its line")
        browser.run("document.querySelector('.one details').open = true")

        assert browser.run("return document.title").endswith("logproc")
        assert browser.elements("img, script:not([src]), svg[onload]") == []
        assert len(browser.text(".one")) < 60_000


def test_filters_from_a_hostile_link_do_nothing_but_filter(hostile: Site, browser: Browser) -> None:
    browser.open(f"{hostile.url}/?view=requests&from=1h&model={MARKUP.replace('#', '%23')}&flag=javascript:alert(1)")
    browser.wait_for(lambda: browser.elements(".state.is-failed, .rows tr"), "an answer")

    assert browser.elements("img, script:not([src])") == []
    assert browser.run("return document.title").endswith("logproc")


def test_no_script_of_another_s_making_could_run(hostile: Site, browser: Browser) -> None:
    browser.open(f"{hostile.url}/")
    browser.wait_for(lambda: browser.elements("main"), "the page")

    ran = browser.run_async(
        "const done = arguments[0], s = document.createElement('script');"
        "s.textContent = 'window.ran = 1'; document.body.append(s);"
        "const i = document.createElement('div'); i.innerHTML = '<b onclick=\"window.ran = 2\">x</b>';"
        "document.body.append(i); i.firstChild.click(); setTimeout(() => done(window.ran ?? 0), 50)"
    )

    assert ran == 0
    refused = json.dumps(browser.complaints())
    assert "Content Security Policy" in refused
