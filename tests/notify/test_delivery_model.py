"""A model of delivery: alerts come and go, channels fail, the process dies; nothing is lost, and nobody is flooded."""

from __future__ import annotations

import os
import random
import tempfile
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from logproc.alerts.alert import Alert
from logproc.notify import subjects
from logproc.notify.channel import Dead, Delivered, Limits, Message, Outcome, Rejected, Retryable, Throttled
from logproc.notify.deliveries import Deliveries, Outlet
from logproc.notify.messages import message_of
from logproc.notify.sending import Claim, Sending
from tests.notify.alerts import NOW_MS, alert
from tests.notify.alerts import settings as pipeline

ROUTES = {
    "all": {"severity": ["warning", "critical"], "to": ["a", "b"]},
    "grave": {"severity": ["critical"], "to": ["c"]},
}
LIMITS = {
    "a": Limits(per_s=14 / 60, burst=5, key="robot", digest_size=3),
    "b": Limits(per_s=10.0, burst=50, key="robot", digest_size=50),  # the same robot as a: they share its bucket
    "c": Limits(per_s=1.0, burst=10, key="c", digest_size=50),
    "d": Limits(per_s=1.0, burst=10, key="d", digest_size=50),
    "e": Limits(per_s=1.0, burst=10, key="e", digest_size=50),
}
FALLBACKS = {"a": "d", "c": "d", "d": "e"}
OUTCOMES: list[tuple[Outcome, bool]] = [
    (Delivered(), False),
    (Throttled(600.0, "too fast"), False),
    (Retryable("refused"), False),
    (Retryable("no answer"), True),
    (Retryable("busy", 120.0), False),
    (Dead("no such token"), False),
    (Rejected("bad"), False),
]
CHANNELS = strategies.sampled_from(sorted(LIMITS))
NUMBERS = strategies.integers(0, 7)


