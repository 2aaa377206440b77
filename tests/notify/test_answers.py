"""What an answer of each channel means: HTTP 200 is not a delivery."""

from __future__ import annotations

import json

import pytest

from logproc.notify.alertmanager import Alertmanager
from logproc.notify.channel import (
    Answer,
    Channel,
    Dead,
    Delivered,
    Limits,
    Outcome,
    Rejected,
    Retryable,
    Throttled,
    TooLong,
)
from logproc.notify.dingtalk import DingTalk
from logproc.notify.email import Email
from logproc.notify.feishu import Feishu
from logproc.notify.slack import Slack
from logproc.notify.text import Style
from logproc.notify.webhook import Webhook
from logproc.notify.wecom import WeCom
from tests.doubles.dingtalk import GATEWAY

LIMITS = Limits(1.0, 5, "key", 50)
DINGTALK = DingTalk("d", "https://oapi.dingtalk.com/robot/send?access_token=t0123456789", LIMITS, Style())
WECOM = WeCom("w", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k0123456789", LIMITS, Style())
FEISHU = Feishu("f", "https://open.feishu.cn/open-apis/bot/v2/hook/h0123456789", LIMITS, Style())
SLACK = Slack("s", "https://hooks.slack.com/services/T/B/h0123456789", LIMITS, Style())
WEBHOOK = Webhook("h", "https://gateway.example/hooks/h0123456789", LIMITS, Style())
ALERTMANAGER = Alertmanager("a", "http://localhost:9093", LIMITS, Style(), service="vllm")
EMAIL = Email("e", LIMITS, Style(), host="mail.example", port=587, tls="starttls", sender="a@b.c", recipients=["d@e.f"])
HTTP = [DINGTALK, WECOM, FEISHU, SLACK, WEBHOOK, ALERTMANAGER]
VENDORS = [DINGTALK, WECOM, FEISHU, SLACK]


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def reply(code: int, text: str) -> Answer:
    return answer(text.encode(), code, stage="content")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"errcode": 0, "errmsg": "ok"}, Delivered),
        ({"errcode": 310000, "errmsg": "keywords not in content, more: [...]"}, Dead),
        ({"errcode": 310000, "errmsg": "sign not match, more: [...]"}, Dead),
        ({"errcode": 310000, "errmsg": "invalid timestamp, more: [...]"}, Dead),
        ({"errcode": 310000, "errmsg": "ip 1.2.3.4 not in whitelist"}, Dead),
        ({"errcode": 310000, "errmsg": "错误描述:关键词不匹配;解决方案:请联系群管理员"}, Dead),
        ({"errcode": 310000, "errmsg": "错误描述:机器人发送签名不匹配"}, Dead),
        ({"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"}, Throttled),
        ({"errcode": 410100, "errmsg": "发送速度太快而限流"}, Throttled),
        ({"errcode": 90030, "errmsg": "webhook over limit"}, Throttled),
        (GATEWAY, Throttled),
        ({**GATEWAY, "errcode": 130101, "errmsg": "send too fast"}, Throttled),
        ({"errcode": 300001, "errmsg": "token is not exist"}, Dead),
        ({"errcode": 300005, "errmsg": "token is not exist"}, Dead),
        ({"errcode": 400101, "errmsg": "access_token不存在"}, Dead),
        ({"errcode": 400013, "errmsg": "群已被解散"}, Dead),
        ({"errcode": 400102, "errmsg": "机器人已停用"}, Dead),
        ({"errcode": 400106, "errmsg": "机器人不存在"}, Dead),
        ({"errcode": 400105, "errmsg": "不支持的消息类型"}, Rejected),
        ({"errcode": 40035, "errmsg": "缺少参数 json"}, Rejected),
        ({"errcode": 43002, "errmsg": "需要POST请求"}, Rejected),
        ({"errcode": 43004, "errmsg": "无效的HTTP HEADER Content-Type"}, Rejected),
        ({"errcode": 460101, "errmsg": "message too long, exceed 20000 bytes"}, TooLong),
        ({"errcode": 101002, "errmsg": "message is too long"}, TooLong),
        ({"errcode": 430101, "errmsg": "unsafe link"}, Rejected),
        ({"errcode": 430102, "errmsg": "unsafe text"}, Rejected),
        ({"errcode": 430103, "errmsg": "unsafe image"}, Rejected),
        ({"errcode": 430104, "errmsg": "unsafe content"}, Rejected),
        ({"errcode": -1, "errmsg": "系统繁忙"}, Retryable),
        ({"errcode": 987654, "errmsg": "a code of tomorrow"}, Retryable),
    ],
)
def test_each_code_of_dingtalk(body: object, expected: type[Outcome]) -> None:
    assert type(DINGTALK.judge(answer(body))) is expected


