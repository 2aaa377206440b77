"""Slack's incoming webhook: Block Kit, one message a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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
from logproc.notify.hook import Hook, as_json, by_status, excerpt, retry_after_s, unanswered
from logproc.notify.text import LONGEST_BRIEF, Markup, Shape, Style, brief_text, fit, paragraphs, shortened, title

PER_S: Final = 1.0
BURST: Final = 3
LIMITED_S: Final = 30.0
DIGEST_SIZE: Final = 150
LONGEST_HEADER: Final = 150
LONGEST_SECTION: Final = 3000
LONGEST: Final = 12_000
MOST_BLOCKS: Final = 50
"""Characters and blocks; Slack refuses messages of about 13,200 characters."""


def escape(text: str) -> str:
    """The three characters that mean something in every text of Slack: links, mentions of people and of everyone."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


MARKUP: Final = Markup(escape=escape, title="*{}*", item="• {}", quote="{}", link="<{1}|{0}>")

_DEAD: Final = {
    "channel_is_archived": "the channel was archived",
    "channel_not_found": "the channel is gone",
    "no_service": "the webhook was removed",
    "no_service_id": "the webhook was removed",
    "no_active_hooks": "the webhook was removed",
    "no_team": "the workspace is gone",
    "team_disabled": "the workspace is disabled",
    "invalid_token": "the URL of the webhook is not valid",
    "action_prohibited": "the workspace does not allow it",
    "posting_to_general_channel_denied": "the workspace does not allow it in this channel",
}
_TOO_LONG: Final = frozenset({"msg_blocks_too_long", "msg_too_long", "text_too_long", "too_many_attachments"})
_REJECTED: Final = frozenset(
    {"invalid_payload", "invalid_blocks", "invalid_blocks_format", "no_text", "user_not_found"}
)
KNOWN: Final = frozenset({*_DEAD, *_TOO_LONG, *_REJECTED})
"""Every answer but success that is known by name."""


class Slack(Hook):
    """One incoming webhook. `mention`: member ids, or `all` (`@channel`)."""

    def __init__(self, name: str, url: str, limits: Limits, style: Style, *, mention: Sequence[str] = ()) -> None:
        super().__init__(name, url, limits, style)
        self._mention = tuple("<!channel>" if each == "all" else f"<@{each}>" for each in mention)

    def render(self, message: Message, now: float, *, brief: bool = False) -> Request:  # noqa: ARG002 - it signs nothing
        """A header and a section for each alert; `brief`: a short text without blocks."""
        if brief:
            return self.request(as_json({"text": escape(brief_text(message, self.style, LONGEST_BRIEF))}))
        return self.request(as_json(fit(message, lambda shape: self._blocks(message, shape), _fits)))

    def judge(self, answer: Answer) -> Outcome:
        """By the word in the body: only `ok` is a success."""
        if outcome := unanswered(answer):
            return outcome
        word = excerpt(answer.body, 100)
        if answer.status == 200 and word == "ok":
            return Delivered()
        why = f"HTTP {answer.status}: {word}"
        if answer.status == 429 or word in {"rate_limited", "ratelimited"}:
            return Throttled(retry_after_s(answer) or LIMITED_S, why)
        if word in _DEAD:
            return Dead(f"{why}; {_DEAD[word]}")
        if word in _TOO_LONG:
            return TooLong(why)
        if word in _REJECTED:
            return Rejected(why, plain_may_pass=word.startswith("invalid_blocks"))
        return Retryable(why) if word == "rollup_error" else by_status(answer)

    def _called(self, message: Message) -> str:
        return " ".join(self._mention) if message.is_urgent else ""

    def _blocks(self, message: Message, shape: Shape) -> dict[str, Any]:
        heading = title(message, self.style)
        sections = [*filter(None, [self._called(message)]), *paragraphs(message, shape, self.style, MARKUP)]
        blocks: list[dict[str, Any]] = [
            {
                "type": "header",
                "text": {"type": "plain_text", "text": shortened(heading, LONGEST_HEADER), "emoji": False},
            }
        ]
        blocks += [{"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in sections if text]
        return {"text": escape(heading), "blocks": blocks}


def _fits(body: dict[str, Any]) -> bool:
    lengths = [len(block["text"]["text"]) for block in body["blocks"]]
    return max(lengths) <= LONGEST_SECTION and sum(lengths) <= LONGEST and len(lengths) <= MOST_BLOCKS
