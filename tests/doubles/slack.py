"""A double of Slack's incoming webhook: `ok`, or a word that says why not."""

from __future__ import annotations

import json
import time

from tests.doubles.server import Clock, Double, Post, Reply, Window

HOOK = "/services/T000DOUBLE/B000DOUBLE/hookpathofthedouble00"


def word(status: int, text: str, **headers: str) -> Reply:
    return Reply(status, text.encode(), {"Content-Type": "text/html", **headers})


class SlackDouble(Double):
    """`refuses_with`: a status and a word, for a channel that is archived, removed, …"""

    path = HOOK

    def __init__(self, clock: Clock = time.time) -> None:
        super().__init__(clock)
        self.refuses_with: tuple[int, str] | None = None
        self._window = Window(20, 10.0)

    def answer(self, post: Post) -> Reply:
        if post.path != HOOK:
            return word(404, "no_service")
        if self.refuses_with is not None:
            return word(*self.refuses_with)
        if self._window.is_full(post.at):
            return word(429, "rate_limited", **{"Retry-After": "30"})
        try:
            message = json.loads(post.body)
        except ValueError:
            return word(400, "invalid_payload")
        if not isinstance(message, dict) or not message.get("text"):
            return word(400, "no_text")
        if reason := _wrong(message.get("blocks", [])):
            return word(400, reason)
        self._window.add(post.at)
        self.taken.append(post)
        return word(200, "ok")


def _wrong(blocks: list[dict[str, object]]) -> str | None:
    """What Slack would say of the blocks; None when it takes them."""
    longest = {"header": 150, "section": 3000}
    total = 0
    for block in blocks:
        kind = block["type"]
        texts = block["elements"] if kind == "context" else [block["text"]]
        if not isinstance(texts, list) or not 1 <= len(texts) <= 10:
            return "invalid_blocks"
        for text in texts:
            total += len(text["text"])
            if not 1 <= len(text["text"]) <= longest.get(str(kind), 3000):
                return "invalid_blocks"
    if len(blocks) > 50:
        return "invalid_blocks"
    return "msg_blocks_too_long" if total > 13_200 else None
