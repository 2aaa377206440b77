"""`logproc notify-test`: one test message on one channel: what would be sent, or what the channel truly answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from logproc.alerts.alert import Alert, alert_id
from logproc.notify.channel import Channel, Delivered, Message, Outcome, deliver

EXAMPLE_ID = "AZql3CQAexampleexample"


def message_of_a_test(now: float) -> Message:
    """A message like that of a real alert, but marked as a test. `now`: wall clock, seconds."""
    moment = datetime.fromtimestamp(now, UTC)
    since, time = _rfc3339(moment - timedelta(minutes=2)), _rfc3339(moment)
    alert = Alert(
        id=alert_id("latency_p99", {"model": "test-model"}, since),
        kind="latency_p99",
        severity="warning",
        state="firing",
        time=time,
        since=since,
        model="test-model",
        value=4.1,
        bound=3.0,
        n=812,
        cause="queue",
        shares={"queue": 0.8, "prefill": 0.05, "decode": 0.1, "stall": 0.0, "client": 0.05},
        examples=[EXAMPLE_ID],
        text={
            "en": "This is a test of logproc. A real alert says here in two sentences what is wrong and why.",
            "zh": "这是 logproc 的测试消息。真实告警会在此用两句话说明问题和原因。",
        },
    )
    return Message(id=f"test-{int(now * 1000):x}-{os.getpid():x}", alerts=(alert,), reason="test")


def preview(channel: Channel, now: float) -> str:
    """Exactly what would be sent, with `***` for every secret."""
    return channel.render(message_of_a_test(now), now).masked()


def try_out(channel: Channel, now: float) -> tuple[list[str], bool]:
    """Send a test message: what there is to say of it, line by line without secrets; and whether it was delivered."""
    attempt = deliver(channel, message_of_a_test(now), now)
    lines = list(_told(attempt.answer.status, attempt.answer.body, attempt.outcome))
    return lines, isinstance(attempt.outcome, Delivered)


def _told(status: int, body: bytes, outcome: Outcome) -> Iterator[str]:
    if status:
        yield f"answer: {status} {body[:2000].decode('utf-8', 'replace').strip()}"
    match outcome:
        case Delivered(note):
            yield "delivered" + (f" ({note})" if note else "")
        case _:
            name = {"TooLong": "too long"}.get(type(outcome).__name__, type(outcome).__name__.lower())
            yield f"{name}: {outcome.why}"


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