def test_dingtalk_bans_for_ten_minutes_and_says_what_to_repair() -> None:
    assert DINGTALK.judge(answer(GATEWAY)) == Throttled(600.0, "the gateway refuses: too many messages")
    assert DINGTALK.judge(answer({"errcode": 130101, "errmsg": "x"})) == Throttled(600.0, "130101: x")
    for said, repair in (
        ("keywords not in content", "set `keyword`"),
        ("错误描述:关键词不匹配", "set `keyword`"),
        ("sign not match", "`secret` is wrong"),
        ("机器人发送签名不匹配", "`secret` is wrong"),
        ("invalid timestamp", "set the clock"),
        ("ip not in whitelist", "list of addresses"),
        ("something else", "security settings"),
    ):
        outcome = DINGTALK.judge(answer({"errcode": 310000, "errmsg": said}))
        assert isinstance(outcome, Dead)
        assert repair in outcome.why


def test_what_dingtalk_calls_unsafe_may_pass_as_plain_text() -> None:
    outcome = DINGTALK.judge(answer({"errcode": 430101, "errmsg": "unsafe link"}))

    assert outcome == Rejected("430101: unsafe link", plain_may_pass=True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"errcode": 0, "errmsg": "ok"}, Delivered),
        ({"errcode": 45009, "errmsg": "api freq out of limit"}, Throttled),
        ({"errcode": 45033, "errmsg": "api concurrent out of limit"}, Throttled),
        ({"errcode": 93000, "errmsg": "invalid webhook url"}, Dead),
        ({"errcode": 93004, "errmsg": "robot is stopped"}, Dead),
        ({"errcode": 93008, "errmsg": "not in group"}, Dead),
        ({"errcode": 40058, "errmsg": "markdown.content exceed max length 4096"}, TooLong),
        ({"errcode": 40058, "errmsg": "invalid Request Parameter"}, Rejected),
        ({"errcode": 45002, "errmsg": "content size out of limit"}, TooLong),
        ({"errcode": 40008, "errmsg": "invalid message type"}, Rejected),
        ({"errcode": 44004, "errmsg": "empty content"}, Rejected),
        ({"errcode": 40033, "errmsg": "invalid charset"}, Rejected),
        ({"errcode": -1, "errmsg": "system busy"}, Retryable),
        ({"errcode": 987654, "errmsg": "a code of tomorrow"}, Retryable),
    ],
)
def test_each_code_of_wecom(body: object, expected: type[Outcome]) -> None:
    assert type(WECOM.judge(answer(body))) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}, Delivered),
        ({"StatusCode": 0, "StatusMessage": "success"}, Delivered),
        ({"code": 0, "msg": "success"}, Delivered),
        ({"code": 0, "StatusCode": 7}, Retryable),
        ({"code": 19001, "msg": "param invalid: incoming webhook access token invalid"}, Dead),
        ({"code": 19007, "msg": "Bot Not Enabled"}, Dead),
        ({"code": 19021, "msg": "sign match fail or timestamp is not within one hour from current time"}, Dead),
        ({"code": 19022, "msg": "Ip Not Allowed"}, Dead),
        ({"code": 19024, "msg": "Key Words Not Found"}, Dead),
        ({"code": 11232, "msg": "frequency limited psm[lark.oapi.app_platform_runtime]appID[1500]"}, Throttled),
        ({"code": 99991400, "msg": "request trigger frequency limit"}, Throttled),
        ({"code": 9499, "msg": "too many request"}, Throttled),
        ({"code": 9499, "msg": "frequency limited"}, Throttled),
        ({"code": 9499, "msg": "Bad Request", "data": {}}, Rejected),
        ({"code": 19002, "msg": "params error"}, Rejected),
        ({"code": 19036, "msg": "request body too large"}, TooLong),
        ({"code": 987654, "msg": "a code of tomorrow"}, Retryable),
    ],
)
def test_each_code_of_feishu(body: object, expected: type[Outcome]) -> None:
    assert type(FEISHU.judge(answer(body))) is expected


