"""Feishu's and Lark's custom bot: signature in the body, cards, mentions by open_id, 5 a second and 100 a minute."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Final

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
from logproc.notify.hook import LIMITED_S, Robot, as_json, by_status, code_of, excerpt, json_object, unanswered
from logproc.notify.text import LONGEST_BRIEF, Markup, Shape, brief_text, fit, paragraphs, plain, title

PER_S: Final = 1.5
BURST: Final = 3
"""At most 93 in any minute and 5 in any second."""
DIGEST_SIZE: Final = 150
LONGEST: Final = 19_500
"""Bytes of a body; the bot takes 20 KB."""

MARKUP: Final = Markup(escape=plain, title="**{}**", item="- {}", quote="{}", link="[{}]({})")
_COLOURS: Final = {"warning": "orange", "critical": "red", "disaster": "carmine"}

_DEAD: Final = {
    19001: "the hook in the URL is not valid",
    19007: "the bot is not enabled",
    19021: "the signature does not match, or the clock is more than an hour off: check `secret` and the clock",
    19022: "this machine's address is not on the bot's list of addresses",
    19024: "the message lacks the bot's keyword: set `keyword`",
}
_THROTTLED: Final = frozenset({11232, 99991400})
_TOO_LONG: Final = frozenset({19036})
_REJECTED: Final = frozenset({9499, 19002})
KNOWN: Final = frozenset({*_DEAD, *_THROTTLED, *_TOO_LONG, *_REJECTED})
"""Every answer but success that is known by name."""


class Feishu(Robot):
    """One custom bot. `mention`: open_ids, or `all`."""

    def render(self, message: Message, now: float, *, brief: bool = False) -> Request:
        """A card of at most 20 KB; `brief`: a short plain text."""
        signature: dict[str, str] = {}
        if self.secret:
            stamp = str(int(now))
            signature = {"timestamp": stamp, "sign": sign(self.secret, stamp)}
        if brief:
            body = as_json({**signature, **self._brief(message)})
        else:
            body = fit(
                message,
                lambda shape: as_json({**signature, **self._card(message, shape)}),
                lambda body: len(body) <= LONGEST,
            )
        return self.request(body, secrets=(signature["sign"],) if signature else ())

    def judge(self, answer: Answer) -> Outcome:
        """By `code`, or `StatusCode` of older bots: an answer without either is never a success."""
        if outcome := unanswered(answer):
            return outcome
        told = json_object(answer)
        code = code_of(told, "code", "StatusCode")
        if code is None:
            return by_status(answer)
        if code == 0 and told.get("StatusCode", 0) == 0 and 200 <= answer.status < 300:
            return Delivered()
        said = excerpt(str(told.get("msg", told.get("StatusMessage", ""))).encode())
        why = f"{code}: {said}"
        if code in _THROTTLED or "frequency" in said.lower() or "too many" in said.lower():
            return Throttled(LIMITED_S, why)
        if code in _DEAD:
            return Dead(f"{why}; {_DEAD[code]}")
        if code in _TOO_LONG:
            return TooLong(why)
        if code in _REJECTED:
            return Rejected(why, plain_may_pass=code == 19002)
        return by_status(answer) if answer.status == 429 else Retryable(why)

    def _called(self, message: Message) -> tuple[str, ...]:
        return self.mention if message.is_urgent else ()

    def _card(self, message: Message, shape: Shape) -> dict[str, Any]:
        heading = title(message, self.style)
        texts = paragraphs(message, shape, self.style, MARKUP)
        if called := self._called(message):
            texts.append(" ".join(f"<at id={each}></at>" for each in called))
        if self.keyword and not any(self.keyword in text for text in (heading, *texts)):
            texts.append(self.keyword)
        colour = "green" if message.is_resolved else _COLOURS[message.severity]
        return {
            "msg_type": "interactive",
            "card": {
                "config": {"wide_screen_mode": True},
                "header": {"title": {"tag": "plain_text", "content": heading}, "template": colour},
                "elements": [{"tag": "markdown", "content": "\n\n".join(texts) or heading}],
            },
        }

    def _brief(self, message: Message) -> dict[str, Any]:
        text = brief_text(message, self.style, LONGEST_BRIEF)
        text += "".join(f' <at user_id="{each}"></at>' for each in self._called(message))
        return {"msg_type": "text", "content": {"text": self.with_keyword(text, "\n")}}


def sign(secret: str, stamp: str) -> str:
    """Base64 of the HMAC-SHA256 over nothing, keyed by time (seconds) and secret."""
    return base64.b64encode(hmac.digest(f"{stamp}\n{secret}".encode(), b"", hashlib.sha256)).decode()
