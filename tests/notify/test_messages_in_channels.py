"""What a message looks like in each channel: within its limits whatever it holds, signed, escaped, in two languages."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC
from email import message_from_bytes, policy
from string import Template
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.notify import dingtalk, feishu
from logproc.notify.alertmanager import Alertmanager
from logproc.notify.channel import Channel, ExternalAlert, Limits, Mail, Message, Request
from logproc.notify.dingtalk import DingTalk
from logproc.notify.email import Email
from logproc.notify.feishu import Feishu
from logproc.notify.slack import Slack
from logproc.notify.text import Style, cut
from logproc.notify.webhook import Webhook, sign
from logproc.notify.wecom import WeCom
from logproc.notify.words import Language
from tests.doubles.dingtalk import DingTalkDouble
from tests.doubles.feishu import FeishuDouble
from tests.doubles.server import Double, Post
from tests.doubles.slack import SlackDouble
from tests.doubles.webhook import WebhookDouble
from tests.doubles.wecom import WeComDouble
from tests.notify.alerts import alert

NOW = 1_700_000_000.0
LIMITS = Limits(1.0, 5, "key", 50)
ENGLISH, CHINESE = Style("en", zone=UTC), Style("zh", zone=UTC)
PEOPLE = ["13800138000", "all"]


def message(*alerts: Any, **fields: Any) -> Message:
    return Message(id="id-1", alerts=alerts, **fields)


def sent(channel: Any, told: Message, **options: Any) -> Any:
    """What goes over the wire, as data."""
    request = channel.render(told, NOW, **options)
    assert isinstance(request, Request)
    return json.loads(request.body)


def dingtalk_robot(style: Style = ENGLISH, **options: Any) -> DingTalk:
    return DingTalk("d", "https://oapi.dingtalk.com/robot/send?access_token=t", LIMITS, style, **options)


def wecom_robot(style: Style = ENGLISH, **options: Any) -> WeCom:
    return WeCom("w", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k", LIMITS, style, **options)


def feishu_bot(style: Style = ENGLISH, **options: Any) -> Feishu:
    return Feishu("f", "https://open.feishu.cn/open-apis/bot/v2/hook/h", LIMITS, style, **options)


def slack_hook(style: Style = ENGLISH, **options: Any) -> Slack:
    return Slack("s", "https://hooks.slack.com/services/T/B/h", LIMITS, style, **options)


def mailbox(style: Style = ENGLISH) -> Email:
    return Email("e", LIMITS, style, host="h", port=587, tls="starttls", sender="a@b.c", recipients=["d@e.f"])


# --- signatures ------------------------------------------------------------------------------------------------------


def test_dingtalks_signature_is_that_of_the_golden_vector() -> None:
    signature = dingtalk.sign("SEC000000000000000000000", "1700000000000")

    assert signature == "1zJ/w34EOSVAYr7cu7Vo8LnebmK2/GrCgegtr8mQrqM="


def test_feishus_signature_is_that_of_the_golden_vector() -> None:
    assert feishu.sign("demo-secret", "1700000000") == "mYHw2R2SOm8Rw/sne3lQdmz4sOfntKR+1P/8RKKTwmA="


def test_the_signature_in_dingtalks_url_is_quoted_once() -> None:
    request = dingtalk_robot(secret="SEC000000000000000000000").render(message(alert()), NOW)

    assert request.url.endswith("&timestamp=1700000000000&sign=1zJ%2Fw34EOSVAYr7cu7Vo8LnebmK2%2FGrCgegtr8mQrqM%3D")


def test_the_webhooks_signature_covers_time_and_body() -> None:
    request = Webhook("h", "https://gateway.example/h", LIMITS, ENGLISH, secret="key").render(message(alert()), NOW)

    signed = sign("key", "1700000000", request.body)
    assert request.headers["X-Logproc-Signature"] == f"t=1700000000,v1={signed}"
    assert request.headers["Idempotency-Key"] == "id-1"
    assert sign("key", "1700000001", request.body) != signed
    assert sign("key", "1700000000", request.body + b" ") != signed
    assert sign("other", "1700000000", request.body) != signed


# --- what is said ----------------------------------------------------------------------------------------------------

TOLD = alert(
    severity="critical",
    model="qwen-72b",
    cause="queue",
    shares={"queue": 0.8, "decode": 0.2},
    examples=["AAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBB"],
    since="2026-11-21T14:02:11.000Z",
    text={"en": "P99 is 4.1 s. 80 % of it is queue.", "zh": "P99 为 4.1 秒。80 % 是排队。"},
)


def test_an_alert_says_what_how_much_why_since_when_and_shows_examples() -> None:
    text = sent(dingtalk_robot(), message(TOLD))["markdown"]["text"]

    for said in (
        "critical · P99 latency is too high: qwen-72b",
        "P99 is 4.1 s. 80 % of it is queue.",
        "value: 4.1 s (bound 3 s)",
        "cause: waiting in the queue (80 %)",
        "since: 2026-11-21 14:02:11 UTC",
        "samples: 812",
        "AAAAAAAAAAAAAAAAAAAAAA, BBBBBBBBBBBBBBBBBBBBBB",
    ):
        assert said in text


def test_the_same_in_chinese() -> None:
    text = sent(dingtalk_robot(CHINESE), message(TOLD))["markdown"]["text"]

    for said in (
        "严重 · P99 延迟过高：qwen-72b",
        "P99 为 4.1 秒。80 % 是排队。",
        "当前值：4.1 s (阈值 3 s)",
        "原因：排队 (80 %)",
    ):
        assert said in text


def test_an_end_says_since_when_and_until_when() -> None:
    over = alert(state="resolved", since="2026-11-21T14:02:11.000Z", until="2026-11-21T14:09:00.000Z")

    text = sent(slack_hook(), message(over))["blocks"][1]["text"]["text"]

    assert "since: 2026-11-21 14:02:11 UTC" in text
    assert "until: 2026-11-21 14:09:00 UTC" in text
    assert sent(slack_hook(), message(over))["text"].startswith("resolved · P99 latency is too high")


def test_reminders_escalations_and_tests_say_what_they_are() -> None:
    assert "(still firing)" in sent(slack_hook(), message(TOLD, reason="reminder"))["text"]
    assert "(nobody has acknowledged it)" in sent(slack_hook(), message(TOLD, reason="escalation"))["text"]
    assert "(test, nothing is wrong)" in sent(slack_hook(), message(TOLD, reason="test"))["text"]


def test_a_digest_names_every_alert_in_few_words_the_grave_ones_first() -> None:
    many = [alert(number, severity="critical" if number % 3 == 0 else "warning") for number in range(30)]

    text = sent(wecom_robot(), message(*many, digest=True))["markdown"]["content"]

    assert text.index("critical · P99 latency is too high**") < text.index("warning · P99 latency is too high**")
    assert all(f"m{number} " in text for number in range(30))
    assert "critical · 30 alerts" in text


def test_a_group_from_alertmanager_is_one_message_with_its_links() -> None:
    group = [
        ExternalAlert(
            status="firing",
            labels={"alertname": "NodeDown", "severity": "critical", "instance": f"node{number}:9100", "job": "node"},
            annotations={"summary": f"node{number} does not answer"},
            starts_at="2026-11-21T14:02:11Z",
            generator_url=f"http://prometheus:9090/graph?g0.expr=up{number}",
        )
        for number in range(2)
    ]
    told = Message(id="g", external=tuple(group), group={"alertname": "NodeDown"})

    text = sent(dingtalk_robot(), told)["markdown"]["text"]

    assert "critical · 2 alerts: alertname=NodeDown" in text
    assert "node0 does not answer" in text
    assert "[details](http://prometheus:9090/graph?g0.expr=up1)" in text


def test_people_are_called_when_it_is_critical_and_not_otherwise() -> None:
    critical, warning = message(alert(severity="critical")), message(alert(severity="warning"))
    over = message(alert(severity="critical", state="resolved"))

    called = sent(dingtalk_robot(mention=PEOPLE), critical)
    assert called["at"] == {"atMobiles": ["13800138000"], "isAtAll": True}
    assert "@13800138000" in called["markdown"]["text"]
    called = sent(wecom_robot(mention=PEOPLE), critical)
    assert called["text"]["mentioned_mobile_list"] == ["13800138000", "@all"]
    card = sent(feishu_bot(mention=["ou_1", "all"]), critical)["card"]
    assert "<at id=ou_1></at> <at id=all></at>" in card["elements"][0]["content"]
    assert sent(slack_hook(mention=["U1", "all"]), critical)["blocks"][1]["text"]["text"] == "<@U1> <!channel>"
    assert sent(dingtalk_robot(mention=PEOPLE), message(alert(), reason="escalation"))["at"]["isAtAll"]
    for quiet in (warning, over):
        assert sent(dingtalk_robot(mention=PEOPLE), quiet)["at"] == {"atMobiles": [], "isAtAll": False}
        assert sent(wecom_robot(mention=PEOPLE), quiet)["msgtype"] == "markdown"
        assert "<at " not in json.dumps(sent(feishu_bot(mention=["ou_1"]), quiet))
        assert "<@U1>" not in json.dumps(sent(slack_hook(mention=["U1"]), quiet))


def test_the_keyword_is_in_every_message_once() -> None:
    for told in (message(TOLD), message(*[alert(n) for n in range(40)], digest=True)):
        for brief in (False, True):
            assert json.dumps(sent(dingtalk_robot(keyword="logproc!"), told, brief=brief)).count("logproc!") == 1
            assert json.dumps(sent(feishu_bot(keyword="logproc!"), told, brief=brief)).count("logproc!") == 1


def test_names_from_outside_can_neither_mark_nor_link_nor_call_anyone() -> None:
    evil = alert(
        model="[x](http://evil.example)<!channel><@U1><at id=all></at>**b** @13800138000",
        text={"en": "a\n# heading\n<font color='red'>"},
    )

    text = sent(dingtalk_robot(), message(evil))["markdown"]["text"]
    assert not set("[]<@`") & set(text)
    assert "\n# heading" not in text
    assert "<at" not in sent(feishu_bot(), message(evil))["card"]["elements"][0]["content"]
    content = sent(wecom_robot(), message(evil))["markdown"]["content"]
    assert content.count("<") == 2  # our own font tag
    blocks = json.dumps(sent(slack_hook(), message(evil, evil))["blocks"][1:])
    assert "<!channel>" not in blocks
    assert "<@U1>" not in blocks


def test_a_users_template_is_the_text_of_an_alert() -> None:
    template = Template("$severity/$kind on $model\n$value of $bound, $examples. $$5")
    style = Style("en", template, UTC)

    assert "critical/latency_p99 on qwen-72b" in sent(dingtalk_robot(style), message(TOLD))["markdown"]["text"]
    block = sent(slack_hook(style), message(TOLD))["blocks"][1]["text"]["text"]
    assert block.endswith("4.1 s of 3 s, AAAAAAAAAAAAAAAAAAAAAA, BBBBBBBBBBBBBBBBBBBBBB. $5")


def test_a_mail_carries_the_messages_id_and_the_alerts_thread() -> None:
    mail = mailbox(CHINESE).render(message(TOLD), NOW)
    assert isinstance(mail, Mail)
    read = message_from_bytes(mail.content, policy=policy.default)

    assert read["Subject"] == "严重 · P99 延迟过高：qwen-72b"
    assert read["Message-ID"] == "<id-1@logproc>"
    assert read["References"] == f"<alert-{TOLD.id}@logproc>"
    assert read["Auto-Submitted"] == "auto-generated"
    assert read["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert "P99 为 4.1 秒。" in read.get_content()
    assert max(map(len, mail.content.split(b"\r\n"))) <= 998


def test_alertmanager_gets_the_alert_under_its_severity_and_an_end_under_the_others() -> None:
    channel = Alertmanager("a", "http://localhost:9093/", LIMITS, ENGLISH, service="vllm")

    told = {each["labels"]["severity"]: each for each in sent(channel, message(TOLD))}

    assert told["critical"]["labels"] == {
        "alertname": "latency_p99", "severity": "critical", "service": "vllm", "model": "qwen-72b",
    }  # fmt: skip
    assert told["critical"]["annotations"]["cause"] == "waiting in the queue (80 %)"
    assert told["critical"]["endsAt"] == "2023-11-14T22:28:20.000Z"  # quarter of an hour on: it is told again before
    for severity in ("warning", "disaster"):
        assert told[severity]["endsAt"] < "2023-11-14T22:13:20"


def test_alertmanager_never_gets_an_end_before_its_start_nor_an_end_in_the_future() -> None:
    channel = Alertmanager("a", "http://localhost:9093/", LIMITS, ENGLISH, service="vllm")
    for since, until in (
        ("2023-11-14T22:00:00Z", "2023-11-14T22:10:00Z"),
        ("2023-11-14T22:10:00Z", "2023-11-14T22:00:00Z"),  # clocks of two hosts
        ("2023-11-14T23:00:00Z", "2023-11-14T23:30:00Z"),  # a clock that is ahead
        ("2023-11-14T22:00:00Z", "soon"),
    ):
        theirs = ExternalAlert(status="resolved", labels={"alertname": "A"}, starts_at=since, ends_at=until)
        over = msgspec.structs.replace(alert(state="resolved"), since=since, until=until)
        for each in sent(channel, Message(id="g", alerts=(over,), external=(theirs,))):
            assert each["startsAt"] <= each["endsAt"] <= "2023-11-14T22:13:20.000Z"


def test_a_webhook_gets_the_whole_alert_as_data() -> None:
    body = sent(Webhook("h", "https://gateway.example/h", LIMITS, ENGLISH), message(TOLD))

    assert body["version"] == 1
    assert (body["id"], body["status"], body["severity"]) == ("id-1", "firing", "critical")
    assert body["alerts"][0]["cause"] == "queue"
    assert body["alerts"][0]["shares"] == {"queue": 0.8, "decode": 0.2}
    assert body["title"] == "critical · P99 latency is too high: qwen-72b"
    assert body["sent_at"] == "2023-11-14T22:13:20.000Z"
    assert body["left_out"] == 0


# --- limits ----------------------------------------------------------------------------------------------------------

texts = st.text(max_size=300) | st.sampled_from(
    ["模" * 700, "é" * 3000, "😀" * 2000, "&<>" * 1500, "[x](y)" * 800, "\n" * 50]
)
own_alerts = st.builds(
    alert,
    st.integers(0, 5000),
    st.sampled_from(["firing", "resolved"]),
    model=texts,
    severity=st.sampled_from(["warning", "critical", "disaster"]),
    kind=st.sampled_from(["latency_p99", "errors", "gpu_memory", "drift"]),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    examples=st.lists(st.text("abcXYZ019_-", min_size=22, max_size=22), max_size=5),
    text=st.fixed_dictionaries({"en": texts, "zh": texts}),
)
external_alerts = st.builds(
    ExternalAlert,
    status=st.sampled_from(["firing", "resolved"]),
    labels=st.dictionaries(st.sampled_from(["alertname", "severity", "instance", "model", "job"]), texts),
    annotations=st.dictionaries(st.sampled_from(["summary", "description"]), texts),
    starts_at=st.sampled_from(["2026-11-21T14:02:11Z", "", "soon"]),
    generator_url=st.sampled_from(["", "http://p:9090/graph?g0.expr=up", "javascript:x", "http://p/(a b)"]),
)
messages = st.builds(
    Message,
    id=st.just("id-1"),
    alerts=st.lists(own_alerts, max_size=4).map(tuple),
    external=st.lists(external_alerts, max_size=3).map(tuple),
    digest=st.booleans(),
).filter(lambda told: told.alerts or told.external)  # fmt: skip


def taken_by(double: Double, request: Any) -> None:
    """The double answers as the vendor does, and takes it."""
    parts = request.url.partition("?")
    query = dict(pair.split("=", 1) for pair in parts[2].split("&")) if parts[2] else {}
    path = "/" + parts[0].partition("://")[2].partition("/")[2]
    headers = {name.lower(): value for name, value in request.headers.items()}
    reply = double.answer(Post(path, query, headers, request.body, NOW))
    assert double.taken, (reply, len(request.body))


LANGUAGES: list[Language] = ["en", "zh"]


@given(told=messages, language=st.sampled_from(LANGUAGES), brief=st.booleans(), calls=st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_a_message_holds_every_channel_takes_it(
    told: Message, language: Language, brief: bool, calls: bool
) -> None:
    style = Style(language, zone=UTC)
    called = PEOPLE if calls else []
    doubles: dict[str, tuple[Double, Callable[[str], Channel]]] = {
        "d": (
            DingTalkDouble(keyword="kw"),
            lambda url: DingTalk("d", url, LIMITS, style, keyword="kw", mention=called),
        ),
        "w": (WeComDouble(), lambda url: WeCom("w", url, LIMITS, style, mention=called)),
        "f": (FeishuDouble(secret="s"), lambda url: Feishu("f", url, LIMITS, style, secret="s", mention=called)),
        "s": (SlackDouble(), lambda url: Slack("s", url, LIMITS, style, mention=called)),
        "h": (WebhookDouble(secret="s"), lambda url: Webhook("h", url, LIMITS, style, secret="s")),
    }
    for double, make in doubles.values():
        try:
            request = make(double.url).render(told, NOW, brief=brief)
            assert isinstance(request, Request)
            request.body.decode("utf-8")
            taken_by(double, request)
        finally:
            double._server.server_close()
    mail = mailbox(style).render(told, NOW, brief=brief)
    assert message_from_bytes(mail.content, policy=policy.default).get_content().strip()


def test_what_is_too_long_loses_examples_then_text_then_words_then_alerts() -> None:
    def content(count: int, characters: int, **fields: Any) -> str:
        told = [
            alert(n, text={"en": "x" * characters}, examples=[f"{n:022}" for _ in range(5)], **fields)
            for n in range(count)
        ]
        return str(sent(wecom_robot(), message(*told))["markdown"]["content"])

    examples = [content(count, 200).count("0" * 17) / count for count in (3, 11, 14)]
    assert examples == [5, 1, 0]
    assert "x" * 99 in content(10, 2000)
    assert "x" * 101 not in content(10, 2000)
    assert "samples" not in content(60, 2000)  # in few words
    assert all(f"m{n} " in content(60, 2000) for n in range(60))
    many = content(600, 10)
    shown = sum(f"m{n} " in many for n in range(600))
    assert many.endswith(f"… and {600 - shown} more")
    assert shown > 200
    assert len(many.encode()) > 3900  # as many as fit


def test_a_link_is_whole_or_not_there() -> None:
    group = [
        ExternalAlert(
            status="firing",
            labels={"alertname": "A", "instance": f"i{n}"},
            annotations={"summary": "s" * 50},
            generator_url=f"http://prometheus:9090/graph?g0.expr={'e' * 40}{n}",
        )
        for n in range(200)
    ]
    for count in (1, 10, 20, 30, 40, 200):
        text = sent(wecom_robot(), Message(id="g", external=tuple(group[:count])))["markdown"]["content"]
        assert text.count("[details](http") == text.count("](") == text.count("[")
        assert text.count(")") >= text.count("](")


@given(st.text(), st.integers(3, 50))
def test_a_text_is_cut_to_whole_characters_within_the_bytes(text: str, limit: int) -> None:
    made = cut(text, limit)

    assert len(made.encode()) <= limit
    assert made == text or made.endswith("…")


def test_the_brief_form_has_no_markup_links_or_examples() -> None:
    theirs = ExternalAlert(status="firing", labels={"alertname": "A"}, generator_url="https://prometheus.example/")
    told = message(TOLD, external=(theirs,))

    for channel in (dingtalk_robot(), feishu_bot(), wecom_robot(), slack_hook()):
        body = sent(channel, told, brief=True)
        text = json.dumps(body, ensure_ascii=False)
        assert not any(mark in text for mark in ("**", "://", "AAAAAAAAAA", "###", "blocks", "card"))
        assert "P99 latency is too high" in text
