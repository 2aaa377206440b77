"""What the engine said is believed only where it can be true, and is joined to the response it belongs to, once."""

from __future__ import annotations

import math
import re
from enum import IntEnum
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logproc.record import EngineLoad
from serve.timings import EngineLoads, Timings, TimingsTable, merge, timings_of


def finished(**changes: object) -> SimpleNamespace:
    values: dict[str, object] = {
        "finish_reason": "stop",
        "request_id": "chatcmpl-a",
        "e2e_latency": 0.5,
        "num_prompt_tokens": 20,
        "num_preemptions": 1,
        "num_generation_tokens": 11,
        "max_tokens_param": 100,
        "queued_time": 0.1,
        "prefill_time": 0.15,
        "decode_time": 0.2,
        "mean_time_per_output_token": 0.02,
        "is_corrupted": False,
        "num_cached_tokens": 16,
    }
    return SimpleNamespace(**{**values, **changes})


# --- what can be believed --------------------------------------------------------------------------------------------


def test_times_are_milliseconds() -> None:
    assert timings_of(finished(queued_time=0.0002203589999680844)) == Timings(
        queue_ms=0.22,
        prefill_ms=150.0,
        decode_ms=200.0,
        tpot_ms=20.0,
        e2e_ms=500.0,
        cached_tokens=16,
        preemptions=1,
        prompt_tokens=20,
        completion_tokens=11,
        max_tokens=100,
        corrupted=None,
        finish_reason="stop",
    )


NONSENSE = [-0.001, math.nan, math.inf, 86_401.0, None, "0.1", True]


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("queued_time", "queue_ms"),
        ("decode_time", "decode_ms"),
        ("mean_time_per_output_token", "tpot_ms"),
        ("e2e_latency", "e2e_ms"),
    ],
)
def test_a_time_that_makes_no_sense_is_left_out_alone(name: str, field: str, value: object) -> None:
    sane = timings_of(finished())
    odd = timings_of(finished(**{name: value}))
    assert getattr(odd, field) is None
    others = set(Timings.__struct_fields__) - {field}
    assert {other: getattr(odd, other) for other in others} == {other: getattr(sane, other) for other in others}


def test_a_prefill_longer_than_the_request_takes_the_queue_time_with_it() -> None:
    odd = timings_of(finished(prefill_time=0.6, queued_time=0.0))
    assert (odd.prefill_ms, odd.queue_ms, odd.decode_ms) == (None, None, 200.0)


@pytest.mark.parametrize("value", [-1, None, "7", 7.0, True])
def test_a_count_that_is_none_is_unknown(value: object) -> None:
    odd = timings_of(
        finished(num_cached_tokens=value, num_preemptions=value, num_prompt_tokens=value, max_tokens_param=value)
    )
    assert (odd.cached_tokens, odd.preemptions, odd.prompt_tokens, odd.max_tokens) == (None,) * 4


def test_one_token_has_no_time_between_tokens_and_no_token_has_no_decode() -> None:
    one = timings_of(finished(num_generation_tokens=1, decode_time=0.0, mean_time_per_output_token=0))
    assert (one.decode_ms, one.tpot_ms) == (0.0, None)
    none = timings_of(finished(num_generation_tokens=0, decode_time=0.0, mean_time_per_output_token=0))
    assert (none.decode_ms, none.tpot_ms) == (None, None)


def test_not_corrupted_is_unknown_since_the_engine_looks_only_when_told_to() -> None:
    assert timings_of(finished(is_corrupted=False)).corrupted is None
    assert timings_of(finished(is_corrupted=1)).corrupted is None
    assert timings_of(finished(is_corrupted=True)).corrupted is True


def test_a_finish_reason_of_any_type_is_a_word_of_its_own() -> None:
    class Reason(IntEnum):
        STOP = 0

        def __str__(self) -> str:
            return "stop"

    words = [timings_of(finished(finish_reason=reason)).finish_reason for reason in (False, 0, Reason.STOP, ["x"], "A")]
    assert words == ["false", "0", "stop", "['x']", "a"]


