"""A double of a service that takes the signed webhook as docs/notifications.md tells it to (an auto-scaler, say)."""

from __future__ import annotations

import hashlib
import hmac
import time

from tests.doubles.server import Clock, Double, Post, Reply, as_json


class WebhookDouble(Double):
    """Checks the signature, and acts once for each idempotency key."""

    path = "/hooks/path-of-the-double-0123456789"

    def __init__(self, clock: Clock = time.time, *, secret: str | None = None, token: str | None = None) -> None:
        super().__init__(clock)
        self.secret = secret
        self.token = token
        self.acted: dict[str, Post] = {}

    def answer(self, post: Post) -> Reply:
        if post.path != self.path:
            return Reply(404)
        if self.token is not None and post.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(401)
        if self.secret is not None and not self._is_signed(post):
            return Reply(403)
        self.taken.append(post)
        self.acted.setdefault(post.headers["idempotency-key"], post)
        return as_json({"status": "accepted"}, status=202)

    def _is_signed(self, post: Post) -> bool:
        stamp, _, given = post.headers.get("x-logproc-signature", "").partition(",")
        stamp, given = stamp.removeprefix("t="), given.removeprefix("v1=")
        wanted = hmac.new(str(self.secret).encode(), stamp.encode() + b"." + post.body, hashlib.sha256).hexdigest()
        return stamp.isdigit() and abs(int(stamp) - post.at) <= 300 and hmac.compare_digest(given, wanted)
