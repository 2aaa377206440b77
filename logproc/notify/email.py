"""E-mail by SMTP: STARTTLS or implicit TLS, one plain text for all recipients, threaded by alert."""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final, Literal

from logproc.notify.channel import (
    Answer,
    Dead,
    Delivered,
    Limits,
    Mail,
    Message,
    Outcome,
    Rejected,
    Request,
    Retryable,
    TooLong,
)
from logproc.notify.deadline import Deadline
from logproc.notify.hook import excerpt, unanswered
from logproc.notify.post import problem
from logproc.notify.text import PLAIN, Shape, Style, fit, paragraphs, title

PER_S: Final = 10 / 60
BURST: Final = 5
DIGEST_SIZE: Final = 500
LONGEST: Final = 200_000
PORTS: Final = {"starttls": 587, "implicit": 465, "none": 25}

Tls = Literal["starttls", "implicit", "none"]


class Email:
    """A mailbox or several."""

    refresh_s: float | None = None

    def __init__(
        self,
        name: str,
        limits: Limits,
        style: Style,
        *,
        host: str,
        port: int,
        tls: Tls,
        sender: str,
        recipients: Sequence[str],
        user: str = "",
        password: str = "",
    ) -> None:
        self.name = name
        self.limits = limits
        self.style = style
        self._host, self._port, self._tls = host, port, tls
        self._sender, self._recipients = sender, tuple(recipients)
        self._user, self._password = user, password
        encoded = [base64.b64encode(text.encode()).decode() for text in (password, f"\0{user}\0{password}")]
        self.secrets = (password, *encoded) if password else ()

    def __repr__(self) -> str:
        return f"Email({self.name!r}, '{self._host}:{self._port}')"

    def render(self, message: Message, now: float, *, brief: bool = False) -> Mail:
        """A mail of plain text. Its Message-ID is the message's id: mailboxes drop a repeat by it."""
        longest = 5000 if brief else LONGEST

        def text(shape: Shape) -> str:
            return "\n\n".join([title(message, self.style), *paragraphs(message, shape, self.style, PLAIN)]) + "\n"

        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._recipients)
        mail["Subject"] = title(message, self.style)
        mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
        mail["Message-ID"] = f"<{message.id}@logproc>"
        if len(message.alerts) == 1:
            mail["References"] = f"<alert-{message.alerts[0].id}@logproc>"  # what is told of one alert is one thread
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(fit(message, text, lambda made: len(made.encode()) <= longest))
        return Mail(self._sender, self._recipients, mail.as_bytes(), self.secrets)

    def judge(self, answer: Answer) -> Outcome:
        """By the reply code, and by what it replied to: connect, login, sender, recipients or the content."""
        if outcome := unanswered(answer):
            return outcome
        status, stage = answer.status, answer.headers.get("stage", "")
        said = excerpt(answer.body)
        why = f"{status} at {stage}: {said}"
        if stage == "content" and 200 <= status < 300:
            return Delivered(answer.headers.get("refused", ""))
        if status in {552, 523} and stage == "content":
            return TooLong(why)
        if 400 <= status < 500:
            return Retryable(why, 300.0 if status in {450, 451} else 60.0)  # greylisting lets pass after minutes
        if stage == "content" and 500 <= status < 600:
            return Rejected(why)
        if 500 <= status < 600:
            return Dead(f"{why}; check host, user, password and addresses")
        return Retryable(why)

    def send(self, request: Request | Mail, timeout_s: float) -> Answer:
        """Send it; at most `timeout_s` for everything; never raises for what the other side does."""
        assert isinstance(request, Mail)
        stage = "connect"
        with Deadline(timeout_s) as deadline:
            client = _Client(deadline)
            try:
                client.connect_to(self._host, self._port, is_tls=self._tls == "implicit")
                client.ehlo_or_helo_if_needed()
                if self._tls == "starttls":
                    stage = "starttls"
                    client.starttls(context=ssl.create_default_context())
                if self._user:
                    stage = "login"
                    client.login(self._user, self._password)
                stage = "content"
                refused = client.sendmail(request.sender, request.recipients, request.content)
                told = ", ".join(f"{name} ({code})" for name, (code, _) in refused.items())
                client.quiet_quit()
                return Answer(250, {"stage": stage, **({"refused": f"refused: {told}"} if told else {})}, b"ok")
            except smtplib.SMTPRecipientsRefused as error:
                code, text = next(iter(error.recipients.values()))
                return Answer(code, {"stage": "recipients"}, text)
            except smtplib.SMTPResponseException as error:
                stage = "sender" if isinstance(error, smtplib.SMTPSenderRefused) else stage
                said = error.smtp_error
                return Answer(error.smtp_code, {"stage": stage}, said if isinstance(said, bytes) else said.encode())
            except smtplib.SMTPNotSupportedError as error:
                return Answer(502, {"stage": stage}, str(error).encode())
            except (smtplib.SMTPException, OSError, ValueError) as error:
                late = deadline.has_passed or isinstance(error, TimeoutError)
                is_mute = isinstance(error, smtplib.SMTPServerDisconnected)
                why = "hung up without an answer" if is_mute else problem(error)
                why = f"no answer within {timeout_s:g} s" if late else why
                return Answer(problem=why, is_unsent=stage != "content")
            finally:
                client.close()


class _Client(smtplib.SMTP):
    """smtplib under a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(local_hostname="localhost", timeout=deadline.left_s)
        self._deadline = deadline
        self._is_tls = False

    def connect_to(self, host: str, port: int, *, is_tls: bool) -> None:
        """Connect and read the greeting. Raises OSError, SMTPException."""
        self._is_tls = is_tls
        self._host = host  # whom the certificate must name: smtplib sets it only when it connects by itself
        code, text = self.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - it is the deadline's
        made = self._deadline.connect(host, port)
        if self._is_tls:
            return ssl.create_default_context().wrap_socket(made, server_hostname=host)
        return made

    def quiet_quit(self) -> None:
        """Say goodbye; the mail is taken, whatever is said now."""
        try:
            self.quit()
        except (smtplib.SMTPException, OSError):
            self.close()
