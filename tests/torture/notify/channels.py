"""The channels of the torture: doubles of four vendors, their moods, and what each of them took."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from tests.doubles.dingtalk import GATEWAY, DingTalkDouble, error
from tests.doubles.server import Double, Post, Reply, as_json
from tests.doubles.smtp import SmtpDouble
from tests.doubles.webhook import WebhookDouble
from tests.torture.notify.victim import FastClock

Stage = Literal["asked", "taken"]
NAME: Final = re.compile(r"torture-\d+")
"""Every alert has a model or a label of its own, which each channel shows."""
LIES: Final[dict[str, list[Reply]]] = {
    "dingtalk": [
        error(-1, "系统繁忙"),
        as_json({}),
        Reply(200, b"<html>gateway</html>"),
        Reply(502),
        as_json(GATEWAY),
        error(130101, "send too fast, exceed 20 times per minute"),
    ],
    "webhook": [Reply(500), Reply(503, b"", {"Retry-After": "30"}), Reply(429), Reply(408)],
}
"""What a channel answers that has taken nothing."""
DEATHS: Final = [Reply(401), Reply(404), Reply(410)]


@dataclass(frozen=True)
class Taken:
    """One message that a channel took: its id where it has one, what people saw, and what is in it."""

    id: str
    shown: str
    entries: frozenset[tuple[str, str, str, str]] = frozenset()
    """(alert, state, severity, time) of each of our own; (fingerprint, status, "", "") of each relayed one."""

    @property
    def names(self) -> set[str]:
        return set(NAME.findall(self.shown))


class Channels:
    """`reached(stage)` is called in the thread of a double that was asked, and again when it took a message."""

    def __init__(self, clock: FastClock, chance: random.Random, reached: Callable[[Stage], bool]) -> None:
        self._chance = chance
        self.hook = WebhookDouble(clock.seconds)
        self.robot = DingTalkDouble(clock.seconds, secret="SECdouble")
        self.frail = WebhookDouble(clock.seconds)
        self.second = WebhookDouble(clock.seconds)
        self.mail = SmtpDouble()
        for double in (self.hook, self.robot, self.frail):
            _watch(double, reached)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for double in (self.hook, self.robot, self.frail, self.second, self.mail):
            self._stack.enter_context(double)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def notifiers(self) -> dict[str, dict[str, Any]]:
        """They, as the settings know them."""
        return {
            "hook": {"kind": "webhook", "url": self.hook.url},
            "robot": {"kind": "dingtalk", "url": self.robot.url, "secret": "SECdouble"},
            "frail": {"kind": "webhook", "url": self.frail.url, "fallback": "second"},
            "second": {"kind": "webhook", "url": self.second.url},
            "mail": {"kind": "email", "host": "127.0.0.1", "port": self.mail.port, "tls": "none",
                     "from": "logproc@example.org", "to": ["ops@example.org"]},
        }  # fmt: skip

    def change_moods(self) -> None:
        """Some fail in some way for a while, one dies and comes back."""
        self.robot.next_replies.extend(self._lies("dingtalk"))
        self.hook.next_replies.extend(self._lies("webhook"))
        if self._chance.random() < 0.3:
            self.frail.always = self._chance.choice([None] * 5 + [*DEATHS, *LIES["webhook"]])
        self.mail.replies.pop("DATA", None)
        if self._chance.random() < 0.2:
            self.mail.replies["DATA"] = self._chance.choice(["451 try later", "421 busy", ""])

    def _lies(self, kind: str) -> list[Reply]:
        return [self._chance.choice(LIES[kind])] if self._chance.random() < 0.15 else []

    def heal(self) -> None:
        """All is well from now on."""
        self.frail.always = None
        self.mail.replies.clear()
        for double in (self.hook, self.robot):
            double.next_replies.clear()

    def taken(self) -> dict[str, list[Taken]]:
        """By channel, in order."""
        hooks = {"hook": self.hook, "frail": self.frail, "second": self.second}
        told = {name: [_of_webhook(post) for post in double.taken] for name, double in hooks.items()}
        told["robot"] = [Taken("", text) for text in self.robot.texts()]
        told["mail"] = [
            Taken(mail["Message-ID"], f"{mail['Subject']}\n{mail.get_content()}") for mail in self.mail.mails
        ]
        return told

    def robot_sent_ms(self) -> list[int]:
        """When each message to the robot was signed, by the clock of the sender."""
        return [int(post.query["timestamp"]) for post in self.robot.posts]


def _watch(double: Double, reached: Callable[[Stage], bool]) -> None:
    answer = double.answer

    def watched(post: Post) -> Reply:
        if reached("asked"):
            return Reply(500)  # nobody will read it, and nothing was taken
        reply = answer(post)
        reached("taken")
        return reply

    double.answer = watched  # type: ignore[method-assign]


def _of_webhook(post: Post) -> Taken:
    body = post.json
    assert body["left_out"] == 0
    told = {name: value for name, value in body.items() if name != "sent_at"}
    return Taken(body["id"], str(told), frozenset(_entries(body)))


def _entries(body: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for each in body["alerts"]:
        yield each["id"], each["state"], each["severity"], each["time"]
    for each in body["external"]:
        yield each["fingerprint"], each["status"], "", ""