@pytest.mark.parametrize(
    ("status", "word", "expected"),
    [
        (200, "ok", Delivered),
        (200, "", Retryable),
        (200, "okay", Retryable),
        (200, "no_service", Dead),
        (400, "invalid_payload", Rejected),
        (400, "invalid_blocks", Rejected),
        (400, "no_text", Rejected),
        (400, "user_not_found", Rejected),
        (400, "too_many_attachments", TooLong),
        (400, "msg_blocks_too_long", TooLong),
        (403, "action_prohibited", Dead),
        (403, "invalid_token", Dead),
        (403, "posting_to_general_channel_denied", Dead),
        (404, "channel_not_found", Dead),
        (404, "no_service", Dead),
        (404, "no_team", Dead),
        (410, "channel_is_archived", Dead),
        (429, "rate_limited", Throttled),
        (500, "rollup_error", Retryable),
        (400, "a_word_of_tomorrow", Rejected),
    ],
)
def test_each_word_of_slack(status: int, word: str, expected: type[Outcome]) -> None:
    assert type(SLACK.judge(answer(word.encode(), status))) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, Delivered), (201, Delivered), (202, Delivered), (204, Delivered), (409, Delivered), (400, Rejected),
     (422, Rejected), (401, Dead), (403, Dead), (404, Dead), (410, Dead), (413, TooLong), (408, Retryable),
     (429, Throttled), (500, Retryable), (503, Retryable), (301, Dead), (302, Dead), (307, Dead)],
)  # fmt: skip
def test_each_status_of_a_webhook(status: int, expected: type[Outcome]) -> None:
    assert type(WEBHOOK.judge(answer(b"", status))) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, Delivered), (202, Retryable), (400, Rejected), (401, Dead), (404, Dead), (410, Dead), (500, Retryable),
     (503, Retryable), (302, Dead)],
)  # fmt: skip
def test_each_status_of_alertmanager(status: int, expected: type[Outcome]) -> None:
    assert type(ALERTMANAGER.judge(answer(b"", status))) is expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (reply(250, "2.0.0 queued"), Delivered),
        (reply(451, "4.3.0 try again"), Retryable),
        (reply(421, "4.7.0 too many"), Retryable),
        (reply(552, "5.3.4 message too big"), TooLong),
        (reply(554, "5.7.1 looks like spam"), Rejected),
        (Answer(450, {"stage": "recipients"}, b"4.7.1 greylisted"), Retryable),
        (Answer(550, {"stage": "recipients"}, b"5.1.1 no such user"), Dead),
        (Answer(553, {"stage": "sender"}, b"5.7.1 not your address"), Dead),
        (Answer(535, {"stage": "login"}, b"5.7.8 bad password"), Dead),
        (Answer(454, {"stage": "login"}, b"4.7.0 later"), Retryable),
        (Answer(554, {"stage": "connect"}, b"5.7.1 go away"), Dead),
        (Answer(502, {"stage": "starttls"}, b"not supported"), Dead),
        (Answer(250, {"stage": "login"}, b"?"), Retryable),
    ],
)
def test_each_reply_of_a_mail_server(told: Answer, expected: type[Outcome]) -> None:
    assert type(EMAIL.judge(told)) is expected


WRONG_BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"0",
    b"true",
    b'"ok!"',
    b'{"errcode":0',
    b'{"code":0',
    b"<html><body>Welcome to the guest network</body></html>",
    b'{"errcode":"0"}',
    b'{"errcode":false,"code":false,"StatusCode":false}',
    b'{"errcode":0.0,"code":0.0,"StatusCode":0.0}',
    b'{"errcode":null,"code":null,"StatusCode":null}',
    b'{"errcode":[0],"code":{"a":0}}',
    b'{"ERRCODE":0,"Code":0}',
    b"\xff\xfe\x00",
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", WRONG_BODIES, ids=lambda body: body[:30].decode("latin-1"))
@pytest.mark.parametrize("channel", VENDORS, ids=lambda channel: channel.name)
def test_a_200_with_a_body_that_is_not_the_vendors_success_is_no_delivery(channel: Channel, body: bytes) -> None:
    assert isinstance(channel.judge(answer(body)), Retryable)


@pytest.mark.parametrize("channel", VENDORS, ids=lambda channel: channel.name)
@pytest.mark.parametrize("status", [301, 400, 403, 404, 429, 500, 502])
def test_a_success_in_the_body_of_another_status_is_no_delivery(channel: Channel, status: int) -> None:
    body = b"ok" if channel is SLACK else b'{"errcode":0,"code":0}'

    assert not isinstance(channel.judge(answer(body, status)), Delivered)


@pytest.mark.parametrize("channel", [*HTTP, EMAIL], ids=lambda channel: channel.name)
def test_no_answer_is_tried_again_whatever_came_before_it_broke_off(channel: Channel) -> None:
    cut_off = Answer(200, {"stage": "content"}, b'{"errcode":0,"code":0}', problem="the answer was cut off")

    assert channel.judge(cut_off) == Retryable("the answer was cut off")


@pytest.mark.parametrize("channel", HTTP, ids=lambda channel: channel.name)
def test_retry_after_is_honoured_in_seconds_and_as_a_date(channel: Channel) -> None:
    dated = {"date": "Sat, 21 Nov 2026 10:00:00 GMT", "retry_after": "Sat, 21 Nov 2026 10:01:30 GMT"}

    def waits(status: int, **headers: str) -> float | None:
        outcome = channel.judge(answer(b"", status, **headers))
        assert isinstance(outcome, Throttled | Retryable)
        return outcome.after_s

    assert waits(429, retry_after="17") == 17
    assert waits(429, **dated) == 90
    assert waits(503, retry_after="17") == 17
    assert waits(503) is None
    for nonsense in ("soon", "-5", "", "1e9", "²"):
        assert waits(503, retry_after=nonsense) is None
    assert waits(503, retry_after="99999999") == 86400
    assert (waits(429) or 0) > 0


def test_a_redirect_names_the_host_it_leads_to_and_nothing_more() -> None:
    outcome = WEBHOOK.judge(answer(b"", 301, location="https://new.example/hooks/marker?token=marker"))

    assert isinstance(outcome, Dead)
    assert "https://new.example;" in outcome.why
    assert "marker" not in outcome.why


def test_a_mailbox_that_is_refused_beside_others_is_told_with_the_delivery() -> None:
    told = Answer(250, {"stage": "content", "refused": "refused: x@y.z (550)"}, b"ok")

    assert EMAIL.judge(told) == Delivered("refused: x@y.z (550)")