def test_an_engine_that_tells_nothing_gives_nothing() -> None:
    assert timings_of(object()) == Timings()


# --- several parts of one response -----------------------------------------------------------------------------------


def test_the_slower_part_gives_the_times_and_all_parts_the_tokens() -> None:
    fast = timings_of(finished(e2e_latency=0.5, num_cached_tokens=0, finish_reason="length"))
    slow = timings_of(finished(e2e_latency=0.9, prefill_time=0.4, queued_time=0.3, num_cached_tokens=16))
    for merged in (merge(fast, slow, same_prompt=True), merge(slow, fast, same_prompt=True)):
        assert (merged.e2e_ms, merged.prefill_ms, merged.queue_ms) == (900.0, 400.0, 300.0)
        assert (merged.prompt_tokens, merged.completion_tokens, merged.preemptions) == (20, 22, 2)
        assert merged.cached_tokens == 0
        assert merged.finish_reason == "length"
    assert merge(fast, slow, same_prompt=False).prompt_tokens == 40


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    merged = merge(Timings(completion_tokens=5), Timings(), same_prompt=True)
    assert merged.completion_tokens is None


def test_one_corrupted_part_makes_the_whole_corrupted() -> None:
    yes, no, unknown = Timings(corrupted=True), Timings(corrupted=False), Timings()
    assert merge(yes, no, same_prompt=True).corrupted is True
    assert merge(no, yes, same_prompt=True).corrupted is True
    assert merge(no, no, same_prompt=True).corrupted is False
    assert merge(unknown, no, same_prompt=True).corrupted is False
    assert merge(unknown, unknown, same_prompt=True).corrupted is None


# --- the join --------------------------------------------------------------------------------------------------------

ONE = Timings(e2e_ms=1.0, completion_tokens=1)
TWO = Timings(e2e_ms=2.0, completion_tokens=2)


@pytest.mark.parametrize(
    ("engine_id", "response_id"),
    [
        ("chatcmpl-a83c", "chatcmpl-a83c"),
        ("cmpl-ba76-0", "cmpl-ba76"),
        ("resp_89c2_0", "resp_89c2"),
        ("chatcmpl-95ec_1", "chatcmpl-95ec"),
        ("chatcmpl-client-abc-123", "chatcmpl-client-abc-123"),
        ("cmpl-client-123-0", "cmpl-client-123"),
        ("embd-emb1-0", "embd-emb1"),
    ],
)
def test_a_response_finds_the_engines_words_once(engine_id: str, response_id: str) -> None:
    table = TimingsTable()
    table.put(engine_id, ONE)
    assert table.take(response_id) == ONE
    assert table.take(response_id) is None
    assert len(table.waiting) == 0


@pytest.mark.parametrize("other", ["chatcmpl-b", "chatcmpl-", "a-1", "chatcmpl-a-1-1", ""])
def test_another_response_finds_nothing(other: str) -> None:
    table = TimingsTable()
    table.put("chatcmpl-a-1", ONE)
    assert table.take(other) is None
    assert len(table.waiting) == 1


def test_an_exact_id_wins_over_one_that_differs_by_its_number() -> None:
    table = TimingsTable()
    table.put("chatcmpl-job-1", ONE)
    table.put("chatcmpl-job", TWO)
    assert table.take("chatcmpl-job") == TWO
    assert table.take("chatcmpl-job-1") == ONE
    assert len(table.waiting) == 0


def test_the_same_id_twice_is_one_prompt_and_numbered_ids_are_several() -> None:
    table = TimingsTable()
    part = Timings(prompt_tokens=10, completion_tokens=3)
    for engine_id in ("cmpl-x-0", "cmpl-x-0", "cmpl-x-1", "cmpl-x-1"):
        table.put(engine_id, part)
    found = table.take("cmpl-x")
    assert found is not None
    assert (found.prompt_tokens, found.completion_tokens) == (20, 12)
    assert len(table.waiting) == 0


