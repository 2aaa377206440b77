"""From a planned alert to what each channel is told, answer by answer, in a time that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logproc.alerts.alert import Alert
from logproc.notify import subjects
from logproc.notify.channel import Dead, Delivered, Limits, Outcome, Rejected, Retryable, Throttled
from logproc.notify.deliveries import Deliveries, Outlet
from logproc.notify.messages import message_of
from logproc.notify.metrics import gauges
from logproc.notify.sending import Claim, Sending
from tests.notify.alerts import NOW_MS, alert, settings, told

MINUTE_MS = 60_000


class Desk:
    """Everything of `notify` but its threads and sockets."""

    def __init__(self, path: Path, routes: dict[str, Any], fallbacks: dict[str, str]) -> None:
        self.now = NOW_MS
        self._seq = 0
        outlets = {name: Outlet(Limits(1.0, 20, name, 50), fallbacks.get(name)) for name in "abcd"}
        self.deliveries = Deliveries(path / "notify.db", settings(routes, "abcd").alerts, outlets)
        self.sending = Sending(self.deliveries)
        self.deliveries.begin([], self.now)

    def happens(self, *entries: Alert) -> None:
        self.deliveries.take([(self._seq + number, each) for number, each in enumerate(entries, 1)], self.now)
        self._seq += len(entries)

    def passes(self, minutes: float) -> None:
        self.now += round(minutes * MINUTE_MS)
        self.deliveries.plan_again(self.now)

    def claim(self, channel: str) -> Claim | None:
        claim = self.sending.claim(channel, self.now)
        if claim == 0.0:  # something was handed over: look again
            claim = self.sending.claim(channel, self.now)
        return claim if isinstance(claim, Claim) else None

    def answers(self, channel: str, outcome: Outcome, *, in_doubt: bool = False) -> Claim:
        claim = self.claim(channel)
        assert claim is not None, f"{channel} has nothing to tell"
        self.sending.settle(claim, outcome, self.now, in_doubt=in_doubt)
        return claim

    def takes(self, channel: str) -> list[tuple[str, str]]:
        """Model and state of each alert in the next message, which is taken; empty where there is none."""
        claim = self.claim(channel)
        if claim is None:
            return []
        self.sending.settle(claim, Delivered(), self.now)
        return told([message_of(claim.message, claim.deliveries)])


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(tmp_path, *getattr(request, "param", ({"r": {"severity": ["warning"], "to": ["a"]}}, {})))
    yield made
    made.deliveries.close()


WITH_FALLBACKS = ({"r": {"severity": ["warning"], "to": ["a"]}}, {"a": "b", "b": "c"})
WITH_ESCALATION: tuple[dict[str, Any], dict[str, str]] = (
    {"r": {"severity": ["warning"], "to": ["a"], "escalate": {"after": "15m", "to": ["b"]}}},
    {},
)


def test_a_message_in_doubt_keeps_its_id_until_it_is_taken_whatever_is_answered_meanwhile(desk: Desk) -> None:
    desk.happens(alert(1))
    first = desk.answers("a", Retryable("no answer"), in_doubt=True)
    desk.happens(alert(2))

    for outcome in (Retryable("busy"), Throttled(60, "too fast"), Dead("no such token")):
        desk.passes(11)
        assert desk.answers("a", outcome).message == first.message
    desk.passes(11)

    assert desk.takes("a") == [("m1", "firing")]
    assert desk.takes("a") == [("m2", "firing")]


def test_what_was_certainly_not_taken_goes_together_with_what_came_meanwhile(desk: Desk) -> None:
    desk.happens(alert(1))
    desk.answers("a", Throttled(600, "too fast"))
    desk.happens(alert(2), alert(1, "resolved"))

    assert desk.takes("a") == [], "nothing while it is throttled"
    desk.passes(10)

    assert sorted(desk.takes("a")) == [("m1", "resolved"), ("m2", "firing")]


@pytest.mark.parametrize("desk", [WITH_FALLBACKS], indirect=True)
def test_what_a_channel_refused_goes_on_and_does_not_come_back_to_it(desk: Desk) -> None:
    desk.happens(alert(1))
    desk.answers("a", Rejected("unsafe"))
    desk.answers("b", Dead("no such token"))

    assert desk.takes("c") == [("m1", "firing")]
    assert desk.takes("a") == []


@pytest.mark.parametrize("desk", [WITH_FALLBACKS], indirect=True)
def test_a_channel_that_has_failed_for_five_minutes_hands_over_and_is_used_again_when_it_is_well(desk: Desk) -> None:
    desk.happens(alert(1))
    for _ in range(6):
        desk.answers("a", Retryable("HTTP 502"))
        assert desk.takes("b") == [], "not at once"
        desk.passes(0.9)
    desk.answers("a", Retryable("HTTP 502"))
    assert desk.claim("a") is None

    assert desk.takes("b") == [("m1", "firing")]
    desk.happens(alert(2))
    desk.passes(5)
    assert desk.takes("a") == [("m2", "firing")]
    assert desk.takes("b") == []


@pytest.mark.parametrize("desk", [WITH_FALLBACKS], indirect=True)
def test_what_a_silence_kept_back_on_the_fallback_is_told_when_the_silence_ends(desk: Desk) -> None:
    desk.happens(alert(1))
    desk.answers("a", Dead("no such token"))
    with desk.deliveries.writing() as connection:
        subjects.silence(connection, "latency_p99", None, desk.now + 60 * MINUTE_MS, "", "", desk.now)

    assert desk.takes("b") == []
    desk.passes(61)

    assert desk.takes("a") == [("m1", "firing")]


@pytest.mark.parametrize("desk", [WITH_ESCALATION], indirect=True)
def test_what_nobody_sees_to_is_told_to_others_too_and_so_is_its_end(desk: Desk) -> None:
    desk.happens(alert(1))
    assert desk.takes("a") == [("m1", "firing")]
    desk.passes(14)
    assert desk.takes("b") == []
    desk.passes(1)

    assert desk.takes("b") == [("m1", "firing")]
    desk.passes(1)
    assert desk.takes("b") == [], "once"
    counted = next(each for each in gauges(desk.deliveries, [], desk.now) if each.name == "logproc_escalations")
    assert {labels["channel"]: value for labels, value in counted.samples} == {"a": 0, "b": 1, "c": 0, "d": 0}
    desk.happens(alert(1, "resolved", at_ms=desk.now))
    assert desk.takes("a") == desk.takes("b") == [("m1", "resolved")]


@pytest.mark.parametrize("desk", [WITH_ESCALATION], indirect=True)
def test_what_somebody_sees_to_is_not_escalated_until_it_grows_graver(desk: Desk) -> None:
    desk.happens(alert(1))
    desk.takes("a")
    with desk.deliveries.writing() as connection:
        subjects.acknowledge(connection, alert(1).id, "Ann", desk.now)
    desk.passes(60)
    assert desk.takes("b") == []

    desk.happens(alert(1, severity="critical", at_ms=desk.now))
    desk.passes(0)

    assert desk.takes("a") == [("m1", "firing")]
    assert desk.takes("b") == [("m1", "firing")]
