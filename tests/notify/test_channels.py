"""Settings → channels: what is wrong is named by its key, before anything is sent, and never with a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from logproc.check import findings
from logproc.notify.channels import ChannelError, build, build_one
from logproc.settings import Settings
from logproc.settings_file import SettingsError, load
from logproc.settings_notifiers import NOTIFIERS

EXAMPLES: dict[str, dict[str, Any]] = {
    "dingtalk": {"url": "https://oapi.dingtalk.com/robot/send?access_token=t", "secret": "SEC1", "mention": ["all"]},
    "wecom": {"url": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k", "mention": [13800138000]},
    "feishu": {"url": "https://open.larksuite.com/open-apis/bot/v2/hook/h", "secret": "s", "keyword": "k"},
    "slack": {"url": "https://hooks.slack.com/services/T/B/h"},
    "email": {"host": "h", "from": "a@b.c", "to": ["d@e.f"], "user": "u", "password": "p"},
    "alertmanager": {"url": "http://localhost:9093", "token": "t"},
    "webhook": {"url": "http://127.0.0.1/hook", "secret": "s", "token": "t"},
}


def settings(**notifiers: dict[str, Any]) -> Settings:
    return Settings.model_validate({"logs": {"paths": ["-"]}, "notifiers": notifiers})


def problem(tmp_path: Path, **notifier: Any) -> str:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"logs": {"paths": ["-"]}, "notifiers": {"n": notifier}}))
    with pytest.raises(SettingsError) as caught:
        load(path, {})
    return str(caught.value).replace(str(path), "p.yaml")


def test_there_is_a_channel_for_every_kind_of_notifier() -> None:
    made = build(settings(**{kind: {"kind": kind, **fields} for kind, fields in EXAMPLES.items()}))

    assert len(EXAMPLES) == len(NOTIFIERS)
    assert {name: type(channel).__name__.lower() for name, channel in made.items()} == {kind: kind for kind in EXAMPLES}


def test_what_a_vendor_allows_in_a_minute_is_never_passed() -> None:
    allowed = {"dingtalk": 20, "wecom": 20, "feishu": 100}
    for kind, most in allowed.items():
        limits = build_one(settings(n={"kind": kind, **EXAMPLES[kind]}), "n").limits
        assert limits.burst + 60 * limits.per_s <= most
    feishu = build_one(settings(n={"kind": "feishu", **EXAMPLES["feishu"]}), "n").limits
    assert feishu.burst + feishu.per_s < 5


def test_two_notifiers_of_one_robot_share_its_bucket_and_another_robot_has_its_own() -> None:
    one = {"kind": "slack", "url": "https://hooks.slack.com/services/T/B/one"}
    other = {"kind": "slack", "url": "https://hooks.slack.com/services/T/B/other"}
    keys = [channel.limits.key for channel in build(settings(a=one, b=one, c=other)).values()]

    assert keys[0] == keys[1] != keys[2]
    assert "one" not in keys[0]


def test_the_rate_can_be_set() -> None:
    limits = build_one(settings(n={"kind": "slack", **EXAMPLES["slack"], "per_minute": 6}), "n").limits

    assert (limits.per_s, limits.burst) == (0.1, 1)


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://hooks.slack.com/services/T/B/h\n")
    made = build_one(settings(n={"kind": "slack", "url_file": str(tmp_path / "url")}), "n")

    assert made.limits == build_one(settings(n={"kind": "slack", **EXAMPLES["slack"]}), "n").limits


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "notifiers.n.url_file: {path} cannot be read: no such file or directory"),
        (b"", "notifiers.n.url_file: empty"),
        (b"\xff", "notifiers.n.url_file: {path} is not UTF-8"),
        (
            b"https://a/marker\nhttps://b",
            "notifiers.n.url_file: several lines or control characters: expected one line",
        ),
        (b"hooks.slack.com/marker", "notifiers.n.url_file: expected a URL that begins with https:// or http:// and"),
        (b"ftp://host/marker", "notifiers.n.url_file: expected a URL"),
        (b"https://", "notifiers.n.url_file: expected a URL"),
        (b"https://host:99999/marker", "notifiers.n.url_file: expected a URL"),
        (b"https://host/mar ker", "notifiers.n.url_file: expected a URL"),
        ("https://host/märker".encode(), "notifiers.n.url_file: expected a URL"),
    ],
)
def test_a_secret_that_cannot_be_used_is_said_by_its_key_and_not_shown(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "url"
    if content is not None:
        path.write_bytes(content)
    made = settings(n={"kind": "slack", "url_file": str(path)})

    with pytest.raises(ChannelError) as caught:
        build_one(made, "n")

    assert str(caught.value).startswith(said.format(path=path))
    assert "marker" not in str(caught.value)
    finding = next(each for each in findings(made) if each.subject.startswith("notifiers.n"))
    assert finding.verdict == "error"


def test_check_names_every_channel_and_how_to_try_it() -> None:
    found = [each for each in findings(settings(n={"kind": "slack", **EXAMPLES["slack"]})) if "notif" in each.subject]

    assert [each.verdict for each in found] == ["ok", "warning"]  # the warning: no route names it
    assert "logproc notify-test n" in found[0].text
    assert "/services/" not in found[0].text


def test_check_warns_of_secrets_that_go_in_the_clear() -> None:
    for url, verdict in (
        ("http://hooks.slack.com/services/T/B/h", "warning"),
        ("https://hooks.slack.com/services/T/B/h", "ok"),
        ("http://127.0.0.1:8080/h", "ok"),
    ):
        found = next(each for each in findings(settings(n={"kind": "slack", "url": url})) if "notif" in each.subject)
        assert found.verdict == verdict


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "slack"}, "`notifiers.n`: `url` or `url_file` is needed"),
        ({"kind": "slack", "url": "marker", "url_file": "f"}, "`notifiers.n`: `url` or `url_file`, not both"),
        ({"kind": "slack", "url": "u", "secret": "marker"}, "unknown key `notifiers.n.secret`"),
        ({"kind": "webhook", "url": "u", "secret": "marker", "secret_file": "f"}, "`secret` or `secret_file`"),
        ({"kind": "webhook", "url": "u", "token": "marker", "token_file": "f"}, "`token` or `token_file`, not both"),
        ({"kind": "dingtalk", "url": "u", "language": "de"}, "`notifiers.n.language`"),
        ({"kind": "dingtalk", "url": "u", "per_minute": 0}, "`notifiers.n.per_minute`"),
        ({"kind": "dingtalk", "url": "u", "fallback": "n"}, "notifiers.n.fallback names 'n', which is no other"),
        ({"kind": "dingtalk", "url": "u", "fallback": "x"}, "notifiers.n.fallback names 'x', which is no other"),
        ({"kind": "pager", "url": "marker"}, "`kind` should be 'dingtalk', 'wecom', 'feishu', 'slack', 'email',"),
        ({"url": "marker"}, "`kind` should be 'dingtalk', 'wecom', 'feishu', 'slack', 'email',"),
        ({"kind": "email", "from": "a@b.c", "to": ["d@e.f"]}, "`notifiers.n.host` is missing"),
        ({"kind": "email", "host": "h", "from": "a@b.c", "to": []}, "`notifiers.n.to`"),
        ({"kind": "email", "host": "h", "from": "nobody", "to": ["d@e.f"]}, "'nobody' is no mail address"),
        (
            {"kind": "email", "host": "h", "from": "a@b.c", "to": ["d@e.f"], "user": "u"},
            "`user` needs `password` or `password_file`",
        ),
        (
            {"kind": "email", "host": "h", "tls": "none", "from": "a@b.c", "to": ["d@e.f"], "user": "u",
             "password": "marker"},
            "`tls: none` would send the password in the clear",
        ),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_together_are_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    told = problem(tmp_path, **fields)

    assert said in told
    assert told.startswith("p.yaml:")
    assert "marker" not in told


def test_the_text_form_of_settings_and_channels_shows_no_secret() -> None:
    secrets = {
        "dingtalk": {"url": "https://oapi.dingtalk.com/robot/send?access_token=marker", "secret": "marker"},
        "email": {**EXAMPLES["email"], "password": "marker"},
        "alertmanager": {"url": "http://user:marker@localhost:9093/marker", "token": "marker"},
        "webhook": {"url": "https://host/marker", "secret": "marker", "token": "marker"},
    }
    made = settings(**{kind: {"kind": kind, **fields} for kind, fields in secrets.items()})

    assert "marker" not in repr(made)
    assert "marker" not in made.model_dump_json()
    assert "marker" not in repr(build(made))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$severity $title\n$vlaue", ":2: unknown name `$vlaue`; there are: status, severity"),
        ("costs 5 $", ":1: a `$` that begins no name: write `$$` for the character"),
        ("\n\n${", ":3: a `$` that begins no name"),
        (" \n", ": empty"),
    ],
)
def test_a_template_that_cannot_be_used_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "alert.txt"
    path.write_text(text)

    with pytest.raises(ChannelError) as caught:
        build_one(settings(n={"kind": "slack", **EXAMPLES["slack"], "template_file": str(path)}), "n")

    assert str(caught.value).startswith(f"notifiers.n.template_file: {path}{said}")
