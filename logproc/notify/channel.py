"""What a channel is: a message goes in, a request comes out, and its answer becomes one of six outcomes."""

from __future__ import annotations

import dataclasses
import email.policy
import html
import json
import re
from collections.abc import Iterator, Mapping
from email import message_from_bytes
from typing import Final, Literal, Protocol
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

import msgspec

from logproc.alerts.alert import SEVERITIES, Alert, Severity

Reason = Literal["new", "reminder", "escalation", "test"]


class ExternalAlert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An alert of somebody else, in the words of Alertmanager's webhook: the relay decodes into this."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    starts_at: str = ""
    ends_at: str = ""
    fingerprint: str = ""
    generator_url: str = msgspec.field(name="generatorURL", default="")

    @property
    def severity(self) -> Severity:
        """Its label, in our words; `warning` where it has none of them."""
        told = self.labels.get("severity", "").lower()
        if told in {"critical", "page", "error"}:
            return "critical"
        return "disaster" if told in {"disaster", "emergency"} else "warning"


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be told at once: one alert, a group, or a digest of many. It can be kept as JSON (msgspec).

    It says nothing of a channel: language, mentions and markup are the channel's, so that a fallback may tell the same.
    """

    id: str
    """The same at every attempt and after every restart: channels that can drop a repeat do so by it."""
    alerts: tuple[Alert, ...] = ()
    external: tuple[ExternalAlert, ...] = ()
    digest: bool = False
    """Many at once: each is named in few words. Otherwise each is told in full, as far as it fits."""
    reason: Reason = "new"
    group: dict[str, str] = {}
    """The labels that a group from Alertmanager has in common."""

    @property
    def severity(self) -> Severity:
        """The gravest of what fires; of everything, where nothing fires any more."""
        told = [(each.severity, each.state != "resolved") for each in self.alerts]
        told += [(each.severity, each.status == "firing") for each in self.external]
        firing = [severity for severity, fires in told if fires] or [severity for severity, _ in told]
        return max(firing, key=SEVERITIES.index, default="warning")

    @property
    def is_resolved(self) -> bool:
        """Nothing in it fires any more."""
        return all(each.state == "resolved" for each in self.alerts) and all(
            each.status == "resolved" for each in self.external
        )

    @property
    def is_urgent(self) -> bool:
        """People are to be called by name: it is grave, or nobody has acknowledged it, and it goes on."""
        return not self.is_resolved and (self.severity != "warning" or self.reason == "escalation")


@dataclasses.dataclass(frozen=True, slots=True)
class Delivered:
    """The channel has truly taken it. `note`: what is worth knowing all the same."""

    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Throttled:
    """Too much: nothing may be sent on this channel for `after_s` seconds, then this may be sent again."""

    after_s: float
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Retryable:
    """It may work later. `after_s`: the channel's own wish, in seconds; None where it has none."""

    why: str
    after_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Dead:
    """The channel takes nothing until somebody repairs it: a token, a signature, a group that is gone."""

    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """The message will never be taken; the channel lives. `plain_may_pass`: the brief form may be."""

    why: str
    plain_may_pass: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class TooLong:
    """It is too long for the channel, though it kept the limits that we know."""

    why: str


Outcome = Delivered | Throttled | Retryable | Dead | Rejected | TooLong


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """A token bucket that keeps within what the channel allows: `burst` at once, then `per_s` a second.

    Buckets belong to the robot behind the channel, not to the notifier: `key` is the same for the same robot.
    `digest_size`: how many alerts one digest can name.
    """

    per_s: float
    burst: int
    key: str
    digest_size: int


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One POST, ready to be sent. Its text form hides everything secret."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    secrets: tuple[str, ...] = ()
    """Whatever in it nobody may see: parts of the URL, keys, signatures made from them."""

    def __repr__(self) -> str:
        return f"Request(to={origin(self.url)!r}, {len(self.body)} bytes)"

    def masked(self) -> str:
        """The request as it would be sent, with `***` for every secret."""
        after = self.url.partition(origin(self.url))[2]
        hidden = after if mask(self.url, self.secrets) == self.url else f"/{MASK}"
        head = [f"{name}: {value}" for name, value in self.headers.items()]
        text = "\n".join([*head, "", self.body.decode("utf-8", "replace")])
        return f"POST {origin(self.url)}{hidden}\n{mask(text, self.secrets)}"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Mail:
    """One e-mail, ready to be sent."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    """RFC 5322."""
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Mail(to={len(self.recipients)} recipients, {len(self.content)} bytes)"

    def masked(self) -> str:
        """The mail as it would be sent, decoded, with `***` for every secret."""
        mail = message_from_bytes(self.content, policy=email.policy.default)
        head = [f"{name}: {value}" for name, value in mail.items()]
        return mask("\n".join([*head, "", mail.get_content()]), self.secrets)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status, headers (names in lower case) and at most 64 KiB of body; or why nothing came back.

    Of SMTP the status is the reply code, and the header `stage` says what it replied to.
    """

    status: int = 0
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    problem: str = ""
    """Not empty: there is no answer, or only the beginning of one."""
    is_unsent: bool = False
    """The message certainly never left us: nobody was reached."""


