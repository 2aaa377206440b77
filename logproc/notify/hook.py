"""What channels that are a URL have in common: sending, signing keys of buckets, and how to read an answer."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from logproc.notify.channel import (
    Answer,
    Dead,
    Limits,
    Mail,
    Outcome,
    Rejected,
    Request,
    Retryable,
    Throttled,
    TooLong,
    origin,
    url_secrets,
)
from logproc.notify.post import post
from logproc.notify.text import Style


class Hook:
    """A channel that is one URL. Its text form shows no more than its name and the host."""

    refresh_s: float | None = None

    def __init__(self, name: str, url: str, limits: Limits, style: Style, *, token: str = "") -> None:
        parts = urlsplit(url)
        user, _, host = parts.netloc.rpartition("@")
        self.name = name
        self.limits = limits
        self.style = style
        self.url = parts._replace(netloc=host).geturl()
        self.secrets: tuple[str, ...] = (*url_secrets(self.url), *filter(None, (user, token)))
        self._authorization: dict[str, str] = {}
        if token:
            self._authorization = {"Authorization": f"Bearer {token}"}
        elif user:
            encoded = base64.b64encode(unquote(user).encode()).decode()
            self._authorization = {"Authorization": f"Basic {encoded}"}
            self.secrets += (encoded, unquote(user.partition(":")[2]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {origin(self.url)!r})"

    @property
    def is_private(self) -> bool:
        """Nobody on the way can read what is sent: it is encrypted, or stays on this machine."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        return parts.scheme == "https" or host in {"localhost", "::1"} or host.startswith("127.")

    def request(self, body: bytes, *, url: str = "", secrets: Sequence[str] = (), **headers: str) -> Request:
        """A POST of JSON to the channel's URL, or to another one that was made of it."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        told = {"Content-Type": "application/json; charset=utf-8", **self._authorization, **named}
        return Request(url or self.url, body, told, (*self.secrets, *secrets))

    def send(self, request: Request | Mail, timeout_s: float) -> Answer:
        """Send it over HTTP; never raises for what the other side does."""
        assert isinstance(request, Request)
        return post(request, timeout_s)


class Robot(Hook):
    """A chat's robot that may ask for a signature and for a keyword in every text, and can call people.

    `mention` are those who are called when it is urgent, in the chat's own terms, or `all`.
    """

    def __init__(
        self,
        name: str,
        url: str,
        limits: Limits,
        style: Style,
        *,
        secret: str = "",
        keyword: str = "",
        mention: Sequence[str] = (),
    ) -> None:
        super().__init__(name, url, limits, style)
        self.secret = secret
        self.keyword = keyword
        self.mention = tuple(mention)
        self.secrets += (secret,) if secret else ()

    def with_keyword(self, text: str, joint: str) -> str:
        """The text, and the keyword after it where it is not in it."""
        return text if self.keyword in text else f"{text}{joint}{self.keyword}"


def as_json(value: object) -> bytes:
    """JSON as short as it gets, Chinese unescaped: limits are in bytes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


LIMITED_S: Final = 60.0
"""How long to wait where a channel says that it is too much, but not for how long."""


def unanswered(answer: Answer) -> Outcome | None:
    """What it means when there is no whole answer: it may have been taken or not. None when there is one."""
    return Retryable(answer.problem) if answer.problem else None


def by_status(answer: Answer) -> Outcome:
    """What a status that is no success means, when nothing else is known of the channel."""
    status = answer.status
    said = excerpt(answer.body)
    why = f"HTTP {status}" + (f": {said}" if said else "")
    if status == 429:
        return Throttled(retry_after_s(answer) or LIMITED_S, why)
    if status in {408, 425} or status >= 500:
        return Retryable(why, retry_after_s(answer))
    if 300 <= status < 400:
        target = origin(answer.headers.get("location", "")) if "://" in answer.headers.get("location", "") else "a path"
        return Dead(f"HTTP {status}: redirected to {target}; redirects are not followed, set the URL it leads to")
    if status in {401, 403, 404, 405, 407, 410}:
        return Dead(f"{why}; check the URL and the secrets")
    if status == 413:
        return TooLong(why)
    if 200 <= status < 300:
        return Retryable(f"{why}: not what the channel says when it has taken a message")
    return Rejected(why)


def retry_after_s(answer: Answer) -> float | None:
    """The header Retry-After in seconds, at most a day; None when there is none. A date counts from the header Date."""
    told = answer.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        return min(float(told), 86400.0)
    try:
        until, now = parsedate_to_datetime(told), parsedate_to_datetime(answer.headers.get("date", ""))
        return min(max((until - now).total_seconds(), 0.0), 86400.0)
    except (ValueError, TypeError):
        return None


def json_object(answer: Answer) -> dict[str, Any]:
    """The body as a JSON object; empty when it is anything else."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def code_of(told: dict[str, Any], *names: str) -> int | None:
    """The first of these members that is a whole number; `false`, `"0"` and `0.0` are none."""
    return next((told[name] for name in names if type(told.get(name)) is int), None)


def excerpt(body: bytes, characters: int = 200) -> str:
    """The beginning of a body as one line."""
    text = body[: characters * 4].decode("utf-8", "replace")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:characters]


def bucket_key(kind: str, url: str) -> str:
    """The same for the same robot, whatever its notifiers are called; the URL cannot be found from it."""
    return f"{kind}:{hashlib.blake2b(url.encode(), digest_size=8).hexdigest()}"
