"""The life of an alert: when it begins, what it becomes, when it ends, and when nothing is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logproc.alerts.alert import CAUSES, KINDS, Alert
from logproc.alerts.life import CALM_S, Life
from logproc.alerts.sentences import sentences
from tests.alerts.play import (
    FAILED,
    MINUTE,
    SLOW,
    Log,
    alerts,
    at,
    firing,
    heartbeats,
    lives,
    requests,
    second_of,
    server,
)

BAD, GOOD_AGAIN, END = 10 * MINUTE, 15 * MINUTE, 32 * MINUTE


def around(bad: Log, begin: int = BAD, end: int = GOOD_AGAIN) -> Log:
    return requests(0, begin) + bad + requests(end, END)


def states(found: list[Alert], kind: str) -> list[str]:
    return [alert.state for alert in found if alert.kind == kind]


# --- how sure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [20, 50, 100, 400])
def test_one_slow_request_in_twenty_is_no_page_while_few_were_seen(bad: int) -> None:
    """Four a minute: nobody can tell 1 % from 5 % by that."""
    assert lives(alerts(around(requests(BAD, GOOD_AGAIN, 15.0, bad=bad, **SLOW)))) == {}


def test_a_pause_of_a_few_seconds_is_no_page_though_it_makes_every_request_slow() -> None:
    log = around(requests(BAD, BAD + 8, 0.1, **SLOW), BAD, BAD + 8)

    assert lives(alerts(log)) == {}


def test_a_long_answer_is_not_slow_for_its_size() -> None:
    long: dict[str, Any] = {"completion_tokens": 2000, "duration_ms": 40_000.0, "decode_ms": 39_000.0, "tpot_ms": 20.0}

    assert lives(alerts(around(requests(BAD, GOOD_AGAIN, **long)))) == {}


def test_a_request_of_unknown_size_is_judged_against_what_is_usual_not_against_its_size() -> None:
    unknown: dict[str, Any] = {"completion_tokens": None, "duration_ms": 9000.0}

    assert lives(alerts(around(requests(BAD, GOOD_AGAIN, **unknown)))) == {}


# --- pending, firing, resolved ----------------------------------------------------------------------------------------


def test_what_must_hold_for_a_while_is_pending_first() -> None:
    log = around(requests(BAD, GOOD_AGAIN, **SLOW))
    found = [
        alert for alert in alerts(log, {"duration_p95_s": {"warning": 5.0, "for": "2m"}}) if alert.kind == "latency_p95"
    ]

    assert [alert.state for alert in found] == ["pending", "firing", "resolved"]
    assert second_of(found[1].time) - second_of(found[0].time) == 120


def test_trouble_that_does_not_last_for_so_long_never_fires() -> None:
    log = around(requests(BAD, BAD + 60, **SLOW), BAD, BAD + 60)

    assert states(alerts(log, {"duration_p95_s": {"warning": 5.0, "for": "10m"}}), "latency_p95") == [
        "pending",
        "resolved",
    ]


def test_an_alert_that_grows_worse_is_the_same_alert_with_a_new_entry() -> None:
    log = around(requests(BAD, BAD + 150, bad=10, **FAILED) + requests(BAD + 150, GOOD_AGAIN, bad=2, **FAILED))
    found = alerts(log, {"error_ratio": {"warning": 0.02, "critical": 0.25}})

    assert [(alert.severity, alert.state) for alert in found] == [
        ("warning", "firing"), ("critical", "firing"), ("critical", "resolved"),
    ]  # fmt: skip
    assert len({alert.id for alert in found}) == 1


def test_it_is_resolved_only_after_all_was_well_for_a_while_and_says_until_when_it_was_bad() -> None:
    found = alerts(around(requests(BAD, GOOD_AGAIN, bad=4, **FAILED)), {"error_ratio": 0.05})

    resolved = found[-1]
    assert resolved.state == "resolved"
    assert GOOD_AGAIN <= second_of(resolved.until) <= GOOD_AGAIN + 60
    assert second_of(resolved.time) - second_of(resolved.until) == CALM_S + 1
    assert at(second_of(resolved.until))[11:19] in resolved.text["en"]


def test_trouble_that_comes_and_goes_is_one_alert() -> None:
    bad = [said for turn in range(3) for said in requests(BAD + turn * 240, BAD + turn * 240 + 120, bad=3, **FAILED)]
    good = [said for turn in range(3) for said in requests(BAD + turn * 240 + 120, BAD + turn * 240 + 240)]
    found = alerts(requests(0, BAD) + bad + good + requests(BAD + 720, END), {"error_ratio": 0.05})

    assert [alert.state for alert in found] == ["firing", "resolved"]


def test_trouble_that_comes_back_after_the_end_is_another_alert() -> None:
    again = END + BAD
    log = around(requests(BAD, GOOD_AGAIN, bad=4, **FAILED))
    log += requests(END, again) + requests(again, again + 300, bad=4, **FAILED)
    found = alerts(log, {"error_ratio": 0.05})

    assert [alert.state for alert in found] == ["firing", "resolved", "firing"]
    assert found[0].id != found[2].id


def test_an_alert_about_requests_ends_also_when_no_request_comes_any_more() -> None:
    found = alerts(requests(0, BAD) + requests(BAD, GOOD_AGAIN, bad=3, **FAILED), {"error_ratio": 0.05}, until=END)

    assert [alert.state for alert in found] == ["firing", "resolved"]


# --- warm-up ----------------------------------------------------------------------------------------------------------


def test_a_new_model_is_not_judged_while_it_warms_up() -> None:
    assert lives(alerts(requests(0, 170, **SLOW) + requests(170, END))) == {}


def test_a_new_model_that_is_still_bad_after_its_warm_up_is_told_then() -> None:
    found = alerts(requests(0, 600, bad=2, **FAILED))

    assert 180 < second_of(found[0].time) <= 240


def test_a_new_server_is_not_judged_while_it_warms_up() -> None:
    log = (
        requests(0, END)
        + server(BAD, "server_started", startup_s=50.0)
        + heartbeats(BAD, BAD + 100, waiting=50, kv=0.99)
    )

    assert lives(alerts([*log, *server(BAD + 110, "server_stopped")])) == {}


def test_a_server_that_was_replaced_on_its_host_is_not_gone() -> None:
    log = requests(0, END) + heartbeats(0, BAD)
    log += [type(said)(said.second, said.line | {"pid": 8}) for said in heartbeats(BAD + 20, END)]

    assert lives(alerts(log)) == {}


# --- for whom ---------------------------------------------------------------------------------------------------------


def two(first: dict[str, Any], second: dict[str, Any]) -> Log:
    log = []
    for model, bad in (("a", first), ("b", second)):
        log += requests(0, BAD, 1.0, model=model) + requests(BAD, GOOD_AGAIN, 1.0, model=model, **bad)
        log += requests(GOOD_AGAIN, END, 1.0, model=model)
    return log


def test_one_bad_model_among_two_is_named() -> None:
    assert lives(alerts(two(FAILED, {}), {"error_ratio": 0.05})) == {"errors a": ["firing", "resolved"]}


def test_where_everything_is_bad_there_is_one_alert_for_all() -> None:
    found = alerts(two(FAILED, FAILED), {"error_ratio": 0.05})

    assert lives(found) == {"errors": ["firing", "resolved"]}
    assert found[0].text["en"].startswith("Everything:")
    assert found[0].facts["models"] == {"a": 0.5, "b": 0.5}


def test_a_model_may_have_thresholds_of_its_own() -> None:
    own = {"duration_s": 3.0, "models": {"a": {"duration_s": 60, "duration_p95_s": 60, "ttft_s": 60}}}

    assert lives(alerts(two({**SLOW}, {}), own)) == {}


# --- why --------------------------------------------------------------------------------------------------------------


def test_the_diagnosis_says_what_the_excess_is_made_of_and_names_requests() -> None:
    log = around(requests(BAD, GOOD_AGAIN, **SLOW, client="10.9.9.9"))
    alert = firing(alerts(log), "latency_p99")

    assert alert.cause == "queue"
    assert alert.shares["queue"] > 0.95
    assert sum(alert.shares.values()) == pytest.approx(1.0, abs=0.01)
    assert (alert.model, alert.bound) == ("m", 3.0)
    assert alert.value is not None
    assert 8.0 < alert.value < 12.0
    assert alert.n > 10
    assert "P99 duration" in alert.text["en"]
    assert "(bound 3 s)" in alert.text["en"]
    assert "since 10:1" in alert.text["en"] or "since 10:09" in alert.text["en"]
    assert "queue" in alert.text["en"]
    assert "队列" in alert.text["zh"]


LONGER = {"prefill_ms": 4180.0, "ttft_ms": 4200.0, "duration_ms": 5000.0}
BUSY = heartbeats(0, END, waiting=0)
CAUSES_PLAYED: tuple[tuple[str, dict[str, Any], Log], ...] = (
    ("queue", SLOW, []),
    ("prefill", LONGER, []),
    ("long_prompts", {**LONGER, "prompt_tokens": 6000}, []),
    ("cache_misses", {**LONGER, "cached_tokens": 0}, []),
    ("decode", {"decode_ms": 8000.0, "tpot_ms": 80.0, "duration_ms": 8200.0}, []),
    ("stall", {"decode_ms": 8000.0, "duration_ms": 8200.0, "stall_max_ms": 7000.0}, []),
    ("client", {"duration_ms": 9000.0}, []),
    ("cold_start", LONGER, server(BAD - 5, "server_started", startup_s=90.0)),
    ("kv_cache", SLOW, heartbeats(0, END, kv=0.98)),
)


@pytest.mark.parametrize(("cause", "bad", "more"), CAUSES_PLAYED, ids=[cause for cause, _, _ in CAUSES_PLAYED])
def test_the_cause_is_what_was_done_to_the_requests(cause: str, bad: dict[str, Any], more: Log) -> None:
    alert = next(alert for alert in alerts([*around(requests(BAD, GOOD_AGAIN, **bad)), *more]) if alert.model == "m")

    assert alert.cause == cause


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_with_every_cause_has_its_two_sentences_whatever_is_unknown(kind: Any) -> None:
    for cause in CAUSES:
        for value in (None, 1234.5):
            for facts in ({}, {"cache_hit_rate": None, "usual_cache_hit_rate": 0.5}):
                alert = Alert(
                    id="x", kind=kind, severity="warning", state="firing", time=at(1), since=at(0), value=value,
                    bound=value, cause=cause, facts=facts,
                )  # fmt: skip
                told = sentences(alert)
                assert told["en"].count("None") == 0
                assert told["en"] != told["zh"]
                assert all("{" not in text for text in told.values())


@given(
    st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.booleans()), min_size=1, max_size=60),
    st.integers(0, 2),
)
def test_what_would_change_nothing_can_be_left_out(seconds: list[tuple[int, bool]], long: int) -> None:
    """Every second is repeated, so that an alert may also end for having been well for long."""
    level = np.repeat(np.array([each for each, _ in seconds], np.int8), 1 + 50 * long)
    is_well = np.repeat(np.array([well for _, well in seconds]), 1 + 50 * long)
    stepped, leaping = (Life(since=0, began=0, level=1, firing=True) for _ in range(2))
    changes: list[list[tuple[int, str]]] = [[], []]

    for second in range(len(level)):
        change = stepped.step(second, int(level[second]), 0, is_well=bool(is_well[second]))
        if change:
            changes[0].append((second, change))
        if change == "resolved":
            break
    second = 0
    while (second := second + leaping.unchanged_for(second, level[second:], is_well[second:])) < len(level):
        change = leaping.step(second, int(level[second]), 0, is_well=bool(is_well[second]))
        if change:
            changes[1].append((second, change))
        if change == "resolved":
            break
        second += 1

    assert changes[0] == changes[1]
    assert stepped == leaping
