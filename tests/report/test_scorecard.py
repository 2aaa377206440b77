"""The scorecard: its figures are those of the requests, and a target that is missed is said to be."""

from __future__ import annotations

import numpy as np
import pytest

from logproc.report.scorecard import ALL, Card, scorecard
from logproc.report.seen import Seen
from logproc.settings import Settings

SETTINGS = Settings.model_validate(
    {"logs": {"paths": ["x"]}, "targets": {"ttft_s": 0.5, "requests_per_second": 1, "server_tokens_per_second": 10}}
)


def seen(count: int, **columns: object) -> Seen:
    """So many good requests of one second each, one ended each second from second 1 on; columns change them."""
    base: dict[str, object] = {
        "model": np.full(count, "m"),
        "outcome": np.full(count, "ok"),
        "status": np.full(count, 200),
        "generates": np.full(count, True),
        "empty": np.full(count, False),
        "time_s": np.arange(1.0, count + 1),
        "duration_s": np.full(count, 1.0),
        "ttft_s": np.full(count, 0.1),
        "decode_s": np.full(count, np.nan),
        "prompt": np.full(count, 100.0),
        "completion": np.full(count, 46.0),
        "cached": np.full(count, np.nan),
    }
    return Seen(**{**base, **{name: np.array(value) for name, value in columns.items()}})  # type: ignore[arg-type]


def values(card: Card) -> dict[str, float | None]:
    return {figure.name: figure.value for figure in card.figures}


def card_of(now: Seen, before: Seen | None = None) -> Card:
    return scorecard(now, seen(0) if before is None else before, (None, None), SETTINGS)[0]


def test_the_figures_are_those_of_the_requests() -> None:
    found = values(card_of(seen(100)))
    assert found["requests_per_second"] == pytest.approx(1.0)  # from second 0, when the first began, to second 100
    assert found["server_tokens_per_second"] == pytest.approx(46.0)
    assert found["ttft_p95_s"] == pytest.approx(0.1)
    assert found["duration_p99_s"] == pytest.approx(1.0)
    assert found["tokens_per_second_p5"] == pytest.approx(45 / 0.9)
    assert found["error_ratio"] == 0.0
    assert found["empty_ratio"] == 0.0


def test_a_percentile_is_the_duration_of_a_real_request() -> None:
    durations = np.arange(1, 101) / 10
    found = values(card_of(seen(100, duration_s=durations)))
    assert (found["duration_p50_s"], found["duration_p95_s"], found["duration_p99_s"]) == (5.0, 9.5, 9.9)


def test_errors_are_counted_where_http_hides_them_and_the_clients_own_are_not() -> None:
    outcome = ["ok"] * 6 + ["stream_error", "rejected", "rejected", "server_error"]
    status = [200] * 7 + [200, 404, 503]
    found = values(card_of(seen(10, outcome=outcome, status=status)))
    assert found["error_ratio"] == pytest.approx(3 / 9)  # the 404 counts neither as an error nor as a request


def test_rejected_requests_do_not_make_the_durations_look_good() -> None:
    outcome = ["rejected"] * 99 + ["ok"]
    status = [503] * 99 + [200]
    durations = [0.001] * 99 + [4.0]
    assert values(card_of(seen(100, outcome=outcome, status=status, duration_s=durations)))["duration_p50_s"] == 4.0


def test_an_empty_answer_counts_by_its_flag_among_the_generated_ones() -> None:
    generates = [True] * 4 + [False] * 4
    outcome = ["ok", "empty", "ok", "empty"] + ["ok"] * 4
    empty = [False, True, False, False] + [False] * 4  # the second `empty` was allowed to be: max_tokens 1
    assert values(card_of(seen(8, generates=generates, outcome=outcome, empty=empty)))["empty_ratio"] == 0.25


def test_a_missed_target_is_named_and_a_met_one_is_not() -> None:
    card = card_of(seen(100, ttft_s=np.full(100, 0.7)))
    assert [figure.name for figure in card.missed] == ["ttft_p95_s"]
    slower = card_of(seen(100, time_s=np.arange(2.0, 202.0, 2)))
    assert [figure.name for figure in slower.missed] == ["requests_per_second"]


def test_a_figure_of_which_nothing_is_known_misses_no_target() -> None:
    card = card_of(seen(10, ttft_s=np.full(10, np.nan), completion=np.full(10, 4.0)))
    found = {figure.name: figure for figure in card.figures}
    assert (found["ttft_p95_s"].value, found["ttft_p95_s"].met) == (None, None)
    assert found["tokens_per_second_p5"].value is None
    assert "ttft_p50_s" not in found  # neither a value nor a target: nothing to say


def test_the_trend_is_against_the_range_before() -> None:
    now, before = seen(100, duration_s=np.full(100, 1.5)), seen(100)
    figure = next(each for each in card_of(now, before).figures if each.name == "duration_p50_s")
    assert figure.trend == pytest.approx(0.5)
    assert all(each.trend is None for each in card_of(now).figures)


def test_several_models_have_a_card_each_with_their_own_thresholds() -> None:
    settings = Settings.model_validate(
        {"logs": {"paths": ["x"]}, "thresholds": {"models": {"big": {"duration_s": 10}}}}
    )
    now = seen(10, model=["big"] * 4 + ["small"] * 6, duration_s=np.full(10, 5.0))
    cards = scorecard(now, seen(0), (None, None), settings)
    assert [(card.model, card.requests) for card in cards] == [(ALL, 10), ("small", 6), ("big", 4)]
    missed = {card.model: {figure.name for figure in card.missed} for card in cards}
    assert "duration_p99_s" in missed["small"]
    assert "duration_p99_s" not in missed["big"]
