"""E-mail against a mail server that speaks SMTP: encryption, login, refusals, and servers that break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from logproc.notify.channel import Dead, Delivered, Limits, Message, Outcome, Rejected, Retryable, deliver
from logproc.notify.email import Email
from logproc.notify.text import Style
from tests.doubles import broken
from tests.doubles.broken import Behaviour, broken_server
from tests.doubles.smtp import SmtpDouble
from tests.notify.alerts import alert
from tests.notify.certificates import make_certificate

LIMITS = Limits(1.0, 5, "key", 50)
TOLD = Message(id="id-1", alerts=(alert(model="qwen-72b"),))


def mailbox(port: int, **options: Any) -> Email:
    fields = {"host": "127.0.0.1", "tls": "none", "sender": "logproc@example.org", "recipients": ["ops@example.org"]}
    return Email("e", LIMITS, Style("zh"), port=port, **{**fields, **options})


def outcome(port: int, timeout_s: float = 10.0, **options: Any) -> Outcome:
    return deliver(mailbox(port, **options), TOLD, 1_700_000_000, timeout_s).outcome


def test_a_mail_arrives_with_everyone_it_is_for() -> None:
    with SmtpDouble() as double:
        assert outcome(double.port, recipients=["ops@example.org", "team@example.org"]) == Delivered()

    assert double.recipients == [["ops@example.org", "team@example.org"]]
    assert double.mails[0]["Subject"] == "警告 · P99 延迟过高：qwen-72b"
    assert "慢 0。" in double.mails[0].get_content()


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_the_password_goes_only_to_a_server_whose_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: str
) -> None:
    certificate, context = make_certificate(tmp_path)
    options: dict[str, Any] = {"tls": tls, "user": "ops", "password": "marker"}
    with SmtpDouble(tls=context, implicit=tls == "implicit", user="ops", password="marker") as double:
        refused = outcome(double.port, **options)
        assert isinstance(refused, Retryable)
        assert refused.why.startswith("the certificate is not trusted")
        assert double.logins == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert outcome(double.port, **options) == Delivered()
        assert double.was_encrypted == [True]
        wrong = outcome(double.port, **{**options, "password": "other"})
        assert isinstance(wrong, Dead)
        assert wrong.why.startswith("535 at login")


def test_a_server_without_starttls_gets_no_mail_in_the_clear() -> None:
    with SmtpDouble() as double:
        assert isinstance(outcome(double.port, tls="starttls"), Dead)
        assert double.mails == []


@pytest.mark.parametrize(
    ("verb", "reply", "expected"),
    [
        ("CONNECT", "421 too many connections", Retryable),
        ("CONNECT", "554 go away", Dead),
        ("MAIL", "553 not your address", Dead),
        ("MAIL", "452 no space", Retryable),
        ("RCPT", "550 no such user", Dead),
        ("RCPT", "450 greylisted", Retryable),
        ("DATA", "451 later", Retryable),
        ("CONTENT", "554 looks like spam", Rejected),
        ("CONTENT", "451 later", Retryable),
        ("CONTENT", "552 too big", Rejected),  # the brief form was too big as well
        ("MAIL", "", Retryable),  # hangs up
        ("CONTENT", "250 queued", Delivered),
    ],
)
def test_each_refusal_means_what_it_replies_to(verb: str, reply: str, expected: type[Outcome]) -> None:
    with SmtpDouble() as double:
        double.replies[verb] = reply

        assert type(outcome(double.port)) is expected


def test_some_refused_recipients_are_told_and_the_others_have_it_once() -> None:
    with SmtpDouble(refused=("gone@example.org",)) as double:
        told = outcome(double.port, recipients=["gone@example.org", "ops@example.org"])

    assert told == Delivered("refused: gone@example.org (550)")
    assert double.recipients == [["ops@example.org"]]


def test_a_server_that_fails_after_it_took_the_mail_has_taken_it() -> None:
    with SmtpDouble() as double:
        double.replies["QUIT"] = ""

        assert outcome(double.port) == Delivered()


@pytest.mark.parametrize("behave", [broken.hangs, broken.drips_headers, broken.hangs_up, broken.is_no_http])
def test_whatever_a_server_does_there_is_an_outcome_in_time(behave: Behaviour) -> None:
    with broken_server(behave) as address:
        for tls in ("none", "implicit"):
            assert isinstance(outcome(int(address.rpartition(":")[2]), 0.3, tls=tls), Retryable | Dead)


def test_a_line_break_in_a_name_makes_no_header() -> None:
    evil = Message(id="id-1", alerts=(alert(model="x\r\nBcc: victim@example.org"),))
    with SmtpDouble() as double:
        assert deliver(mailbox(double.port), evil, 0).outcome == Delivered()

    assert double.mails[0]["Bcc"] is None
    assert double.recipients == [["ops@example.org"]]


def test_the_text_form_shows_neither_user_nor_password() -> None:
    assert repr(mailbox(25, user="ops", password="marker")) == "Email('e', '127.0.0.1:25')"
