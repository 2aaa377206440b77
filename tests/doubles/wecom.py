"""A double of WeCom's group robot: 20 a minute, limits in bytes."""

from __future__ import annotations

import json
import time

from tests.doubles.server import Clock, Double, Post, Reply, Window, as_json

KEY = "b7f1c2d4-0000-4000-8000-keyofthedouble"
LONGEST = {"text": 2048, "markdown": 4096}


def error(code: int, text: str) -> Reply:
    return as_json({"errcode": code, "errmsg": f"{text}, hint: [1700000000123456789], from ip: 127.0.0.1"})


class WeComDouble(Double):
    path = "/cgi-bin/webhook/send"

    def __init__(self, clock: Clock = time.time) -> None:
        super().__init__(clock)
        self._window = Window(20, 60.0)

    @property
    def url(self) -> str:
        return f"{self.base}{self.path}?key={KEY}"

    def answer(self, post: Post) -> Reply:
        if post.query.get("key") != KEY:
            return error(93000, "invalid webhook url")
        try:
            message = json.loads(post.body)
            kind = message["msgtype"]
            content = message[kind]["content"]
        except (ValueError, KeyError, TypeError):
            return error(40008, "invalid message type")
        if len(content.encode()) > LONGEST[kind]:
            return error(40058, f"{kind}.content exceed max length {LONGEST[kind]}. invalid Request Parameter")
        if not content:
            return error(44004, "empty content")
        if self._window.is_full(post.at):
            return error(45009, "api freq out of limit")
        self._window.add(post.at)
        self.taken.append(post)
        return as_json({"errcode": 0, "errmsg": "ok"})
