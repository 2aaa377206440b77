"""A double of DingTalk's custom robot: sign, keyword, 20 a minute, then ten minutes of ban."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

from tests.doubles.server import Clock, Double, Post, Reply, Window, as_json

TOKEN = "token-of-the-double-0123456789abcdef"
BAN_S = 600.0
GATEWAY = {"status": 1111, "wait": 5, "source": "x5", "punish": "deny", "uuid": "8c1e5f9e"}
"""What the gateway in front of the robots says of too much: there is no errcode in it."""


def error(code: int, text: str) -> Reply:
    return as_json({"errcode": code, "errmsg": text})


class DingTalkDouble(Double):
    """`behind_gateway`: a ban is told by the gateway. `in_chinese`: so are refusals for security."""

    path = "/robot/send"

    def __init__(
        self,
        clock: Clock = time.time,
        *,
        secret: str | None = None,
        keyword: str | None = None,
        behind_gateway: bool = False,
        in_chinese: bool = False,
    ) -> None:
        super().__init__(clock)
        self.secret = secret
        self.keyword = keyword
        self.behind_gateway = behind_gateway
        self.in_chinese = in_chinese
        self.banned_until = 0.0
        self.sent_while_banned = 0
        self._window = Window(20, 60.0)

    @property
    def url(self) -> str:
        return f"{self.base}{self.path}?access_token={TOKEN}"

    def answer(self, post: Post) -> Reply:
        if not post.headers.get("content-type", "").startswith("application/json"):
            return error(43004, "无效的HTTP HEADER Content-Type")
        if post.query.get("access_token") != TOKEN:
            return error(300001, "token is not exist")
        if self._is_banned(post.at):
            return as_json(GATEWAY) if self.behind_gateway else self._too_fast()
        if len(post.body) > 20_000:
            return error(460101, "message too long, exceed 20000 bytes")
        try:
            message = json.loads(post.body)
            texts = message[message["msgtype"]]
        except (ValueError, KeyError, TypeError):
            return error(40035, "缺少参数 json")
        if refusal := self._refusal(post, texts):
            return refusal
        self._window.add(post.at)
        self.taken.append(post)
        return as_json({"errcode": 0, "errmsg": "ok"})

    def texts(self) -> list[str]:
        """What people have read in the group."""
        return [post.json["markdown"]["text"] if "markdown" in post.json else post.json["text"]["content"]
                for post in self.taken]  # fmt: skip

    def _is_banned(self, now: float) -> bool:
        if now < self.banned_until:
            self.sent_while_banned += 1
            return True
        if self._window.is_full(now):
            self.banned_until = now + BAN_S
            return True
        return False

    def _too_fast(self) -> Reply:
        return error(130101, "send too fast, exceed 20 times per minute")

    def _refusal(self, post: Post, texts: dict[str, str]) -> Reply | None:
        more = ", more: [https://ding-doc.dingtalk.com/doc#/serverapi2/qf2nxq]"
        if self.secret is not None:
            stamp = post.query.get("timestamp", "")
            if not stamp.isdigit() or abs(int(stamp) / 1000 - post.at) > 3600:
                return error(310000, "错误描述:timestamp 无效" if self.in_chinese else "invalid timestamp" + more)
            wanted = hmac.digest(self.secret.encode(), f"{stamp}\n{self.secret}".encode(), hashlib.sha256)
            if post.query.get("sign") != base64.b64encode(wanted).decode():
                return error(310000, "错误描述:机器人发送签名不匹配" if self.in_chinese else "sign not match" + more)
        if self.keyword is not None and self.keyword not in "".join(map(str, texts.values())):
            return error(310000, "错误描述:关键词不匹配" if self.in_chinese else "keywords not in content" + more)
        return None
