"""Alertmanager's webhook: 200 when it is safely queued, 503 when it is not, 400 for what will never be one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logproc.notify import relay, subjects
from logproc.notify.channel import Delivered, Limits, Message
from logproc.notify.deliveries import Deliveries, Outlet
from logproc.notify.messages import message_of
from logproc.notify.sending import Claim, Sending
from logproc.web.relay import relay_routes
from tests.notify.alerts import NOW_MS, rows, settings
from tests.notify.asking import ask

ROUTES = {
    "chat": {"severity": ["warning"], "to": ["a", "b"]},
    "phone": {"severity": ["critical"], "to": ["c"], "dedupe": 0},
}


class Relay:
    """The page, what it queued, and the clock of both."""

    def __init__(self, state: Path) -> None:
        self.now = NOW_MS
        self.path = state / "notify.db"
        chosen = settings(ROUTES)
        outlets = {name: Outlet(Limits(1.0, 20, name, 50)) for name in "abc"}
        self.deliveries = Deliveries(self.path, chosen.alerts, outlets)
        self.routes = relay_routes(self.deliveries, chosen.alerts.routes, lambda: self.now)

    def post(self, body: object, route: str = "chat") -> tuple[int, dict[str, Any]]:
        raw: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = ask(self.routes, "POST", f"/relay/alertmanager/{route}", **raw)
        return answer.status_code, answer.json()

    def queued(self) -> int:
        return len(rows(self.path, "SELECT 1 FROM deliveries"))

    def messages(self, channel: str) -> list[Message]:
        """What the channel would be told now, one message after the other; each is taken."""
        sending, told = Sending(self.deliveries), []
        while isinstance(claim := sending.claim(channel, self.now), Claim):
            told.append(message_of(claim.message, claim.deliveries))
            sending.settle(claim, Delivered(), self.now)
        return told


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    yield made
    made.deliveries.close()


def webhook(*names: str, status: str = "firing", key: str = "group", **labels: str) -> dict[str, Any]:
    """Version 4 as Alertmanager 0.25 sends it, of one group."""
    return {
        "version": "4",
        "groupKey": key,
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "chat",
        "groupLabels": {"alertname": "Errors"},
        "commonLabels": {"alertname": "Errors"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": "Errors", "instance": name, "severity": "warning", **labels},
                "annotations": {"summary": f"{name} fails"},
                "startsAt": "2026-11-18T11:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus:9090/graph",
                "fingerprint": f"fp-{name}",
            }
            for name in names
        ],
    }


def test_a_webhook_is_queued_for_every_channel_of_its_route_before_it_is_answered(page: Relay) -> None:
    assert page.post(webhook("x", "y")) == (200, {"status": "queued"})

    assert rows(page.path, "SELECT channel, state, size FROM deliveries") == [("a", "waiting", 2), ("b", "waiting", 2)]


def test_a_group_is_one_message_with_all_its_alerts(page: Relay) -> None:
    page.post(webhook("x", "y", "z", key="one"))
    page.post(webhook("v", key="two"))

    told = page.messages("a")

    assert sorted([each.labels["instance"] for each in message.external] for message in told) == [
        ["v"],
        ["x", "y", "z"],
    ]
    assert all(message.group == {"alertname": "Errors"} for message in told)


def test_the_second_of_a_pair_and_a_retry_are_told_once(page: Relay) -> None:
    assert page.post(webhook("x", "y"))[1] == {"status": "queued"}
    page.now += 15_000
    assert page.post(webhook("y", "x")) == (200, {"status": "duplicate"}), "whatever the order"
    assert page.queued() == 2


def test_what_has_changed_is_no_repeat_and_what_comes_again_later_is_told_again(page: Relay) -> None:
    assert page.post(webhook("x"))[1] == {"status": "queued"}
    assert page.post(webhook("x", "y"))[1] == {"status": "queued"}
    assert page.post(webhook("x", "y", status="resolved"))[1] == {"status": "queued"}
    assert page.post(webhook("x", "y", status="resolved"))[1] == {"status": "duplicate"}
    page.now += 300_000
    assert page.post(webhook("x", "y", status="resolved"))[1] == {"status": "queued"}


def test_each_route_has_its_own_repeats_and_a_route_may_want_them_all(page: Relay) -> None:
    page.post(webhook("x"))
    for _ in range(2):
        assert page.post(webhook("x"), "phone")[1] == {"status": "queued"}
        page.now += 1


def test_what_fired_and_ended_before_it_could_be_sent_is_one_message(page: Relay) -> None:
    page.post(webhook("x"))
    page.post(webhook("x", status="resolved"))

    (told,) = page.messages("a")

    assert [(each.labels["instance"], each.status) for each in told.external] == [("x", "resolved")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        {},
        {**webhook("x"), "version": "5"},
        {**webhook("x"), "alerts": []},
        {**webhook("x"), "alerts": "SECRETMARKER"},
        {**webhook("x"), "groupKey": 1},
        {**webhook("x"), "alerts": [{"status": "SECRETMARKER", "labels": {}}]},
        {**webhook("x"), "alerts": [{"status": "firing", "labels": {"a": 1}}]},
    ],
)
def test_what_is_no_webhook_is_refused_for_good_and_none_of_it_is_repeated(page: Relay, body: object) -> None:
    status, answer = page.post(body)

    assert status == 400
    assert "no webhook of Alertmanager" in answer["error"]
    assert "SECRETMARKER" not in answer["error"]
    assert page.queued() == 0


def test_what_a_newer_alertmanager_adds_is_no_obstacle(page: Relay) -> None:
    assert page.post({**webhook("x"), "notification_reason": {"reason": "new"}})[0] == 200


def test_a_route_that_is_not_there_is_said_with_those_that_are(page: Relay) -> None:
    status, answer = page.post(webhook("x"), "chatt")

    assert status == 404
    assert "chat, phone" in answer["error"]


def test_a_body_beyond_all_measure_is_refused_and_never_kept(page: Relay) -> None:
    status, answer = page.post(b"{" + b" " * relay.LONGEST_BODY)

    assert status == 413
    assert "max_alerts" in answer["error"]


def test_when_too_much_waits_alertmanager_is_to_come_again(page: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "FULL", 2)
    assert page.post(webhook("x"))[0] == 200

    status, answer = page.post(webhook("y", key="other"))

    assert status == 503
    assert "logproc_notifications_waiting" in answer["error"]
    page.messages("a")
    page.messages("b")
    assert page.post(webhook("y", key="other")) == (200, {"status": "queued"}), "what was refused is not known yet"


def test_when_the_disk_is_full_alertmanager_is_to_come_again(page: Relay) -> None:
    with page.deliveries.reading() as connection:
        (most,) = connection.execute("PRAGMA max_page_count").fetchone()
        connection.execute("PRAGMA max_page_count = 1")
    many = webhook(*(f"host-{number}" for number in range(2000)))

    status, answer = page.post(many)

    assert status == 503
    assert "full" in answer["error"]
    assert page.queued() == 0
    with page.deliveries.reading() as connection:
        connection.execute(f"PRAGMA max_page_count = {most}")
    assert page.post(many) == (200, {"status": "queued"})


def test_a_group_whose_kinds_are_all_silenced_is_recorded_and_not_told(page: Relay) -> None:
    with page.deliveries.writing() as connection:
        subjects.silence(connection, "errors", "m", NOW_MS + 1000, "", "", NOW_MS)

    page.post(webhook("x", kind="errors", model="m"))
    page.post(webhook("y", key="other", kind="errors", model="n"))

    assert [each.labels["instance"] for message in page.messages("a") for each in message.external] == ["y"]
    assert ("a", "silenced") in rows(page.path, "SELECT channel, state FROM deliveries")