def test_what_nobody_asks_for_expires() -> None:
    now = 0.0
    table = TimingsTable(keep_s=60, clock=lambda: now)
    table.put("a", ONE)
    now = 30.0
    table.put("b", TWO)
    now = 60.0
    assert table.take("a") is None
    assert table.take("b") == TWO
    assert len(table.waiting) == 0


def test_a_full_table_forgets_the_oldest() -> None:
    table = TimingsTable(capacity=3)
    for engine_id in ("a", "b-0", "b-1", "c"):
        table.put(engine_id, ONE)
    assert len(table.waiting) == 3
    assert table.take("a") is None
    assert table.take("c") == ONE
    assert table.take("b") is not None


IDS = st.sampled_from(["a", "a-0", "a-1", "a_1", "a-0-0", "b", "b-7", "-1", ""])


class PlainTable:
    """The same promise in the plainest words: a list of (when, id, timings), the oldest first."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, str, Timings]] = []

    def put(self, now: float, name: str, timings: Timings) -> None:
        self.rows = [row for row in self.rows if now - row[0] < 60]
        for number, (at, other, before) in enumerate(self.rows):
            if other == name:
                self.rows[number] = (at, name, merge(before, timings, same_prompt=True))
                return
        self.rows = [*self.rows, (now, name, timings)][-5:]

    def take(self, now: float, name: str) -> Timings | None:
        self.rows = [row for row in self.rows if now - row[0] < 60]
        found = [row for row in self.rows if row[1] == name]
        if not found:
            found = [
                row
                for row in self.rows
                if re.fullmatch(r"(.*)[-_][0-9]+", row[1]) and re.sub(r"[-_][0-9]+$", "", row[1]) == name
            ]
        self.rows = [row for row in self.rows if row not in found]
        merged = None
        for _, _, timings in found:
            merged = timings if merged is None else merge(merged, timings, same_prompt=False)
        return merged


@given(st.lists(st.tuples(st.booleans(), IDS, st.integers(0, 30)), max_size=60))
def test_the_table_keeps_its_promise_in_any_order_of_calls(steps: list[tuple[bool, str, int]]) -> None:
    now = 0.0
    table, plain = TimingsTable(capacity=5, keep_s=60, clock=lambda: now), PlainTable()
    for number, (is_put, name, seconds) in enumerate(steps):
        now += seconds
        if is_put:
            told = Timings(e2e_ms=float(number), prompt_tokens=1, completion_tokens=1 << number % 30)
            table.put(name, told)
            plain.put(now, name, told)
        else:
            assert table.take(name) == plain.take(now, name)
        assert len(table.waiting) <= 5
        assert sorted(part for parts in table._parts.values() for part in parts) == sorted(
            name for name in table.waiting if re.search("[-_][0-9]+$", name)
        )


# --- loads -----------------------------------------------------------------------------------------------------------


def test_the_newest_load_of_each_engine_is_told_with_the_fields_of_the_contract() -> None:
    loads = EngineLoads()
    loads.put(1, 2, 3, 0.25)
    loads.put(0, 9, 9, 0.9)
    loads.put(0, 4, 0, 0.5)
    assert [EngineLoad(**load) for load in loads.fresh()] == [EngineLoad(0, 4, 0, 0.5), EngineLoad(1, 2, 3, 0.25)]  # type: ignore[arg-type]


def test_an_engine_that_fell_silent_at_work_is_left_out_and_an_idle_one_is_not() -> None:
    now = 0.0
    loads = EngineLoads(stale_s=30, clock=lambda: now)
    loads.put(0, 1, 0, 0.5)
    loads.put(1, 0, 0, 0.0)
    now = 29.0
    assert [load["engine"] for load in loads.fresh()] == [0, 1]
    now = 31.0
    assert [load["engine"] for load in loads.fresh()] == [1]


@pytest.mark.parametrize("odd", [None, -1, 1.5, math.nan, "1"])
def test_a_load_that_makes_no_sense_is_unknown_not_zero(odd: object) -> None:
    loads = EngineLoads()
    loads.put(0, odd, odd, odd)
    assert loads.fresh() == [{"engine": 0}]
