"""A message on its way: through each vendor's protocol, and through everything that breaks on the way."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from logproc.notify.channel import (
    Dead,
    Delivered,
    ExternalAlert,
    Limits,
    Message,
    Rejected,
    Retryable,
    Throttled,
    deliver,
)
from logproc.notify.dingtalk import DingTalk
from logproc.notify.feishu import Feishu
from logproc.notify.slack import Slack
from logproc.notify.text import Style
from logproc.notify.webhook import Webhook
from logproc.notify.wecom import WeCom
from tests.doubles import broken
from tests.doubles.broken import Behaviour, broken_server
from tests.doubles.dingtalk import BAN_S, DingTalkDouble
from tests.doubles.feishu import FeishuDouble
from tests.doubles.server import Double, Reply
from tests.doubles.slack import SlackDouble
from tests.doubles.webhook import WebhookDouble
from tests.doubles.wecom import WeComDouble
from tests.notify.alerts import alert
from tests.notify.certificates import make_certificate

LIMITS = Limits(1.0, 5, "key", 50)
STYLE = Style()
TOLD = Message(id="id-1", alerts=(alert(model="qwen-72b"),))


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- the vendors' protocols ------------------------------------------------------------------------------------------


def test_dingtalk_takes_a_signed_message_with_its_keyword(clock: Clock) -> None:
    with DingTalkDouble(clock, secret="SECdouble", keyword="logproc") as double:
        good = DingTalk("d", double.url, LIMITS, STYLE, secret="SECdouble", keyword="logproc")

        assert deliver(good, TOLD, clock()).outcome == Delivered()
        assert "qwen-72b" in double.texts()[0]


@pytest.mark.parametrize("in_chinese", [False, True])
def test_dingtalk_refuses_a_wrong_secret_a_wrong_clock_a_missing_keyword_and_an_unknown_token(
    clock: Clock, in_chinese: bool
) -> None:
    with DingTalkDouble(clock, secret="SECdouble", keyword="logproc", in_chinese=in_chinese) as double:

        def why(url: str, secret: str, keyword: str, now: float) -> str:
            outcome = deliver(DingTalk("d", url, LIMITS, STYLE, secret=secret, keyword=keyword), TOLD, now).outcome
            assert isinstance(outcome, Dead)
            return outcome.why

        assert "`secret` is wrong" in why(double.url, "SECother", "logproc", clock())
        assert "set the clock" in why(double.url, "SECdouble", "logproc", clock() - 3601)
        assert "set `keyword`" in why(double.url, "SECdouble", "", clock())
        assert "access_token does not exist" in why(double.url + "x", "SECdouble", "logproc", clock())
        assert double.taken == []


@pytest.mark.parametrize("behind_gateway", [False, True])
def test_the_twenty_first_message_in_a_minute_is_a_ban_of_ten_minutes(clock: Clock, behind_gateway: bool) -> None:
    with DingTalkDouble(clock, behind_gateway=behind_gateway) as double:
        channel = DingTalk("d", double.url, LIMITS, STYLE)

        outcomes = [deliver(channel, TOLD, clock()).outcome for _ in range(21)]
        assert outcomes[:20] == [Delivered()] * 20
        assert isinstance(outcomes[20], Throttled)
        assert outcomes[20].after_s == BAN_S
        clock.now += outcomes[20].after_s
        assert deliver(channel, TOLD, clock()).outcome == Delivered()
        assert double.sent_while_banned == 0


def test_what_is_found_too_long_is_sent_once_more_in_its_brief_form(clock: Clock) -> None:
    with DingTalkDouble(clock) as double:
        too_long = Reply(200, b'{"errcode":460101,"errmsg":"message too long, exceed 20000 bytes"}')
        channel = DingTalk("d", double.url, LIMITS, STYLE)

        double.next_replies.append(too_long)
        assert deliver(channel, TOLD, clock()).outcome == Delivered()
        assert [post.json["msgtype"] for post in double.posts] == ["markdown", "text"]

        double.next_replies.extend([too_long, too_long])
        assert isinstance(deliver(channel, TOLD, clock()).outcome, Rejected)
        assert len(double.posts) == 4


def test_what_dingtalk_finds_unsafe_is_sent_once_more_without_links(clock: Clock) -> None:
    with DingTalkDouble(clock) as double:
        double.next_replies.append(Reply(200, b'{"errcode":430101,"errmsg":"unsafe link"}'))
        theirs = ExternalAlert(
            status="firing", labels={"alertname": "A"}, generator_url="https://prometheus.example/graph"
        )
        told = Message(id="id-1", external=(theirs,))

        assert deliver(DingTalk("d", double.url, LIMITS, STYLE), told, clock()).outcome == Delivered()
        assert b"https://prometheus.example" in double.posts[0].body
        assert b"https://" not in double.posts[1].body


def test_wecom_takes_twenty_a_minute(clock: Clock) -> None:
    with WeComDouble(clock) as double:
        channel = WeCom("w", double.url, LIMITS, STYLE)

        outcomes = [deliver(channel, TOLD, clock()).outcome for _ in range(21)]
        assert outcomes[:20] == [Delivered()] * 20
        assert isinstance(outcomes[20], Throttled)
        clock.now += outcomes[20].after_s
        assert deliver(channel, TOLD, clock()).outcome == Delivered()
        assert isinstance(deliver(WeCom("w", double.url + "x", LIMITS, STYLE), TOLD, clock()).outcome, Dead)


def test_feishu_takes_a_signed_card_and_five_a_second(clock: Clock) -> None:
    with FeishuDouble(clock, secret="double", keyword="logproc") as double:
        channel = Feishu("f", double.url, LIMITS, STYLE, secret="double", keyword="logproc")

        outcomes = [deliver(channel, TOLD, clock()).outcome for _ in range(6)]
        assert outcomes[:5] == [Delivered()] * 5
        assert isinstance(outcomes[5], Throttled)
        clock.now += 1
        unsigned = Feishu("f", double.url, LIMITS, STYLE, keyword="logproc")
        assert isinstance(deliver(unsigned, TOLD, clock()).outcome, Dead)
        wordless = Feishu("f", double.url, LIMITS, STYLE, secret="double")
        assert isinstance(deliver(wordless, TOLD, clock()).outcome, Dead)
        assert isinstance(deliver(channel, TOLD, clock() - 3601).outcome, Dead)


def test_slack_says_how_long_to_wait_and_when_the_channel_is_gone(clock: Clock) -> None:
    with SlackDouble(clock) as double:
        channel = Slack("s", double.url, LIMITS, STYLE)

        outcomes = [deliver(channel, TOLD, clock()).outcome for _ in range(21)]
        assert outcomes == [Delivered()] * 20 + [Throttled(30.0, "HTTP 429: rate_limited")]
        for status, word in ((410, "channel_is_archived"), (404, "no_service"), (403, "action_prohibited")):
            double.refuses_with = (status, word)
            assert isinstance(deliver(channel, TOLD, clock()).outcome, Dead)


def test_a_webhook_is_signed_and_acts_once_however_often_it_is_told(clock: Clock) -> None:
    with WebhookDouble(clock, secret="key", token="bearer") as double:
        channel = Webhook("h", double.url, LIMITS, STYLE, secret="key", token="bearer")

        for _ in range(3):
            assert deliver(channel, TOLD, clock()).outcome == Delivered()
        assert (len(double.taken), len(double.acted)) == (3, 1)
        for wrong in (
            Webhook("h", double.url, LIMITS, STYLE, secret="other", token="bearer"),
            Webhook("h", double.url, LIMITS, STYLE, secret="key"),
        ):
            assert isinstance(deliver(wrong, TOLD, clock()).outcome, Dead)
        assert isinstance(deliver(channel, TOLD, clock() - 301).outcome, Dead)  # a replay of old times


# --- what breaks on the way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behave", "problem"),
    [
        (broken.hangs, "no answer within 0.3 s"),
        (broken.drips_headers, "no answer within 0.3 s"),
        (broken.drips_body, "no answer within 0.3 s"),
        (broken.hangs_up, "hung up without an answer"),
        (broken.is_no_http, "no proper answer (BadStatusLine)"),
        (broken.says_much_in_headers, "no proper answer (HTTPException)"),
        (broken.cuts_off, "the answer was cut off"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_whatever_the_other_side_does_there_is_an_outcome_in_time(behave: Behaviour, problem: str) -> None:
    patience_s = 0.3 if "0.3 s" in problem else 20  # a slow machine takes its time
    with broken_server(behave) as address:
        channel = DingTalk("d", f"http://{address}/robot/send?access_token=t", LIMITS, STYLE)
        attempt = deliver(channel, TOLD, 0, patience_s)

    assert attempt.outcome == Retryable(problem)


def test_no_more_than_64_kib_of_an_answer_are_read() -> None:
    with broken_server(broken.never_ends) as address:
        channel = Webhook("h", f"http://{address}/", LIMITS, STYLE)

        assert len(channel.send(channel.render(TOLD, 0), 10).body) == 64 * 1024
        assert len(deliver(channel, TOLD, 0).answer.body) == 4096


def test_a_server_that_drips_does_not_hold_a_sender_longer_than_its_time() -> None:
    """Each byte comes in time: only a deadline for the whole ends it."""
    with broken_server(broken.drips_body) as address:
        began = time.monotonic()
        deliver(Webhook("h", f"http://{address}/", LIMITS, STYLE), TOLD, 0, 0.3)

        assert time.monotonic() - began < 30  # without the deadline: 2,000 s


def test_nobody_there_a_name_that_does_not_exist_and_a_closed_port_are_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert deliver(Webhook("h", f"http://127.0.0.1:{port}/", LIMITS, STYLE), TOLD, 0).outcome == Retryable(
        "connection refused"
    )
    assert deliver(Webhook("h", "http://nobody.invalid/", LIMITS, STYLE), TOLD, 0).outcome == Retryable(
        "the name of the host cannot be resolved"
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with Double() as here, Double() as there:
        here.always = Reply(status, headers={"Location": there.url})

        assert isinstance(deliver(Webhook("h", here.url, LIMITS, STYLE), TOLD, 0).outcome, Dead)
        assert there.posts == []


def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, context = make_certificate(tmp_path)
    with Double() as double:
        double._server.socket = context.wrap_socket(double._server.socket, server_side=True)
        url = double.url.replace("http://", "https://")
        outcome = deliver(Webhook("h", url, LIMITS, STYLE), TOLD, 0).outcome
        assert isinstance(outcome, Retryable)
        assert outcome.why.startswith("the certificate is not trusted")
        assert double.posts == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert deliver(Webhook("h", url, LIMITS, STYLE), TOLD, 0).outcome == Delivered()
        wrong_name = url.replace("127.0.0.1", "localhost")
        assert isinstance(deliver(Webhook("h", wrong_name, LIMITS, STYLE), TOLD, 0).outcome, Retryable)
        assert len(double.posts) == 1


def test_tls_against_a_server_without_it_and_one_that_hangs_in_the_handshake() -> None:
    with Double() as double:
        url = double.url.replace("http://", "https://")
        outcome = deliver(Webhook("h", url, LIMITS, STYLE), TOLD, 0).outcome
        assert isinstance(outcome, Retryable)
        assert outcome.why.startswith("no TLS")
    with broken_server(broken.hangs) as address:
        assert deliver(Webhook("h", f"https://{address}/", LIMITS, STYLE), TOLD, 0, 0.3).outcome == Retryable(
            "no answer within 0.3 s"
        )


def test_a_user_in_the_url_becomes_basic_authentication() -> None:
    with Double() as double:
        url = double.url.replace("http://", "http://ops:p%40ss@")

        assert deliver(Webhook("h", url, LIMITS, STYLE), TOLD, 0).outcome == Delivered()
        assert double.posts[0].headers["authorization"] == "Basic b3BzOnBAc3M="
        assert "p%40ss" not in double.posts[0].headers["host"]


def tunnel(listener: socket.socket, target: tuple[str, int], seen: list[bytes]) -> None:
    """A proxy that takes one CONNECT, and then passes bytes both ways."""
    client, _ = listener.accept()
    seen.append(client.recv(4096))
    server = socket.create_connection(target)
    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def pump(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(4096):
            sink.sendall(data)

    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    pump(client, server)


def test_the_proxy_of_the_environment_is_used_and_sees_only_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, context = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Double() as double, socket.create_server(("127.0.0.1", 0)) as listener:
        double._server.socket = context.wrap_socket(double._server.socket, server_side=True)
        target = double._server.server_address[:2]
        seen: list[bytes] = []
        threading.Thread(target=tunnel, args=(listener, target, seen), daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://ops:p%40ss@127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        url = double.url.replace("http://", "https://") + "hooks/marker0123456789"

        assert deliver(Webhook("h", url, LIMITS, STYLE), TOLD, 0).outcome == Delivered()
        assert seen[0].startswith(f"CONNECT 127.0.0.1:{target[1]} HTTP/1.1".encode())
        assert b"\r\nProxy-Authorization: Basic b3BzOnBAc3M=\r\n" in seen[0]
        assert b"marker" not in seen[0]


def test_an_answer_that_repeats_secrets_is_told_without_them() -> None:
    with WebhookDouble() as double:
        double.always = Reply(400, f"bad request to {double.url} with {double.path}".encode(), {"X-Url": double.url})
        attempt = deliver(Webhook("h", double.url, LIMITS, STYLE, secret="key-of-the-double"), TOLD, 0)

    assert isinstance(attempt.outcome, Rejected)
    for told in (attempt.outcome.why, attempt.answer.body.decode(), str(attempt.answer.headers), repr(attempt)):
        assert "path-of-the-double" not in told
