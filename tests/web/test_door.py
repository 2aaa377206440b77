"""Who is let in: with token or cookie, under a name of this machine, and not on behalf of another site."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logproc.web.door import POLICY
from logproc.web.session import LASTS_S, Sessions
from tests.web.serving import serving

TOKEN = "pa55 wörd/+%&="


@pytest.fixture(scope="module")
def closed() -> Iterator[httpx.Client]:
    """A browser without cookies yet, before a server that wants a token."""
    with serving(token=TOKEN) as server, httpx.Client(base_url=server.address) as client:
        yield client


@pytest.fixture(scope="module")
def open_() -> Iterator[httpx.Client]:
    """Before a server on loopback that wants none."""
    with serving() as server, httpx.Client(base_url=server.address) as client:
        yield client


@pytest.fixture(autouse=True)
def no_cookies(closed: httpx.Client) -> None:
    closed.cookies.clear()


def test_the_page_asks_once_and_then_its_cookie_opens_what_the_token_opens(closed: httpx.Client) -> None:
    assert closed.get("/api/v1/echo").status_code == 401

    answer = closed.post("/login", data={"token": TOKEN})

    assert answer.status_code == 204
    assert closed.get("/api/v1/echo").status_code == 200
    assert closed.post("/api/v1/echo", content="x").json()["body"] == "x"
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert not any(TOKEN[i : i + 4] in cookie for i in range(len(TOKEN) - 4))


def test_after_logout_the_browser_has_to_ask_again(closed: httpx.Client) -> None:
    closed.post("/login", data={"token": TOKEN})

    assert closed.post("/logout").status_code == 204

    assert not closed.cookies
    assert closed.get("/api/v1/echo").status_code == 401


@pytest.mark.parametrize("form", [{}, {"token": ""}, {"token": "wrong"}, {"token": TOKEN[:-1]}, {"other": TOKEN}])
def test_a_wrong_token_gets_no_cookie(closed: httpx.Client, form: dict[str, str]) -> None:
    answer = closed.post("/login", data=form)

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert TOKEN not in answer.text


def test_a_form_that_is_none_is_refused_and_a_long_one_not_read(closed: httpx.Client) -> None:
    assert closed.post("/login", content=b"\xff&=&" * 100).status_code == 400
    assert closed.post("/login", content=b"token=" + b"x" * 5000).status_code == 413


def test_a_program_shows_the_token_as_bearer(closed: httpx.Client) -> None:
    given = f"Bearer {TOKEN}".encode()
    assert closed.get("/metrics", headers={b"Authorization": given}).status_code == 200
    refused = closed.get("/metrics", headers={b"Authorization": given + b"x"})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"


def test_without_the_token_one_sees_health_and_a_page_that_asks_for_it_and_nothing_else(closed: httpx.Client) -> None:
    statuses = {
        path: closed.get(path).status_code for path in ("/", "/healthz", "/assets/none.js", "/none", "/metrics")
    }
    assert statuses == {"/": 200, "/healthz": 200, "/assets/none.js": 404, "/none": 401, "/metrics": 401}


# --- the cookie ------------------------------------------------------------------------------------------------------


def given_by(sessions: Sessions, now_s: float = 1000.0) -> str:
    return sessions.cookie(now_s, secure=False).partition(";")[0]


def test_a_session_outlives_a_restart_but_neither_its_time_nor_the_token() -> None:
    cookie = given_by(Sessions("a"))
    assert Sessions("a").is_open(cookie, 1000 + LASTS_S - 1)
    assert not Sessions("a").is_open(cookie, 1000 + LASTS_S)
    assert not Sessions("b").is_open(cookie.replace(Sessions("a").name, Sessions("b").name), 1001)


def test_a_session_is_found_among_cookies_of_any_form() -> None:
    sessions = Sessions("a")
    ours = given_by(sessions)
    others = 'x={"a": [1, "b;c"]}; =; ;; é=\u202e; a'
    assert sessions.is_open(f"{others}; {ours}; {others}", 1001)
    assert not sessions.is_open(others, 1001)


@given(st.text(max_size=100), st.integers(0, 10**11))
def test_no_session_can_be_made_up(text: str, end: int) -> None:
    sessions = Sessions("a")
    _, _, proof = given_by(sessions).partition(".")
    for value in (text, f"{end}.{text}", f"{end}.{proof}", f"{end}.{'0' * 64}"):
        made_up = f"{sessions.name}={value}"
        assert made_up == given_by(sessions) or not sessions.is_open(made_up, 1001)


def test_two_pipelines_on_one_host_do_not_end_each_others_sessions() -> None:
    assert Sessions("a").name != Sessions("b").name


# --- other sites -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://whatever"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),  # a form that a foreign page sends off
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),  # another port
    ],
)
def test_what_a_page_of_another_site_wants_changed_is_refused(
    open_: httpx.Client, headers: dict[str, str], status: int
) -> None:
    assert open_.post("/api/v1/echo", headers=headers).status_code == status
    assert open_.delete("/api/v1/echo", headers=headers).status_code == status


def test_the_page_itself_may_change_things_in_a_browser_that_tells_only_the_origin(open_: httpx.Client) -> None:
    origin = str(open_.base_url).rstrip("/")
    assert open_.post("/api/v1/echo", headers={"Origin": origin}).status_code == 200


def test_a_link_from_elsewhere_opens_the_page_but_a_foreign_script_reads_nothing(open_: httpx.Client) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert open_.get("/", headers={**foreign, "Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert open_.get("/api/v1/echo", headers={**foreign, "Sec-Fetch-Mode": "no-cors"}).status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9470",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "localhost:1@evil",
    ],
)
def test_without_a_token_a_name_that_only_leads_here_is_not_answered(open_: httpx.Client, host: str) -> None:
    answer = open_.get("/api/v1/echo", headers={"Host": host})
    assert answer.status_code == 421
    assert "http.token_file" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9470", "127.0.0.1:80", "127.3.2.1", "[::1]:9470"])
def test_the_names_of_loopback_are_answered(open_: httpx.Client, host: str) -> None:
    assert open_.get("/api/v1/echo", headers={"Host": host}).status_code == 200


def test_with_a_token_any_name_is_answered(closed: httpx.Client) -> None:
    headers = {b"Authorization": f"Bearer {TOKEN}".encode(), b"Host": b"gpu1.example"}
    assert closed.get("/metrics", headers=headers).status_code == 200


# --- what every answer carries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/echo", "/none", "/assets/none", "/healthz"])
def test_every_answer_is_safe_to_show_and_data_is_not_kept(open_: httpx.Client, path: str) -> None:
    for answer in (open_.get(path), open_.get(path, headers={"Sec-Fetch-Site": "cross-site"})):
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cache-control"] == (
            "no-cache" if path == "/" and answer.status_code == 200 else "no-store"
        )
