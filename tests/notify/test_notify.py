"""The consumer as it runs: threads, a database, channels that take, fail, hang and lie."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from logproc.alerts.alert import Alert
from logproc.clock import now_ms
from logproc.notify import sending
from logproc.notify.channel import (
    Answer,
    Channel,
    Dead,
    Delivered,
    Limits,
    Message,
    Outcome,
    Rejected,
    Retryable,
    Throttled,
)
from logproc.notify.notify import Notify
from tests.notify.alerts import FakeChannel, Record, alert, rows, settings, told
from tests.pipeline import until

ROUTES: dict[str, Any] = {"r": {"severity": ["warning", "critical"], "to": ["a", "b"]}}


class Running:
    """A `Notify`, started and restarted on one state directory, and the record that it reads."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.record = Record(state)
        self.notify: Notify | None = None

    def start(
        self,
        channels: Mapping[str, Channel],
        routes: dict[str, Any] = ROUTES,
        clock: Callable[[], int] = now_ms,
        **more: Any,
    ) -> Notify:
        chosen = settings(routes, channels, **more.pop("alerts", {}))
        for name, fallback in more.items():
            notifier = chosen.notifiers[name].model_copy(update={"fallback": fallback})
            chosen = chosen.model_copy(update={"notifiers": {**chosen.notifiers, name: notifier}})
        self.notify = Notify(chosen, self.state, channels, clock)
        self.notify.start()
        until(lambda: self.notify is not None and self.notify.has_caught_up, "the first plan")
        return self.notify

    def add(self, *entries: Alert) -> None:
        self.record.add(*entries)
        if self.notify is not None:
            self.notify.wake()

    def stop(self) -> None:
        if self.notify is not None:
            self.notify.stop()
            self.notify = None


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.stop()
    made.record.close()


def fresh(number: int = 0, state: str = "firing", **fields: Any) -> Alert:
    return alert(number, state, at_ms=now_ms(), **fields)


def test_an_alert_is_told_once_to_every_channel_of_its_route(running: Running) -> None:
    channels = {name: FakeChannel(name) for name in "abc"}
    notify = running.start(channels)

    running.add(fresh(1))
    until(lambda: bool(channels["a"].taken and channels["b"].taken), "the alert")
    notify.finish()

    assert told(channels["a"].taken) == told(channels["b"].taken) == [("m1", "firing")]
    assert channels["c"].taken == []


def test_after_a_restart_nothing_is_told_again_and_what_came_meanwhile_is_told(running: Running) -> None:
    channels = {name: FakeChannel(name) for name in "ab"}
    running.start(channels).finish()
    running.add(fresh(1))
    until(lambda: len(channels["b"].taken) == 1, "the first")
    running.stop()
    running.add(fresh(2))

    running.start(channels)
    until(lambda: len(channels["b"].taken) == 2, "the second")

    assert told(channels["b"].taken) == [("m1", "firing"), ("m2", "firing")]


def test_on_the_very_first_start_the_past_is_not_told_but_what_still_fires_is(running: Running) -> None:
    running.add(fresh(1), fresh(2), fresh(1, "resolved"))
    channels = {name: FakeChannel(name) for name in "ab"}

    running.start(channels)
    until(lambda: bool(channels["a"].taken), "what fires")

    assert told(channels["a"].taken) == [("m2", "firing")]


def test_a_record_that_began_anew_is_read_from_its_beginning_and_nothing_is_told_twice(running: Running) -> None:
    channels = {name: FakeChannel(name) for name in "ab"}
    first, second = fresh(1), fresh(2)
    running.start(channels)
    running.add(first, second)
    until(lambda: told(channels["b"].taken) == [("m1", "firing"), ("m2", "firing")], "both")
    running.stop()
    running.record.close()
    for path in running.state.glob("measure.db*"):
        path.unlink()
    running.record = Record(running.state)
    running.add(first, fresh(3))

    running.start(channels)
    until(lambda: len(told(channels["b"].taken)) >= 3, "the new one")

    assert told(channels["b"].taken)[2:] == [("m3", "firing")]


