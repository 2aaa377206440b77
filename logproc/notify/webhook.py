"""A signed webhook with an idempotency key, for whatever takes a POST: an auto-scaler, a phone gateway."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from logproc.notify.channel import Answer, Delivered, Limits, Message, Outcome, Request
from logproc.notify.hook import Hook, as_json, by_status, unanswered
from logproc.notify.text import PLAIN, Shape, Style, fit, paragraphs, title

PER_S: Final = 1.0
BURST: Final = 10
DIGEST_SIZE: Final = 200
LONGEST: Final = 256 * 1024
VERSION: Final = 1


class Webhook(Hook):
    """One URL. With a secret the body is signed; with a token it is sent as a bearer token."""

    def __init__(self, name: str, url: str, limits: Limits, style: Style, *, secret: str = "", token: str = "") -> None:
        super().__init__(name, url, limits, style, token=token)
        self._secret = secret
        self.secrets += (secret,) if secret else ()

    def render(self, message: Message, now: float, *, brief: bool = False) -> Request:
        """The message as JSON, see docs/notifications.md; `brief`: without the alerts themselves."""
        fewest = Shape(shown=0, is_digest=True)
        body = (
            as_json(self._body(message, fewest, now))
            if brief
            else fit(message, lambda shape: as_json(self._body(message, shape, now)), lambda made: len(made) <= LONGEST)
        )
        headers = {"Idempotency_Key": message.id}
        if not self._secret:
            return self.request(body, **headers)
        stamp = str(int(now))
        signed = sign(self._secret, stamp, body)
        return self.request(body, secrets=(signed,), X_Logproc_Signature=f"t={stamp},v1={signed}", **headers)

    def judge(self, answer: Answer) -> Outcome:
        """Any 2xx is a delivery; 409 says that the idempotency key is known: it was delivered before."""
        if outcome := unanswered(answer):
            return outcome
        if 200 <= answer.status < 300:
            return Delivered()
        if answer.status == 409:
            return Delivered("it was delivered before")
        return by_status(answer)

    def _body(self, message: Message, shape: Shape, now: float) -> dict[str, Any]:
        """The body as data. A digest that does not fit tells the first alerts, and how many it leaves out."""
        alerts = message.alerts[: shape.shown]
        external = message.external[: shape.shown - len(alerts)]
        total = len(message.alerts) + len(message.external)
        own = [msgspec.to_builtins(each) for each in alerts]
        if shape.is_digest or not shape.examples:
            own = [{name: value for name, value in each.items() if name not in {"examples", "facts"}} for each in own]
        text = [] if message.digest else paragraphs(message, shape, self.style, PLAIN)
        return {
            "version": VERSION,
            "id": message.id,
            "reason": message.reason,
            "severity": message.severity,
            "status": "resolved" if message.is_resolved else "firing",
            "title": title(message, self.style),
            "text": "\n".join(text),
            "sent_at": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "alerts": own,
            "external": [msgspec.to_builtins(each) for each in external],
            "left_out": total - len(alerts) - len(external),
        }


def sign(secret: str, stamp: str, body: bytes) -> str:
    """Hexadecimal HMAC-SHA256 over time (seconds), a dot, and the body."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
