"""WeCom's group robot: no signature, limits in bytes, mentions by phone number in plain texts only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from logproc.notify.channel import (
    Answer,
    Dead,
    Delivered,
    Limits,
    Message,
    Outcome,
    Rejected,
    Request,
    Retryable,
    Throttled,
    TooLong,
)
from logproc.notify.hook import LIMITED_S, Hook, as_json, by_status, code_of, excerpt, json_object, unanswered
from logproc.notify.text import LONGEST_BRIEF, PLAIN, Markup, Shape, Style, brief_text, fit, paragraphs, plain, title

PER_S: Final = 14 / 60
BURST: Final = 5
"""At most 14 + 5 in any minute; 20 are allowed."""
DIGEST_SIZE: Final = 50
LONGEST_MARKDOWN: Final = 4096
LONGEST_TEXT: Final = 2048
"""Bytes of the content, so a third of it in Chinese."""

MARKUP: Final = Markup(escape=plain, title="**{}**", item="{}", quote="> {}", link="[{}]({})")
_COLOURS: Final = {"warning": "comment", "critical": "warning", "disaster": "warning"}

_DEAD: Final = {
    93000: "the key in the URL is not valid",
    93004: "the robot was stopped",
    93008: "the robot is not in the group any more",
}
_THROTTLED: Final = frozenset({45009, 45033})
_TOO_LONG: Final = frozenset({45002, 45004})
_REJECTED: Final = frozenset({40008, 40033, 44004})
KNOWN: Final = frozenset({*_DEAD, *_THROTTLED, *_TOO_LONG, *_REJECTED, 40058})
"""Every answer but success that is known by name."""


class WeCom(Hook):
    """One group robot. `mention`: phone numbers, or `all`."""

    def __init__(self, name: str, url: str, limits: Limits, style: Style, *, mention: Sequence[str] = ()) -> None:
        super().__init__(name, url, limits, style)
        self._mention = ["@all" if each == "all" else each for each in mention]

    def render(self, message: Message, now: float, *, brief: bool = False) -> Request:  # noqa: ARG002 - it signs nothing
        """Markdown; a plain text where somebody is to be called, which markdown cannot."""
        calls = bool(self._mention) and message.is_urgent
        if not brief and not calls:
            content = fit(
                message,
                lambda shape: self._markdown(message, shape),
                lambda text: len(text.encode()) <= LONGEST_MARKDOWN,
            )
            return self.request(as_json({"msgtype": "markdown", "markdown": {"content": content}}))
        if brief:
            content = brief_text(message, self.style, LONGEST_BRIEF)
        else:
            content = fit(
                message, lambda shape: self._text(message, shape), lambda text: len(text.encode()) <= LONGEST_TEXT
            )
        mentions = {"mentioned_mobile_list": self._mention} if calls else {}
        return self.request(as_json({"msgtype": "text", "text": {"content": content, **mentions}}))

    def judge(self, answer: Answer) -> Outcome:
        """By `errcode`: an answer without one is never a success."""
        if outcome := unanswered(answer):
            return outcome
        told = json_object(answer)
        code = code_of(told, "errcode")
        if code is None:
            return by_status(answer)
        if code == 0 and 200 <= answer.status < 300:
            return Delivered()
        said = excerpt(str(told.get("errmsg", "")).encode())
        why = f"{code}: {said}"
        if code in _THROTTLED:
            return Throttled(LIMITED_S, why)
        if code in _DEAD:
            return Dead(f"{why}; {_DEAD[code]}")
        if code in _TOO_LONG or (code == 40058 and "exceed" in said):
            return TooLong(why)
        if code in _REJECTED or code == 40058:
            return Rejected(why)
        return by_status(answer) if answer.status == 429 else Retryable(why)

    def _markdown(self, message: Message, shape: Shape) -> str:
        colour = "info" if message.is_resolved else _COLOURS[message.severity]
        heading = f'<font color="{colour}">{plain(title(message, self.style))}</font>'
        return "\n\n".join([heading, *paragraphs(message, shape, self.style, MARKUP)])

    def _text(self, message: Message, shape: Shape) -> str:
        return "\n".join([title(message, self.style), *paragraphs(message, shape, self.style, PLAIN)])
