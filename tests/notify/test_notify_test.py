"""`logproc notify-test`: the channel's real answer, or exactly what would be sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from logproc.cli import app
from tests.doubles.dingtalk import DingTalkDouble
from tests.doubles.smtp import SmtpDouble


@pytest.fixture
def notify_test(tmp_path: Path) -> Any:
    def run(channel: str, *options: str, **notifier: Any) -> Result:
        path = tmp_path / "p.yaml"
        path.write_text(yaml.safe_dump({"logs": {"paths": ["-"]}, "notifiers": {"ops": notifier}}))
        return CliRunner().invoke(app, ["notify-test", channel, str(path), *options])

    return run


def test_a_delivered_test_says_the_answer_and_exits_with_0(notify_test: Any) -> None:
    with DingTalkDouble(secret="SECdouble") as double:
        result = notify_test("ops", kind="dingtalk", url=double.url, secret="SECdouble", language="zh")

        assert result.exit_code == 0
        assert result.stdout.splitlines() == ['answer: 200 {"errcode": 0, "errmsg": "ok"}', "delivered"]
        assert "测试消息" in double.texts()[0]


def test_a_refused_test_says_the_answer_and_what_to_do_and_exits_with_1(notify_test: Any) -> None:
    with DingTalkDouble(secret="SECdouble") as double:
        result = notify_test("ops", kind="dingtalk", url=double.url, secret="SECother")

    assert result.exit_code == 1
    assert "sign not match" in result.stdout.splitlines()[0]
    assert result.stdout.splitlines()[1].startswith("dead: 310000: sign not match")
    assert "`secret` is wrong" in result.stdout


def test_a_dry_run_sends_nothing_and_shows_the_request(notify_test: Any) -> None:
    with DingTalkDouble() as double:
        result = notify_test("ops", "--dry-run", kind="dingtalk", url=double.url, keyword="logproc", mention=["all"])

        assert double.posts == []
    assert result.exit_code == 0
    first, second, _, body = result.stdout.strip().split("\n", 3)
    assert first == f"POST {double.base}/***"
    assert second == "Content-Type: application/json; charset=utf-8"
    assert "logproc" in json.loads(body)["markdown"]["text"]


def test_a_dry_run_shows_a_mail_as_people_read_it(notify_test: Any) -> None:
    with SmtpDouble() as double:
        options = {"host": "localhost", "port": double.port, "tls": "none", "from": "a@b.c", "to": ["d@e.f"]}
        result = notify_test("ops", "--dry-run", kind="email", language="zh", **options)

        assert double.mails == []
    assert "Subject: 警告 · P99 延迟过高：test-model (测试消息，一切正常)" in result.stdout
    assert "这是 logproc 的测试消息。" in result.stdout


SAYS = {
    "en": ("P99 latency is too high", "This is a test of logproc."),
    "zh": ("P99 延迟过高", "这是 logproc 的测试消息。"),
}


@pytest.mark.parametrize("template", [False, True], ids=["our words", "a user's words"])
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", ["dingtalk", "wecom", "feishu", "slack", "email", "alertmanager", "webhook"])
def test_a_dry_run_shows_what_every_channel_says_in_either_language_and_in_a_users_words(
    notify_test: Any, tmp_path: Path, kind: str, language: str, template: bool
) -> None:
    options: dict[str, Any] = {"kind": kind, "language": language}
    if kind == "email":
        options |= {"host": "localhost", "tls": "none", "from": "a@b.c", "to": ["d@e.f"]}
    else:
        options["url"] = "http://127.0.0.1:9/hook/SECRETMARKER"
    if template:
        (tmp_path / "own.txt").write_text("In our words $kind $$5: $text")
        options["template_file"] = str(tmp_path / "own.txt")

    result = notify_test("ops", "--dry-run", **options)

    assert result.exit_code == 0, result.output
    assert "SECRETMARKER" not in result.output
    shown = result.stdout.replace("\\_", "_")  # as markdown hides it
    title, text = SAYS[language]
    assert text in shown
    if kind != "alertmanager":  # whose words are labels
        assert title in shown
        assert ("In our words latency_p99 $5: " in shown) == template


def test_a_channel_that_is_not_there_and_one_that_cannot_be_made_are_said(notify_test: Any, tmp_path: Path) -> None:
    unknown = notify_test("opps", kind="slack", url="https://hooks.slack.com/services/T/B/h")
    assert (unknown.exit_code, unknown.stderr) == (2, "logproc: no notifier 'opps'; known: ops\n")
    missing = notify_test("ops", kind="slack", url_file=str(tmp_path / "missing"))
    assert missing.exit_code == 2
    assert "notifiers.ops.url_file" in missing.stderr
