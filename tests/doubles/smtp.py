"""A double of a mail server: SMTP with STARTTLS, AUTH and replies that a test may choose."""

from __future__ import annotations

import base64
import contextlib
import socketserver
import ssl
import threading
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Self


class SmtpDouble:
    """Takes mail from anyone, or only after a login. `replies`: a verb → what it is answered in place of the usual."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        user: str = "",
        password: str = "",
        refused: tuple[str, ...] = (),
    ) -> None:
        self.replies: dict[str, str] = {}
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.logins: list[str] = []
        self.was_encrypted: list[bool] = []
        double = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    _Session(self, double, tls, implicit, f"\0{user}\0{password}" if user else "", refused).run()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                """The other side hung up, or did not trust the certificate."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Session:
    def __init__(
        self,
        handler: socketserver.StreamRequestHandler,
        double: SmtpDouble,
        tls: ssl.SSLContext | None,
        implicit: bool,
        login: str,
        refused: tuple[str, ...],
    ) -> None:
        self._handler, self._double, self._tls, self._login, self._refused = handler, double, tls, login, refused
        self._is_encrypted = False
        self._is_logged_in = not login
        self._recipients: list[str] = []
        if implicit:
            self._encrypt()

    def run(self) -> None:
        self._say(self._double.replies.get("CONNECT", "220 double ESMTP"))
        verbs: dict[str, Callable[[str], str]] = {
            "EHLO": lambda _: self._greeting(),
            "HELO": lambda _: "250 double",
            "AUTH": self._auth,
            "MAIL": lambda _: "250 ok" if self._is_logged_in else "530 5.7.0 authentication required",
            "RCPT": self._rcpt,
            "RSET": lambda _: "250 ok",
            "NOOP": lambda _: "250 ok",
        }
        while line := self._handler.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            told = self._double.replies.get(verb)
            if told == "":
                return
            if verb == "QUIT":
                self._say("221 bye")
                return
            if told is not None:
                self._say(told)
            elif verb == "STARTTLS" and self._tls is not None:
                self._say("220 go ahead")
                self._encrypt()
            elif verb == "DATA":
                self._data()
            else:
                self._say(verbs[verb](line) if verb in verbs else "502 not known")

    def _greeting(self) -> str:
        offers = ["250-double", "250-SIZE 10000000"]
        if self._tls is not None and not self._is_encrypted:
            offers.append("250-STARTTLS")
        if self._login:
            offers.append("250-AUTH PLAIN")
        return "\r\n".join([*offers, "250 HELP"])

    def _auth(self, line: str) -> str:
        given = base64.b64decode(line.split()[2]).decode()
        self._double.logins.append(given)
        self._is_logged_in = given == self._login
        return "235 2.7.0 welcome" if self._is_logged_in else "535 5.7.8 authentication failed"

    def _rcpt(self, line: str) -> str:
        address = line.partition("<")[2].partition(">")[0]
        if address in self._refused:
            return "550 5.1.1 no such user"
        self._recipients.append(address)
        return "250 ok"

    def _data(self) -> None:
        self._say("354 go on")
        lines = []
        while (line := self._handler.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        if not line:
            return  # the sender died while it sent
        after = self._double.replies.get("CONTENT")
        if after is None:
            mail = message_from_bytes(b"".join(lines), policy=policy.default)
            self._double.mails.append(mail)
            self._double.recipients.append(self._recipients)
            self._double.was_encrypted.append(self._is_encrypted)
        self._say(after or "250 2.0.0 queued")

    def _encrypt(self) -> None:
        assert self._tls is not None
        made = self._tls.wrap_socket(self._handler.connection, server_side=True)
        self._handler.connection = made
        self._handler.rfile = made.makefile("rb")
        self._handler.wfile = made.makefile("wb")
        self._is_encrypted = True

    def _say(self, reply: str) -> None:
        self._handler.wfile.write(reply.encode() + b"\r\n")
        self._handler.wfile.flush()
