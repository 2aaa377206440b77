"""A double of Feishu's (Lark's) custom bot: signature in the body, keyword, 5 a second and 100 a minute."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

from tests.doubles.server import Clock, Double, Post, Reply, Window, as_json

HOOK = "0a1b2c3d-hook-of-the-double"


def error(code: int, text: str) -> Reply:
    return as_json({"code": code, "msg": text, "data": {}})


class FeishuDouble(Double):
    path = f"/open-apis/bot/v2/hook/{HOOK}"

    def __init__(self, clock: Clock = time.time, *, secret: str | None = None, keyword: str | None = None) -> None:
        super().__init__(clock)
        self.secret = secret
        self.keyword = keyword
        self._second, self._minute = Window(5, 1.0), Window(100, 60.0)

    def answer(self, post: Post) -> Reply:
        if post.path != self.path:
            return error(19001, "param invalid: incoming webhook access token invalid")
        if len(post.body) > 20 * 1024:
            return error(19036, "request body too large")
        try:
            message = json.loads(post.body)
            content = message["card"] if message["msg_type"] == "interactive" else message["content"]
        except (ValueError, KeyError, TypeError):
            return error(9499, "Bad Request")
        if self._second.is_full(post.at) or self._minute.is_full(post.at):
            return error(11232, "frequency limited psm[lark.oapi.app_platform_runtime]appID[1500]")
        if self.secret is not None and not self._is_signed(message, post.at):
            return error(19021, "sign match fail or timestamp is not within one hour from current time")
        if self.keyword is not None and self.keyword not in json.dumps(content, ensure_ascii=False):
            return error(19024, "Key Words Not Found")
        self._second.add(post.at)
        self._minute.add(post.at)
        self.taken.append(post)
        return as_json({"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"})

    def _is_signed(self, message: dict[str, str], now: float) -> bool:
        stamp = str(message.get("timestamp", ""))
        if not stamp.isdigit() or abs(int(stamp) - now) > 3600:
            return False
        wanted = hmac.digest(f"{stamp}\n{self.secret}".encode(), b"", hashlib.sha256)
        return message.get("sign") == base64.b64encode(wanted).decode()
