"""What cannot be listened on is said before anything starts."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette

from logproc.settings import Http, Settings
from logproc.web.server import ListenError, WebServer


def http(**values: Any) -> Http:
    return Settings.model_validate({"logs": {"paths": ["-"]}, "http": {"listen": "127.0.0.1:0", **values}}).http


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