class Delivery(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = NOW_MS
        self.entries: list[tuple[int, Alert]] = []
        self.alerts: dict[int, Alert] = {}
        self.held: dict[str, Claim] = {}
        self.taken: defaultdict[str, list[Message]] = defaultdict(list)
        self.delivered: defaultdict[str, set[str]] = defaultdict(set)
        self.in_doubt: set[tuple[str, str]] = set()
        self.tried: set[tuple[str, str]] = set()
        self.sent_at: defaultdict[str, list[int]] = defaultdict(list)
        self.rejected: set[str] = set()
        self.silenced = False

    @initialize()
    def begin(self) -> None:
        self.open()
        self.deliveries.begin([], self.now)

    def open(self) -> None:
        outlets = {name: Outlet(limits, FALLBACKS.get(name)) for name, limits in LIMITS.items()}
        chosen = pipeline(ROUTES, repeat=None)  # a reminder would hide a loss
        self.deliveries = Deliveries(Path(self.folder.name) / "notify.db", chosen.alerts, outlets)
        with self.deliveries.reading() as connection:
            connection.execute("PRAGMA synchronous=OFF")  # a killed process is played here, no power cut
        self.sending = Sending(self.deliveries, random.Random(1))

    def change(self, number: int, state: str, severity: str) -> None:
        before = self.alerts.get(number)
        since = before.since if before and before.state == "firing" else f"2026-11-18T00:00:00.{len(self.entries):03}Z"
        entry = alert(number, state, at_ms=self.now, severity=severity, since=since)
        self.alerts[number] = entry
        self.entries.append((len(self.entries) + 1, entry))
        self.now += 1

    @rule(number=NUMBERS, severity=strategies.sampled_from(["warning", "critical"]))
    def fires(self, number: int, severity: str) -> None:
        before = self.alerts.get(number)
        if before is None or before.state != "firing" or before.severity != severity:
            self.change(number, "firing", severity)

    @rule(number=NUMBERS)
    def ends(self, number: int) -> None:
        before = self.alerts.get(number)
        if before is not None and before.state == "firing":
            self.change(number, "resolved", before.severity)

    @rule(most=strategies.integers(1, 10))
    def plans(self, most: int) -> None:
        seq, _ = self.deliveries.position() or (0, "")
        self.deliveries.take(self.entries[seq : seq + most], self.now)

    @rule()
    def plans_again(self) -> None:
        self.deliveries.plan_again(self.now)

    @rule(seconds=strategies.sampled_from([0.01, 1, 4, 30, 400, 4000]))
    def time_passes(self, seconds: float) -> None:
        self.now += round(seconds * 1000)

    @rule(channel=CHANNELS)
    def claims(self, channel: str) -> None:
        if channel in self.held:
            return  # its worker waits for an answer
        claim = self.sending.claim(channel, self.now)
        if not isinstance(claim, Claim):
            return
        key = (channel, claim.message)
        assert key not in self.tried or key in self.in_doubt, "only what is in doubt is sent again under the same id"
        told_again = self.delivered[channel] & {delivery.id for delivery in claim.deliveries}
        assert not told_again or key in self.in_doubt, "what was taken is not told again"
        self.tried.add(key)
        self.held[channel] = claim
        self.sent_at[LIMITS[channel].key].append(self.now)

    @rule(channel=CHANNELS, what=strategies.sampled_from(OUTCOMES))
    def answers(self, channel: str, what: tuple[Outcome, bool]) -> None:
        claim = self.held.pop(channel, None)
        if claim is not None:
            self.settle(claim, *what)

    def settle(self, claim: Claim, outcome: Outcome, in_doubt: bool) -> None:
        key = (claim.channel, claim.message)
        if in_doubt:
            self.in_doubt.add(key)
        elif isinstance(outcome, Delivered):
            self.in_doubt.discard(key)
        elif isinstance(outcome, Dead | Rejected):  # it goes elsewhere, or in other messages, as if it never was there
            self.in_doubt.discard(key)
            self.tried.discard(key)
            self.delivered[claim.channel] -= {delivery.id for delivery in claim.deliveries}
            self.taken[claim.channel] = [each for each in self.taken[claim.channel] if each.id != claim.message]
        elif key not in self.in_doubt:
            self.tried.discard(key)
        if isinstance(outcome, Delivered):
            self.take(claim)
        if isinstance(outcome, Rejected):
            self.rejected |= {delivery.subject for delivery in claim.deliveries}
        self.sending.settle(claim, outcome, self.now, in_doubt=in_doubt)

    def take(self, claim: Claim) -> None:
        self.taken[claim.channel].append(message_of(claim.message, claim.deliveries))
        self.delivered[claim.channel] |= {delivery.id for delivery in claim.deliveries}

    @rule(channel=CHANNELS, what=strategies.sampled_from(OUTCOMES))
    def works(self, channel: str, what: tuple[Outcome, bool]) -> None:
        self.plans(100)
        self.claims(channel)
        self.answers(channel, what)

    @rule(channel=CHANNELS, number=NUMBERS)
    def dies_before_it_knew_the_answer(self, channel: str, number: int) -> None:
        self.plans(100)
        self.claims(channel)
        self.dies(reached=True)
        self.fires(number, "critical")
        self.plans(100)
        self.claims(channel)

    @rule(number=NUMBERS, channel=CHANNELS, seconds=strategies.sampled_from([0.1, 1.5, 3]))
    def storms(self, number: int, channel: str, seconds: float) -> None:
        for _ in range(30):
            self.fires(number, "warning")
            self.fires(number, "critical")
            self.works(channel, (Delivered(), False))
            self.time_passes(seconds)

    @rule(reached=strategies.booleans())
    def dies(self, reached: bool) -> None:
        for channel, claim in self.held.items():
            self.in_doubt.add((channel, claim.message))
            if reached:
                self.take(claim)
        self.held.clear()
        self.deliveries.close()
        self.open()

    @precondition(lambda self: not self.silenced)
    @rule()
    def is_silenced(self) -> None:
        self.silenced = True
        with self.deliveries.writing() as connection:
            subjects.silence(connection, "latency_p99", None, self.now + 500_000, "", "", self.now)

    @invariant()
    def nobody_is_flooded(self) -> None:
        for times in self.sent_at.values():
            recent = [at for at in times if at > self.now - 60_000]
            assert len(recent) <= 20

    def teardown(self) -> None:
        """Everything heals: then everybody learns of everything."""
        if not hasattr(self, "deliveries"):
            return
        self.dies(reached=False)
        self.now += 4_000_000  # every pause and silence is over
        for _ in range(60):
            seq, _ = self.deliveries.position() or (0, "")
            self.deliveries.take(self.entries[seq:], self.now)
            self.deliveries.plan_again(self.now)
            for channel in LIMITS:
                claim = self.sending.claim(channel, self.now)
                if isinstance(claim, Claim):
                    self.settle(claim, Delivered(), in_doubt=False)
            self.now += 20_000
        with self.deliveries.reading() as connection:
            waiting = connection.execute(
                "SELECT count(*) FROM deliveries WHERE state IN ('waiting', 'sending')"
            ).fetchone()
        self.deliveries.close()
        self.folder.cleanup()
        assert waiting == (0,), "everything is told in the end"
        for newest in self.alerts.values():
            self.check(newest)

    def chain(self, channel: str) -> list[str]:
        """The channel, and those that may have been told instead."""
        chain = [channel]
        while chain[-1] in FALLBACKS:
            chain.append(FALLBACKS[chain[-1]])
        return chain

    def check(self, newest: Alert) -> None:
        heard = {
            channel: [each for message in messages for each in message.alerts if each.id == newest.id]
            for channel, messages in self.taken.items()
        }
        if newest.id in self.rejected:
            return
        if newest.state == "firing":
            for channel in ("a", "b", "c") if newest.severity == "critical" else ("a", "b"):
                is_told = any(newest in heard.get(each, []) for each in self.chain(channel))
                assert is_told, f"{channel} was not told"
            return
        told = {channel: [entry.state for entry in entries] for channel, entries in heard.items() if entries}
        assert self.silenced or told, "what came and went is told too"
        for channel, states in told.items():
            assert states[-1] == "resolved" or any("resolved" in told.get(each, []) for each in self.chain(channel)), (
                channel
            )


EXAMPLES = int(os.environ.get("LOGPROC_EXAMPLES", "25"))
TestDelivery = pytest.mark.timeout(600)(Delivery.TestCase)  # half a minute, but on a busy machine
TestDelivery.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_an_entry_survives_its_way_through_the_database() -> None:
    entry = alert(1, shares={"queue": 0.8, "decode": 0.2}, facts={"x": 1}, examples=["e1"])
    assert msgspec.json.decode(msgspec.json.encode(entry), type=Alert) == entry
