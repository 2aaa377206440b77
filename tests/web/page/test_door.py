"""The door of the page: it asks for the token once, keeps it where scripts cannot read it, and TLS changes nothing."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.page import traffic
from tests.web.page.browser import Browser
from tests.web.page.conftest import Site

pytestmark = pytest.mark.service

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"{TOKEN}\n")
    now = int(time.time() * 1000)
    rng = random.Random(9)
    site = Site(folder, [traffic.request(rng, now - 1000 * i) for i in range(5, 0, -1)], now)
    listen = f"127.0.0.1:{site.pipeline.port}"
    site.pipeline.file.write_text(
        site.pipeline.file.read_text().replace(
            f'"http": {{"listen": "{listen}"}}', f'"http": {{"listen": "{listen}", "token_file": "{folder}/token"}}'
        )
    )
    yield site.start({"Authorization": f"Bearer {TOKEN}"})
    site.pipeline.kill()


def test_the_page_asks_for_the_token_once_and_keeps_it_from_scripts(guarded: Site, browser: Browser) -> None:
    browser.open(f"{guarded.url}/?view=requests&from=1h")
    browser.wait_text("h1", "A token is needed")

    browser.type("input[name=token]", "wrong")
    browser.click("form button")
    browser.wait_text("#door-problem", "That is not the token")

    browser.run("document.querySelector('input[name=token]').value = ''")
    browser.type("input[name=token]", TOKEN)
    browser.click("form button")
    browser.wait_for(lambda: len(browser.elements(".rows tbody tr")) == 5, "the requests that were asked for")
    browser.wait_text(".fresh", "live")

    browser.open(f"{guarded.url}/?view=requests&from=1h")
    browser.wait_for(lambda: len(browser.elements(".rows tbody tr")) == 5, "the requests without the token again")
    assert browser.run("return document.cookie") == ""
    assert TOKEN not in browser.run("return JSON.stringify([localStorage, sessionStorage, location.href])")


def test_the_door_keeps_nobody_out_who_has_the_token(guarded: Site, browser: Browser, axe: str) -> None:
    for theme in ("light", "dark"):
        browser.open(f"{guarded.url}/?theme={theme}")
        browser.wait_for(lambda: browser.elements("input[name=token]"), "the door")
        browser.run(axe)
        found = browser.run_async(
            "axe.run(document).then(r => arguments[arguments.length - 1](r.violations.map(v => v.id)))"
        )
        assert found == []


def test_the_page_is_the_same_over_tls(tmp_path: Path, browser: Browser) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", f"{tmp_path}/key.pem", "-out", f"{tmp_path}/cert.pem", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "token").write_text(TOKEN)
    now = int(time.time() * 1000)
    site = Site(tmp_path / "site", [traffic.request(random.Random(4), now - 1000)], now)
    listen = f'"listen": "127.0.0.1:{site.pipeline.port}"'
    more = f'"tls_cert": "{tmp_path}/cert.pem", "tls_key": "{tmp_path}/key.pem", "token_file": "{tmp_path}/token"'
    site.pipeline.file.write_text(site.pipeline.file.read_text().replace(listen, f"{listen}, {more}"))
    site.pipeline.start()
    try:
        url = f"{site.url.replace('http', 'https')}/?view=requests&from=1h"
        browser.wait_for(lambda: _opens(browser, url), "the page to be served")
        browser.type("input[name=token]", TOKEN)
        browser.click("form button")
        browser.wait_for(lambda: len(browser.elements(".rows tbody tr")) == 1, "the request")
    finally:
        site.pipeline.kill()


def _opens(browser: Browser, url: str) -> bool:
    try:
        browser.open(url)
    except Exception:
        return False
    return bool(browser.elements("input[name=token]"))
