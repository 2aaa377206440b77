"""Sends one POST and reads the answer: in limited time and size, with TLS verified, and no redirect followed."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from logproc import __version__
from logproc.notify.channel import Answer, Request
from logproc.notify.deadline import Deadline

LONGEST_BODY: Final = 64 * 1024
"""Of an answer; no vendor says more than a few hundred bytes."""


def post(request: Request, timeout_s: float) -> Answer:
    """Send it; at most `timeout_s` for everything. `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are honoured.

    Never raises for what the other side or the network does: the answer then has a `problem`.
    """
    with Deadline(timeout_s) as deadline:
        connection = _Connection(request.url, deadline)
        reached = False
        try:
            connection.connect()
            reached = True
            answer = _exchange(connection, request)
            # Cut off at the deadline, headers and bodies of unknown length look as if they had ended.
            return Answer(problem=_late(timeout_s)) if deadline.has_passed else answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = deadline.has_passed or isinstance(error, TimeoutError)
            why = _late(timeout_s) if late else problem(error)
            return Answer(problem=why, is_unsent=not reached)
        finally:
            connection.close()


def _late(timeout_s: float) -> str:
    return f"no answer within {timeout_s:g} s"


def problem(error: Exception) -> str:
    """Why there is no answer, in few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or 'handshake failed'}"
    if isinstance(error, socket.gaierror):
        return "the name of the host cannot be resolved"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError):
        return "hung up without an answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"no proper answer ({type(error).__name__})"


class _Connection(http.client.HTTPConnection):
    """Connects directly or through the proxy of the environment, with TLS where the URL says so."""

    def __init__(self, url: str, deadline: Deadline) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "https"
        self._deadline = deadline
        host, port = parts.hostname or "", parts.port or (443 if self._is_tls else 80)
        super().__init__(host, port, timeout=deadline.left_s)
        proxy = None if proxy_bypass(host) else getproxies().get(parts.scheme)
        self._proxy = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.target = path if self._proxy is None or self._is_tls else url

    def connect(self) -> None:
        proxy = self._proxy
        if proxy is None:
            made = self._deadline.connect(self.host, self.port)
        else:
            made = self._deadline.connect(proxy.hostname or "", proxy.port or 8080)
            if self._is_tls:
                _tunnel(made, f"{self.host}:{self.port}", unquote(proxy.netloc.rpartition("@")[0]))
        self.sock = ssl.create_default_context().wrap_socket(made, server_hostname=self.host) if self._is_tls else made


def _tunnel(made: socket.socket, target: str, user: str) -> None:
    """Ask a proxy for a connection to the target. `user`: `NAME:PASSWORD`, or empty."""
    login = f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}\r\n" if user else ""
    made.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        more = made.recv(4096)
        head += more
        if not more or len(head) > LONGEST_BODY:
            raise OSError(0, "the proxy hung up")
    status = head.split(maxsplit=2)[1:2]
    if status != [b"200"]:
        raise OSError(0, f"the proxy refuses ({status[0][:3].decode('ascii', 'replace') if status else 'no status'})")


def _exchange(connection: _Connection, request: Request) -> Answer:
    headers = {"User-Agent": f"logproc/{__version__}", "Connection": "close", "Accept": "*/*", **request.headers}
    connection.request("POST", connection.target, request.body, headers)
    response = connection.getresponse()
    told = {name.lower(): value for name, value in response.getheaders()}
    body = b""
    while len(body) < LONGEST_BODY and (more := response.read1(LONGEST_BODY - len(body))):
        body += more
    announced = told.get("content-length", "")
    whole = not announced.isdigit() or len(body) >= min(int(announced), LONGEST_BODY)
    return Answer(response.status, told, body, "" if whole else "the answer was cut off")
