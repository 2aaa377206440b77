"""A client that dawdles is let go, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from logproc.web.limits import Limits
from logproc.web.server import WebServer
from tests.pipeline import until
from tests.web.serving import ECHO, connect, serving

HEAD = b"POST /api/v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
MOST = 20


def long_answer(_: Request) -> Response:
    return PlainTextResponse("x" * 20_000_000)


async def slow_answer(_: Request) -> Response:
    await asyncio.sleep(0.3)
    return PlainTextResponse("at last")


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    """Impatient, so that the tests need not be patient."""
    limits = Limits(connections=MOST, head_s=0.5, body_s=0.5, stuck_s=0.3)
    with serving([ECHO, Route("/long", long_answer), Route("/slow", slow_answer)], limits=limits) as started:
        yield started


def is_closed(connection: socket.socket) -> bool:
    """Whether the server ends the connection; waits for it, and reads what comes before."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("sent", [b"", b"GE", HEAD, HEAD + b"\r\n", HEAD + b"\r\nab"])
def test_who_does_not_finish_what_he_began_to_say_is_let_go(server: WebServer, sent: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(sent)
        assert is_closed(connection)


def test_who_asks_several_things_at_once_gains_no_time_for_the_last(server: WebServer) -> None:
    with connect(server) as connection:
        connection.sendall(3 * b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEAD + b"\r\n")
        assert is_closed(connection)


def test_a_client_that_sends_byte_after_byte_gains_no_time(server: WebServer) -> None:
    with connect(server) as connection:
        connection.settimeout(0.05)
        for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 400:
            try:
                connection.sendall(bytes([byte]))
                if connection.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
        pytest.fail("it was never let go")


def test_a_client_that_does_not_read_is_let_go(server: WebServer) -> None:
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1) == b"H"
        until(lambda: not connections_of(server), "the server to end the connection")


def test_a_slow_reader_that_goes_on_reading_gets_everything(server: WebServer) -> None:
    with httpx.stream("GET", f"{server.address}/long", headers={"Accept-Encoding": "identity"}) as answer:
        assert sum(map(len, answer.iter_raw(65536))) == 20_000_000


def test_many_who_only_hold_the_line_keep_nobody_out(server: WebServer) -> None:
    with ExitStack() as held:
        for _ in range(MOST * 3):
            held.enter_context(connect(server)).sendall(b"GET /heal")
        for _ in range(5):
            assert httpx.get(f"{server.address}/healthz").text == "ok\n"
        assert len(connections_of(server)) <= MOST


def test_requests_one_after_the_other_on_one_connection_are_answered(server: WebServer) -> None:
    with httpx.Client(base_url=server.address) as client:
        for number in range(50):
            assert client.post("/api/v1/echo", content=str(number)).json()["body"] == str(number)
    with connect(server) as connection:  # several at once
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
        seen = b""
        while seen.count(b"ok\n") < 10:
            seen += connection.recv(65536)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS where there is none
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"\x00" * 100,
    ],
)
def test_what_is_no_request_is_refused_and_the_server_lives(server: WebServer, sent: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(sent)
        answer = connection.recv(65536)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert httpx.get(f"{server.address}/healthz").status_code == 200


def test_a_body_that_is_too_long_is_not_read_to_its_end(server: WebServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
        connection.sendall(b"token=" + b"x" * 10_000)
        assert connection.recv(65536).startswith((b"HTTP/1.1 204", b"HTTP/1.1 413"))
        assert is_closed(connection)


def connections_of(server: WebServer) -> set[object]:
    return set(server._server.server_state.connections)