def test_what_ends_before_it_could_be_told_is_one_message(running: Running) -> None:
    is_up = threading.Event()
    channels = {
        "a": FakeChannel("a", lambda _: Delivered() if is_up.is_set() else Retryable("refused")),
        "b": FakeChannel("b"),
    }
    channels["a"].send = unreachable(channels["a"], is_up)  # type: ignore[method-assign]
    running.start(channels)
    running.add(fresh(1))
    until(lambda: bool(channels["a"].tried), "an attempt")

    running.add(fresh(1, "resolved"))
    until(lambda: ("m1", "resolved") in told(channels["b"].taken), "the other channel")
    is_up.set()
    until(lambda: bool(channels["a"].taken), "the first message")

    assert told(channels["a"].taken) == [("m1", "resolved")]


def unreachable(channel: FakeChannel, is_up: threading.Event) -> Callable[..., Any]:
    """Its `send` while nobody listens: certainly nothing left us."""
    send = channel.send

    def refused(request: Any, timeout_s: float) -> Any:
        answer = send(request, timeout_s)
        return answer if is_up.is_set() else type(answer)(0, {}, answer.body, "connection refused", is_unsent=True)

    return refused


def test_a_message_in_doubt_is_sent_again_as_it_was_under_the_same_id(running: Running) -> None:
    answers = iter([Retryable("no answer")])
    channels = {"a": FakeChannel("a", lambda _: next(answers, Delivered())), "b": FakeChannel("b")}
    channels["a"].send = mute(channels["a"])  # type: ignore[method-assign]
    running.start(channels)
    running.add(fresh(1))
    until(lambda: bool(channels["a"].tried), "an attempt")

    running.add(fresh(1, "resolved"))
    until(lambda: len(channels["a"].taken) == 2, "both messages")

    assert channels["a"].tried[0] == channels["a"].taken[0]
    assert told(channels["a"].taken) == [("m1", "firing"), ("m1", "resolved")]


def mute(channel: FakeChannel) -> Callable[..., Any]:
    """Its `send` when no answer comes back."""
    send = channel.send
    return lambda request, timeout_s: type(send(request, timeout_s))(0, {}, request.body, "no answer within 10 s")


@pytest.mark.parametrize(
    "outcome",
    [None, Dead("gone"), Throttled(600, "too fast"), Retryable("200, but code 19021")],
    ids=["hangs", "dead", "throttles", "lies"],
)
def test_a_bad_channel_does_not_delay_another(running: Running, outcome: Outcome | None) -> None:
    released = threading.Event()

    def answers(_: Message) -> Outcome:
        if outcome is None:
            released.wait(120)
        return outcome or Retryable("no answer")

    channels = {"a": FakeChannel("a", answers), "b": FakeChannel("b")}
    running.start(channels)

    for number in range(3):
        running.add(fresh(number))
        until(lambda: len(told(channels["b"].taken)) == number + 1, "the good channel")  # noqa: B023
    assert len(channels["a"].tried) >= 1, "the bad one was at it all the time"
    assert channels["a"].taken == []
    released.set()


def test_a_dead_channel_hands_over_to_its_fallback_and_does_not_come_back_by_itself(running: Running) -> None:
    channels = {"a": FakeChannel("a", lambda _: Dead("no such token")), "b": FakeChannel("b"), "c": FakeChannel("c")}
    running.start(channels, a="c")

    running.add(fresh(1))
    until(lambda: len(told(channels["c"].taken)) == 1, "the fallback")
    running.add(fresh(2), fresh(1, "resolved"))
    until(lambda: ("m2", "firing") in told(channels["c"].taken), "the fallback again")

    assert len(channels["a"].tried) == 1
    assert ("m1", "resolved") in told(channels["c"].taken)


