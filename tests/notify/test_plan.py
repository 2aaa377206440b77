"""Who is told what, and when."""

from __future__ import annotations

from typing import Any

import pytest

from logproc.alerts.alert import Alert, entry_id
from logproc.notify.pace import Bucket, next_message, retry_s
from logproc.notify.plan import Known, Need, Silence, Told, needs, next_channel
from logproc.notify.queue import Delivery
from tests.notify.alerts import NOW_MS, alert, settings

HOUR_MS = 3_600_000
ROUTES: dict[str, Any] = {
    "ops": {"severity": ["critical"], "to": ["pager", "chat"]},
    "team": {"severity": ["warning"], "to": ["chat"]},
}


def due(entry: Alert, told: dict[str, Told] | None = None, *, now_ms: int = NOW_MS, **options: Any) -> list[Need]:
    silences = options.pop("silences", ())
    acknowledged = options.pop("acknowledged", None)
    refresh_s = options.pop("refresh_s", {})
    routes = options.pop("routes", ROUTES)
    chosen = settings(routes, ("pager", "chat", "phone"), **options)
    return needs(Known(entry, entry_id(entry), told or {}, acknowledged), chosen.alerts, silences, now_ms, refresh_s)


def heard(entry: Alert, *, at_ms: int = NOW_MS, waits: bool = False) -> Told:
    return Told(entry_id(entry), entry.state == "firing", at_ms, at_ms, waits)


def test_an_alert_goes_to_the_channels_of_its_severity_each_once() -> None:
    assert due(alert()) == [Need("chat")]
    assert due(alert(severity="critical")) == [Need("pager"), Need("chat")]


def test_what_is_graver_than_any_route_goes_where_the_next_milder_goes() -> None:
    assert due(alert(severity="disaster")) == [Need("pager"), Need("chat")]


@pytest.mark.parametrize("entry", [alert(behind=True), alert(state="pending")])
def test_pending_alerts_and_those_found_while_catching_up_are_not_told(entry: Alert) -> None:
    assert due(entry) == []


def test_where_prometheus_decides_our_own_are_not_told() -> None:
    assert due(alert(), decide="prometheus") == []


def test_an_end_goes_to_those_who_heard_of_the_beginning_and_to_nobody_else() -> None:
    end = alert(state="resolved", severity="critical")

    assert due(end) == []
    assert due(end, {"chat": heard(alert())}) == [Need("chat")]
    assert due(end, {"chat": heard(end)}) == []


def test_who_heard_of_it_as_critical_hears_that_it_is_but_a_warning_now() -> None:
    milder = alert(at_ms=NOW_MS + 1)

    assert due(milder, {"pager": heard(alert(severity="critical"))}) == [Need("chat"), Need("pager")]


def test_a_silenced_alert_is_recorded_and_not_told_and_told_when_the_silence_ends() -> None:
    silence = Silence("s", "latency_p99", NOW_MS + 1000, model="m0")

    assert due(alert(), silences=[silence]) == [Need("chat", is_silenced=True)]
    assert due(alert(), silences=[silence], now_ms=NOW_MS + 1000) == [Need("chat")]
    assert due(alert(1), silences=[silence]) == [Need("chat")]
    assert due(alert(kind="errors"), silences=[silence]) == [Need("chat")]


def test_the_end_of_what_was_told_is_told_though_it_was_found_while_catching_up() -> None:
    ended = alert(state="resolved", behind=True)

    assert due(ended, {"chat": heard(alert())}) == [Need("chat")]
    assert due(ended) == []


def test_a_silence_does_not_hide_the_end_of_what_was_told_before() -> None:
    silence = Silence("s", "latency_p99", NOW_MS + 1000)

    assert due(alert(state="resolved"), {"chat": heard(alert())}, silences=[silence]) == [Need("chat")]


def test_what_still_fires_is_told_again_after_the_time_of_repeat_unless_acknowledged() -> None:
    told = {"chat": heard(alert())}
    later = NOW_MS + HOUR_MS

    assert due(alert(), told, now_ms=later - 1, repeat="1h") == []
    assert due(alert(), told, now_ms=later, repeat="1h") == [Need("chat", f"reminder {NOW_MS}")]
    assert due(alert(), told, now_ms=later, repeat=None) == []
    assert due(alert(), told, now_ms=later, repeat="1h", acknowledged="warning") == []
    assert due(alert(), {"chat": heard(alert(), waits=True)}, now_ms=later, repeat="1h") == []