class Channel(Protocol):
    """One way to people. Everything but `send` is pure."""

    @property
    def name(self) -> str:
        """The notifier's name in the settings."""

    @property
    def limits(self) -> Limits:
        """How fast it may be used."""

    @property
    def refresh_s(self) -> float | None:
        """Not None: it forgets what is not told again within this time (Alertmanager). What still fires must be sent
        to it so often, besides every change; other channels are told again only as `alerts.repeat` says.
        """

    def render(self, message: Message, now: float, *, brief: bool = False) -> Request | Mail:
        """The message in the channel's form, within its limits. `now`: wall clock, for signatures (seconds).

        `brief`: the shortest form, without markup, links or examples.
        """

    def judge(self, answer: Answer) -> Outcome:
        """What an answer means."""

    def send(self, request: Request | Mail, timeout_s: float) -> Answer:
        """Send it and read the answer, at most `timeout_s` seconds; never raises for what the other side does."""


class Attempt(msgspec.Struct, frozen=True):
    """What an attempt came to, and the last answer behind it, both without secrets."""

    outcome: Outcome
    answer: Answer


TIMEOUT_S: Final = 10.0
"""For one attempt: connect, send and read the whole answer."""


def deliver(channel: Channel, message: Message, now: float, timeout_s: float = TIMEOUT_S) -> Attempt:
    """Send a message once; in its brief form once more where the channel found it too long or unsafe.

    The outcome is never `TooLong`: what is too long even then is `Rejected`.
    """
    attempt = _attempt(channel, message, now, timeout_s, brief=False)
    outcome = attempt.outcome
    if isinstance(outcome, TooLong) or (isinstance(outcome, Rejected) and outcome.plain_may_pass):
        attempt = _attempt(channel, message, now, timeout_s, brief=True)
    if isinstance(attempt.outcome, TooLong):
        attempt = Attempt(Rejected(attempt.outcome.why), attempt.answer)
    return attempt


def _attempt(channel: Channel, message: Message, now: float, timeout_s: float, *, brief: bool) -> Attempt:
    request = channel.render(message, now, brief=brief)
    # Vendors and proxies repeat what they were sent. Masked before anything is cut: half a secret would not be found.
    answer = _masked(channel.send(request, timeout_s), request.secrets)
    outcome = channel.judge(answer)
    return Attempt(outcome, dataclasses.replace(answer, body=answer.body[:LONGEST_KEPT]))


def _masked(answer: Answer, secrets: tuple[str, ...]) -> Answer:
    body = mask(answer.body.decode("utf-8", "surrogateescape"), secrets).encode("utf-8", "surrogateescape")
    headers = {name: mask(value, secrets) for name, value in answer.headers.items()}
    return dataclasses.replace(answer, headers=headers, body=body, problem=mask(answer.problem, secrets))


LONGEST_KEPT: Final = 4096
"""Bytes of an answer that are kept to be shown."""
MASK: Final = "***"


def mask(text: str, secrets: tuple[str, ...]) -> str:
    """The text with `***` for every secret, however it is quoted there; what has under four characters is none."""
    forms = {form for secret in secrets for form in _forms(secret) if len(form) >= 4}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _forms(secret: str) -> Iterator[str]:
    """A secret as it may stand in a text: as it is, and quoted for URLs, JSON and HTML."""
    for bare in (secret, unquote(secret), unquote_plus(secret)):
        in_json = json.dumps(bare)[1:-1]
        for form in (bare, quote(bare), quote(bare, safe=""), quote_plus(bare)):
            yield form
            yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form)
        yield from (in_json, in_json.replace("/", "\\/"), html.escape(bare))


def url_secrets(url: str) -> tuple[str, ...]:
    """What of a URL is secret: all of it, what comes after the host, and the longer parts of that."""
    parts = urlsplit(url)
    after = url.partition(parts.netloc)[2].partition("#")[0]
    values = [pair.partition("=")[2] for pair in parts.query.split("&")]
    pieces = [piece for piece in (after, after.lstrip("/"), *parts.path.split("/"), *values) if len(piece) >= 8]
    return tuple(dict.fromkeys([url, *pieces])) if after.strip("/") else ()


def origin(url: str) -> str:
    """The part of a URL that may be shown: scheme, host, port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