def test_a_poisonous_alert_does_not_keep_others_back_and_goes_to_the_fallback(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MESSAGES_PER_S", 1000.0)

    def picky(message: Message) -> Outcome:
        return Rejected("unsafe") if any(each.model == "m3" for each in message.alerts) else Delivered()

    limits = Limits(per_s=1000.0, burst=100, key="a", digest_size=50)
    channels = {"a": FakeChannel("a", picky, limits), "b": FakeChannel("b"), "c": FakeChannel("c")}
    running.start(channels, a="c")

    running.add(*[fresh(number) for number in range(8)])
    until(lambda: len(told(channels["a"].taken)) == 7, "the good ones")
    until(lambda: told(channels["c"].taken) == [("m3", "firing")], "the poisonous one")


def test_a_thousand_alerts_in_a_minute_are_at_most_twenty_messages_and_every_alert_is_in_one(running: Running) -> None:
    """A minute is played in a few seconds: the clock of the queue runs twenty times as fast."""
    began, real = now_ms(), time.monotonic()

    def clock() -> int:
        return began + round((time.monotonic() - real) * 20_000)

    limits = Limits(per_s=14 / 60, burst=5, key="a", digest_size=150)
    channels = {"a": FakeChannel("a", limits=limits), "b": FakeChannel("b")}
    notify = running.start(channels, clock=clock)
    sent_at: list[int] = []
    take = channels["a"].judge

    def judge(answer: Answer) -> Outcome:
        sent_at.append(clock())
        return take(answer)

    channels["a"].judge = judge  # type: ignore[method-assign]

    for number in range(1000):
        running.add(alert(number, at_ms=clock()))
        while (clock() - began) < number * 60:
            time.sleep(0.001)
    until(lambda: len(told(channels["a"].taken)) >= 1000, "every alert")
    notify.finish()

    assert sorted({model for model, _ in told(channels["a"].taken)}) == sorted(f"m{number}" for number in range(1000))
    assert len(channels["a"].taken) <= 20
    assert all(len([at for at in sent_at if first <= at < first + 60_000]) <= 20 for first in sent_at)


def test_what_waits_for_a_channel_that_left_the_settings_is_let_go_and_the_new_one_is_told(running: Running) -> None:
    channels = {"a": FakeChannel("a", lambda _: Throttled(600, "too fast")), "b": FakeChannel("b")}
    running.start(channels)
    running.add(fresh(1))
    until(lambda: bool(channels["a"].tried), "an attempt")
    running.stop()

    new = {"b": channels["b"], "c": FakeChannel("c")}
    running.start(new, {"r": {"severity": ["warning"], "to": ["b", "c"]}})
    until(lambda: told(new["c"].taken) == [("m1", "firing")], "the new channel")

    assert ("a", "gone") in rows(running.state / "notify.db", "SELECT channel, state FROM deliveries")


def test_a_defect_in_a_channel_stops_nothing_and_shows_no_secret(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Message) -> Outcome:
        raise ValueError("the token is SECRETMARKER")

    channels = {"a": FakeChannel("a", broken), "b": FakeChannel("b"), "c": FakeChannel("c")}
    notify = running.start(channels, a="c")
    running.add(fresh(1))
    until(lambda: bool(channels["c"].taken), "the fallback")
    notify.finish()

    said = capsys.readouterr()
    assert "ValueError" in said.out + said.err
    assert "SECRETMARKER" not in said.out + said.err


def test_stop_does_not_wait_for_a_channel_that_hangs(running: Running) -> None:
    hanging = threading.Event()
    channels = {
        "a": FakeChannel("a", lambda _: Delivered() if hanging.wait(60) else Retryable("no answer")),
        "b": FakeChannel("b"),
    }
    notify = running.start(channels)
    running.add(fresh(1))
    until(lambda: bool(channels["a"].tried), "an attempt")

    notify.ask_to_stop(0.2)
    running.stop()

    assert "notify a" in {thread.name for thread in threading.enumerate()}, "the channel hangs on"
    hanging.set()