def test_an_acknowledgement_does_not_hold_for_a_graver_alert() -> None:
    graver = alert(severity="critical", at_ms=NOW_MS + 1)

    assert due(graver, {"chat": heard(alert())}, acknowledged="warning") == [Need("pager"), Need("chat")]


def test_what_nobody_acknowledges_is_escalated_once() -> None:
    routes = {"team": {**ROUTES["team"], "escalate": {"after": "15m", "to": ["phone"]}}}
    told = {"chat": heard(alert())}
    later = NOW_MS + 15 * 60_000

    assert due(alert(), told, routes=routes, now_ms=later - 1) == []
    assert due(alert(), told, routes=routes, now_ms=later) == [Need("phone", "escalation")]
    assert due(alert(), told, routes=routes, now_ms=later, acknowledged="warning") == []
    assert due(alert(), {**told, "phone": heard(alert(), at_ms=later)}, routes=routes, now_ms=later + 1) == []
    assert due(alert(state="resolved"), {**told, "phone": heard(alert())}, routes=routes) == [
        Need("chat"),
        Need("phone"),
    ]


def test_a_channel_that_forgets_is_told_again_in_time_acknowledged_or_not() -> None:
    told = {"chat": heard(alert())}

    again = due(alert(), told, now_ms=NOW_MS + 60_000, refresh_s={"chat": 60.0}, acknowledged="warning")

    assert again == [Need("chat", f"reminder {NOW_MS}")]


def test_a_dead_channel_hands_over_along_its_fallbacks_and_back_when_these_are_dead_too() -> None:
    fallbacks = {"a": "b", "b": "c", "c": "a"}

    assert next_channel("a", (), fallbacks, lambda _: False) == "b"
    assert next_channel("a", (), fallbacks, lambda name: name == "b") == "c"
    assert next_channel("b", ("a",), {"a": "b"}, lambda _: False) == "a"
    assert next_channel("a", (), fallbacks, lambda _: True) is None
    assert next_channel("a", (), {}, lambda _: False) is None


def test_a_bucket_fills_with_time_and_never_beyond_its_size() -> None:
    empty = Bucket(0.0, NOW_MS)

    assert empty.wait_s(0.25) == 4.0
    assert empty.filled(0.25, 4, NOW_MS + 2000).tokens == 0.5
    assert empty.filled(0.25, 4, NOW_MS + HOUR_MS).tokens == 4
    assert empty.filled(0.25, 4, NOW_MS - HOUR_MS).tokens == 0.0


def test_the_wait_after_failures_doubles_and_is_spread_and_ends_at_five_minutes() -> None:
    class Highest:
        def random(self) -> float:
            return 1.0

    assert [retry_s(failures, Highest()) for failures in (1, 2, 3, 9, 99)] == [1, 2, 4, 256, 300]  # type: ignore[arg-type]


def waiting(subject: str, *, group: bool = False, size: int = 1) -> Delivery:
    return Delivery(subject, subject, group, "e", b"", True, 0, "a", size=size)


def test_groups_stay_apart_while_there_are_tokens_for_each_and_are_merged_beyond() -> None:
    all_ = [waiting("x"), waiting("g1", group=True), waiting("y"), waiting("g2", group=True)]

    def chosen(tokens: float, most: int = 50) -> list[str]:
        return [each.subject for each in next_message(all_, tokens=tokens, most=most)]

    assert chosen(3) == ["x", "y"]
    assert chosen(2.9) == ["x", "g1", "y", "g2"]
    assert chosen(2.9, most=2) == ["x", "g1"]
    assert [each.subject for each in next_message(all_[1:2], tokens=1, most=50)] == ["g1"]


def test_a_group_that_is_larger_than_a_digest_is_told_all_the_same() -> None:
    assert len(next_message([waiting("g", group=True, size=500)], tokens=1, most=50)) == 1
