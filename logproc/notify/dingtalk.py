"""DingTalk's custom robot: signature in the URL, markdown, mentions by phone number, 20 a minute or a ban."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final
from urllib.parse import quote

from logproc.notify.channel import (
    Answer,
    Dead,
    Delivered,
    Message,
    Outcome,
    Rejected,
    Request,
    Retryable,
    Throttled,
    TooLong,
)
from logproc.notify.hook import Robot, as_json, by_status, code_of, excerpt, json_object, unanswered
from logproc.notify.text import LONGEST_BRIEF, Markup, Shape, brief_text, fit, paragraphs, plain, title

PER_S: Final = 14 / 60
BURST: Final = 5
"""At most 14 + 5 in any minute: one below 20, which is a ban of ten minutes."""
BAN_S: Final = 600.0
DIGEST_SIZE: Final = 150
LONGEST: Final = 19_500
"""Bytes of a body; the robot takes 20,000."""

MARKUP: Final = Markup(escape=plain, title="**{}**", item="- {}", quote="> {}", link="[{}]({})", line_end="\n\n")

_THROTTLED: Final = {130101: BAN_S, 410100: BAN_S, 90030: 3600.0}
_DEAD: Final = {
    300001: "the access_token does not exist",
    300005: "the access_token does not exist",
    400101: "the access_token does not exist",
    400013: "the group was dissolved",
    400102: "the robot was stopped",
    400106: "the robot was removed",
}
_SECURITY: Final = (
    (("keyword", "关键词"), "the message lacks the robot's keyword: set `keyword`"),
    (("sign", "签名"), "the signature does not match: `secret` is wrong, or missing"),
    (("timestamp", "时间戳"), "the time of the signature is more than an hour off: set the clock"),
    (("ip", "白名单"), "this machine's address is not on the robot's list of addresses"),
)
_TOO_LONG: Final = frozenset({460101, 101002})
_UNSAFE: Final = frozenset({430101, 430102, 430103, 430104})
_REJECTED: Final = frozenset({40035, 43002, 43004, 400105})
KNOWN: Final = frozenset({*_DEAD, *_THROTTLED, *_TOO_LONG, *_UNSAFE, *_REJECTED, 310000})
"""Every answer but success that is known by name."""


class DingTalk(Robot):
    """One custom robot. `mention`: phone numbers, or `all`."""

    def render(self, message: Message, now: float, *, brief: bool = False) -> Request:
        """A markdown message of at most 20,000 bytes; `brief`: a short plain text."""
        body = (
            self._brief(message)
            if brief
            else fit(message, lambda shape: self._markdown(message, shape), lambda body: len(body) <= LONGEST)
        )
        if not self.secret:
            return self.request(body)
        stamp = str(int(now * 1000))
        signed = sign(self.secret, stamp)
        joint = "&" if "?" in self.url else "?"
        return self.request(
            body, url=f"{self.url}{joint}timestamp={stamp}&sign={quote(signed, safe='')}", secrets=(signed,)
        )

    def judge(self, answer: Answer) -> Outcome:
        """By `errcode`: an answer without one is never a success."""
        if outcome := unanswered(answer):
            return outcome
        told = json_object(answer)
        code = code_of(told, "errcode")
        if code is None:
            if told.get("source") == "x5" or told.get("punish") == "deny":
                return Throttled(BAN_S, "the gateway refuses: too many messages")
            return by_status(answer)
        return Delivered() if code == 0 and 200 <= answer.status < 300 else _judge_code(code, answer, told)

    def _called(self, message: Message) -> tuple[list[str], bool]:
        """The phone numbers to mention, and whether it is everyone."""
        if not message.is_urgent:
            return [], False
        return [each for each in self.mention if each != "all"], "all" in self.mention

    def _markdown(self, message: Message, shape: Shape) -> bytes:
        heading = title(message, self.style)
        numbers, everyone = self._called(message)
        parts = [f"### {plain(heading)}", *paragraphs(message, shape, self.style, MARKUP)]
        if numbers:
            parts.append(" ".join(f"@{number}" for number in numbers))  # without it nobody is called
        text = self.with_keyword("\n\n".join(parts), "\n\n")
        at = {"atMobiles": numbers, "isAtAll": everyone}
        return as_json({"msgtype": "markdown", "markdown": {"title": heading, "text": text}, "at": at})

    def _brief(self, message: Message) -> bytes:
        numbers, everyone = self._called(message)
        text = self.with_keyword(brief_text(message, self.style, LONGEST_BRIEF), "\n")
        at = {"atMobiles": numbers, "isAtAll": everyone}
        return as_json({"msgtype": "text", "text": {"content": text}, "at": at})


def sign(secret: str, stamp: str) -> str:
    """Base64 of the HMAC-SHA256 over time (ms) and secret, keyed by the secret; in a URL it is quoted once."""
    return base64.b64encode(hmac.digest(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256)).decode()


def _judge_code(code: int, answer: Answer, told: dict[str, object]) -> Outcome:
    said = excerpt(str(told.get("errmsg", "")).encode())
    why = f"{code}: {said}"
    if code in _THROTTLED:
        return Throttled(_THROTTLED[code], why)
    if code == 310000:
        known = next((hint for marks, hint in _SECURITY if any(mark in said.lower() for mark in marks)), "")
        return Dead(f"{why}; {known or 'the security settings of the robot refuse it'}")
    if code in _DEAD:
        return Dead(f"{why}; {_DEAD[code]}")
    if code in _TOO_LONG:
        return TooLong(why)
    if code in _UNSAFE:
        return Rejected(why, plain_may_pass=True)
    if code in _REJECTED:
        return Rejected(why)
    if answer.status == 429:
        return by_status(answer)
    return Retryable(why)
