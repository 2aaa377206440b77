"""The files of the page: quick to load again, and nothing but them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from logproc.web.page import Assets, page_routes
from logproc.web.server import WebServer
from tests.web.serving import exchange, http_settings, serving

SCRIPT = b"'use strict';\n" * 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text("the secret")
    folder = outside / "assets"
    (folder / "fonts").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>logproc</title>")
    (folder / "app.0a1b2c3d.js").write_bytes(SCRIPT)
    (folder / "fonts" / "a.woff2").write_bytes(b"wOF2")
    (folder / "notes.secret").write_text("of no known type")
    started = WebServer(Starlette(routes=page_routes(Assets(folder))), http_settings())
    started.start()
    yield started
    started.stop()


@pytest.fixture
def browser(server: WebServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address) as client:
        yield client


def test_a_file_named_by_its_content_is_kept_for_ever_and_the_page_is_asked_for_each_time(
    browser: httpx.Client,
) -> None:
    assert "immutable" in browser.get("/assets/app.0a1b2c3d.js").headers["cache-control"]
    assert browser.get("/").headers["cache-control"] == "no-cache"
    assert browser.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert browser.get("/assets/fonts/a.woff2").headers["content-type"] == "font/woff2"


def test_what_the_browser_has_is_not_sent_again(browser: httpx.Client) -> None:
    first = browser.get("/")
    again = browser.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = browser.get("/", headers={"If-None-Match": first.headers["etag"], "Accept-Encoding": "identity"})
    assert other.status_code == 200


def test_scripts_travel_packed_to_those_who_can_unpack(browser: httpx.Client) -> None:
    path = "/assets/app.0a1b2c3d.js"
    with browser.stream("GET", path, headers={"Accept-Encoding": "br, gzip;q=0.8"}) as answer:
        sent = b"".join(answer.iter_raw())
    assert len(sent) < len(SCRIPT) / 5
    assert gzip.decompress(sent) == SCRIPT
    for header in ("identity", "gzip;q=0", "br"):
        plain = browser.get(path, headers={"Accept-Encoding": header})
        assert (plain.content, plain.headers.get("content-encoding")) == (SCRIPT, None)


def test_head_tells_what_get_would_send(browser: httpx.Client) -> None:
    head, get = browser.head("/assets/app.0a1b2c3d.js"), browser.get("/assets/app.0a1b2c3d.js")
    assert head.content == b""
    assert {name: head.headers[name] for name in ("etag", "content-type", "content-length")} == {
        name: get.headers[name] for name in ("etag", "content-type", "content-length")
    }


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../secret.txt", "/assets/%2e%2e/secret.txt", "/assets/..%2fsecret.txt", "/assets//etc/passwd",
        "/assets/%2fetc/passwd", "/assets/..%5csecret.txt", "/assets/fonts/../../secret.txt", "/assets/",
        "/assets/fonts", "/assets/app.0a1b2c3d.js%00.html", "/assets/notes.secret", "/assets/./index.html",
        "/../secret.txt",
    ],
)  # fmt: skip
def test_nothing_but_the_files_of_the_page_can_be_asked_for(server: WebServer, path: str) -> None:
    answer = exchange(server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"secret" not in answer
    assert b"root:" not in answer


def test_a_build_without_the_page_says_so_in_words(tmp_path: Path) -> None:
    server = WebServer(Starlette(routes=page_routes(Assets(tmp_path / "none"))), http_settings())
    server.start()
    try:
        assert "without its page" in httpx.get(server.address).text
    finally:
        server.stop()


def test_the_page_of_this_build_loads_under_its_own_policy_and_is_small() -> None:
    found = Assets(files("logproc.web").joinpath("assets")).all
    html = found["index.html"].body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", html), (
        "the policy forbids what is inline"
    )
    for address in re.findall(r"""(?:src|href)=["']?([^"'> ]+)""", html):
        assert not address.startswith(("http", "//")), "nothing is loaded from elsewhere"
        if "assets/" in address:
            assert address.partition("assets/")[2] in found
    assert sum(len(each.body) for each in found.values()) < 300_000
    with serving() as server:
        assert httpx.get(server.address).text == html
