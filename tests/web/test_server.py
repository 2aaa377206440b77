"""What cannot be listened on is said before anything starts; where there is a certificate nobody speaks in clear."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette

from logproc.web.server import ListenError, WebServer
from tests.notify.certificates import make_certificate
from tests.web.serving import connect, serving
from tests.web.serving import http_settings as http


def test_certificates_that_cannot_be_used_are_an_error_and_not_a_server_that_never_answers(tmp_path: Path) -> None:
    broken = tmp_path / "cert.pem"
    broken.write_text("no certificate")

    for cert in (tmp_path / "missing.pem", broken):
        with pytest.raises(ListenError, match=r"cannot use http\.tls_cert"):
            WebServer(Starlette(), http(tls_cert=str(cert)))


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"http\.tls_key needs http\.tls_cert"):
        http(tls_key=str(tmp_path / "key.pem"))


def test_an_address_in_use_is_an_error_that_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(ListenError, match=r"Set http\.listen"):
            WebServer(Starlette(), http(listen=f"127.0.0.1:{taken.getsockname()[1]}"))


def test_a_machine_without_ipv6_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_family(*_: object) -> socket.socket:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", no_such_family)

    with pytest.raises(ListenError, match="Address family not supported"):
        WebServer(Starlette(), http(listen="[::1]:0"))


@pytest.mark.parametrize("listen", ["0.0.0.0:9470", "[::]:9470", "192.168.1.5:9470", "gpu1.example:9470"])
def test_without_a_token_nobody_else_may_reach_it(listen: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"others can reach: set http\.token_file or listen on 127\.0\.0\.1"):
        http(listen=listen)
    assert http(listen=listen, token_file=str(tmp_path / "token")).listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:9470", "[::1]:9470", "127.8.8.8:1"])
def test_on_loopback_no_token_is_needed(listen: str) -> None:
    assert http(listen=listen).token_file is None


def test_with_a_certificate_everything_is_encrypted_and_so_the_cookie_says(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    files: dict[str, Any] = {"tls_cert": str(certificate), "tls_key": str(tmp_path / "key.pem")}
    with serving(token="secret", **files) as server:
        assert server.address.startswith("https://127.0.0.1:")
        with httpx.Client(base_url=server.address, verify=ssl.create_default_context(cafile=certificate)) as client:
            answer = client.post("/login", data={"token": "secret"})
            assert answer.status_code == 204
            assert "Secure" in answer.headers["set-cookie"].split("; ")
            assert client.get("/metrics").status_code == 200
        with pytest.raises(httpx.ConnectError, match="self-signed certificate"):
            httpx.get(server.address)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(server.address.replace("https", "http"))


def test_a_client_that_stops_in_the_middle_of_the_handshake_keeps_nobody_waiting(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    files: dict[str, Any] = {"tls_cert": str(certificate), "tls_key": str(tmp_path / "key.pem")}
    with serving(**files) as server, connect(server) as dawdler:
        dawdler.sendall(b"\x16\x03\x01")
        trusting = ssl.create_default_context(cafile=certificate)
        assert httpx.get(f"{server.address}/healthz", verify=trusting).text == "ok\n"
