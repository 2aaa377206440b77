"""Flags: one row of the closed list at a time, and the same answer for one request as for many."""

from __future__ import annotations

from typing import Any

import pytest

from logproc.batch import read
from logproc.events import Gathered
from logproc.flags import Flagger
from logproc.kinds import Kinds
from logproc.settings import Thresholds
from tests.lines import NOW_MS, block, raw, request


def flags(*lines: dict[str, Any], **thresholds: Any) -> list[tuple[str, ...]]:
    kinds = Kinds()
    gathered = Gathered(kinds)
    read(block(raw(*lines)), gathered, NOW_MS)
    events = gathered.take()
    return Flagger(Thresholds.model_validate(thresholds)).names(events, kinds)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (request(), ()),
        (request(duration_ms=3000), ()),
        (request(duration_ms=3000.001), ("slow",)),
        (request(duration_ms=9000, status=400), ()),
        (request(duration_ms=9000, status=499), ("slow",)),
        (request(outcome="empty", completion_tokens=1), ("empty_completion",)),
        (request(completion_tokens=0), ("empty_completion",)),
        (request(completion_tokens=0, path="/v1/embeddings"), ()),
        (request(completion_tokens=0, max_tokens=1), ()),
        (request(completion_tokens=0, tool_calls=1), ()),
        (request(completion_tokens=0, status=499), ()),
        (request(outcome="empty", completion_tokens=None), ()),
        (request(stream=True, ttft_ms=800.0), ("slow_for_size",)),
        (request(stream=True, ttft_ms=801.0, prompt_tokens=2000), ("slow_first_token",)),
        (request(stream=True, ttft_ms=700.0, prompt_tokens=1000, cached_tokens=900), ("slow_for_size",)),
        (request(tpot_ms=50.0), ()),
        (request(tpot_ms=50.1), ("slow_decode",)),
        (request(tpot_ms=500.0, completion_tokens=15), ()),
        (
            request(stream=True, ttft_ms=100.0, duration_ms=2900.0, completion_tokens=21),
            ("slow_for_size", "slow_decode"),
        ),
        (request(decode_ms=6401.0), ("slow_for_size",)),
        (request(stall_max_ms=2000.0), ()),
        (request(stall_max_ms=2001.0), ("stall",)),
        (request(finish_reason="length"), ("truncated",)),
        (request(outcome="stream_error"), ("stream_error",)),
    ],
)
def test_what_is_odd_about_a_request(line: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert flags(line) == [expected]


def test_a_threshold_that_is_off_raises_no_flag_and_a_model_may_have_its_own() -> None:
    slow = request(duration_ms=5000, model="big")

    assert flags(slow, duration_s=None) == [()]
    assert flags(slow, models={"big": {"duration_s": 10}}) == [()]
    assert flags(slow, duration_s=10, models={"big": {"duration_s": {"critical": 4}}}) == [("slow",)]


def test_a_model_may_have_no_usual_size() -> None:
    slow = request(stream=True, ttft_ms=799.0, prompt_tokens=1, model="big")

    assert flags(slow) == [("slow_for_size",)]
    assert flags(slow, models={"big": {"slow_for_size": None}}) == [()]


def test_a_request_is_judged_alike_alone_and_among_others() -> None:
    lines = [
        request(duration_ms=100.0 * number, stream=bool(number % 2), ttft_ms=number * 20.0 if number % 3 else None)
        for number in range(1, 60)
    ]

    assert flags(*lines) == [flags(line)[0] for line in lines]
