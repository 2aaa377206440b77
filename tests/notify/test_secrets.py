"""A marker in every secret, and every way to fail: it is in no outcome, answer, text form, log or output."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from typer.testing import CliRunner

from logproc.cli import app
from logproc.notify.channel import Message, deliver
from logproc.notify.channels import build
from logproc.settings_file import load
from tests.doubles import broken
from tests.doubles.broken import broken_server
from tests.doubles.server import Double, Post, Reply
from tests.doubles.smtp import SmtpDouble
from tests.notify.alerts import alert

MARKER = "MARKER/+secret=="
TOLD = Message(id="id-1", alerts=(alert(severity="critical"),))


class Echo(Double):
    """Says back everything that it was sent, as proxies and debugging servers do."""

    status = 400

    def answer(self, post: Post) -> Reply:
        said = f"{self.base}{post.path}?{post.query} {dict(post.headers)}\n".encode() + post.body
        return Reply(self.status, said, {"Location": f"{self.base}{post.path}", "X-Echo": str(post.query)})


def notifiers(address: str, smtp_port: int) -> dict[str, dict[str, Any]]:
    """A notifier of every kind, whose secrets all hold the marker."""
    return {
        "dingtalk": {"kind": "dingtalk", "url": f"{address}/send?access_token={MARKER}", "secret": MARKER},
        "wecom": {"kind": "wecom", "url": f"{address}/send?key={MARKER}"},
        "feishu": {"kind": "feishu", "url": f"{address}/hook/{MARKER}", "secret": MARKER},
        "slack": {"kind": "slack", "url": f"{address}/services/T/{MARKER}"},
        "webhook": {"kind": "webhook", "url": f"{address}/{MARKER}", "secret": MARKER, "token": MARKER},
        "alertmanager": {"kind": "alertmanager", "url": f"{address}/{MARKER}", "token": MARKER},
        "basic": {"kind": "webhook", "url": address.replace("://", f"://user:{MARKER.replace('/', '%2F')}@")},
        "email": {
            "kind": "email", "host": "localhost", "port": smtp_port, "tls": "none", "user": "ops", "password": MARKER,
            "from": "a@b.c", "to": ["d@e.f"],
        },
    }  # fmt: skip


def servers() -> Iterator[tuple[str, str, int]]:
    """Every way to fail, by name: an address for HTTP, and a port for SMTP."""
    with ExitStack() as stack:
        for status in (200, 302, 400, 403, 404, 413, 429, 500):
            double = stack.enter_context(Echo())
            double.status = status
            smtp = stack.enter_context(SmtpDouble(user="ops", password="other"))
            smtp.replies["AUTH"] = f"{535 if status == 403 else 454} you said {MARKER}"
            yield f"HTTP {status}", double.base, smtp.port
        for behave in (broken.hangs, broken.hangs_up, broken.is_no_http, broken.cuts_off, broken.drips_headers):
            address = stack.enter_context(broken_server(behave))
            yield behave.__name__, f"http://{address}", int(address.rpartition(":")[2])
            yield f"TLS to one that {behave.__name__}", f"https://{address}", int(address.rpartition(":")[2])
        yield "nobody there", "http://127.0.0.1:1", 1
        yield "no such name", "http://nobody.invalid", 1


def is_shown(text: str) -> bool:
    return any(form in text for form in ("MARKER", "TUFSS0VS", "T1BTAE1BUktF"))  # as it is, and in Base64


def test_no_failure_of_any_channel_shows_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logged = io.StringIO()
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(logged))
    path = tmp_path / "p.yaml"
    tried = 0
    for name, address, smtp_port in servers():
        path.write_text(yaml.safe_dump({"logs": {"paths": ["-"]}, "notifiers": notifiers(address, smtp_port)}))
        settings = load(path, {})
        for channel in build(settings).values():
            attempt = deliver(channel, TOLD, 1_700_000_000, 0.15)
            shown = [repr(attempt), str(attempt.answer.headers), attempt.answer.body.decode("utf-8", "replace")]
            shown += [repr(channel), repr(channel.render(TOLD, 0)), channel.render(TOLD, 0).masked(), repr(settings)]
            assert not any(map(is_shown, shown)), (name, channel.name, [text for text in shown if is_shown(text)])
            tried += 1
    structlog.reset_defaults()

    assert tried == 20 * 8
    assert not is_shown(caplog.text + logged.getvalue())


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_notify_test_shows_no_secret(tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "p.yaml"
    with Echo() as double, SmtpDouble(user="ops", password="other") as smtp:
        smtp.replies["AUTH"] = f"535 you said {MARKER}"
        entries = notifiers(double.base, smtp.port)
        path.write_text(yaml.safe_dump({"logs": {"paths": ["-"]}, "notifiers": entries}))
        for name in entries:
            result = CliRunner().invoke(app, ["notify-test", name, str(path), *options])

            assert result.exit_code == (0 if options else 1), result.output
            assert result.output.strip()
            assert not is_shown(result.output), (name, result.output)
