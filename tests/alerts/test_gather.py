"""The buckets of the detectors are exactly what a slow recount of the same lines finds."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logproc.alerts.buckets import Buckets
from logproc.alerts.gather import MOST_MODELS, OTHER
from logproc.measure.servers import Servers
from logproc.measure.tally import tally
from logproc.measure.totals import Totals
from logproc.settings import Settings
from tests.alerts.recount import Recount, recount
from tests.lines import NOW_MS, block, raw, request

BEGIN = NOW_MS // 1000 - 3600

PLAIN = {
    "duration_s": {"warning": 3.0, "critical": 9.0},
    "ttft_s": 0.8,
    "models": {"large": {"duration_s": 8, "tokens_per_second": {"warning": 5, "disaster": 2}}},
}
OFF = {"duration_s": None, "duration_p95_s": None, "ttft_s": None, "tokens_per_second": None, "slow_for_size": None}
THRESHOLDS: tuple[dict[str, Any], ...] = ({}, PLAIN, OFF, {"slow_for_size": None})

milliseconds = st.one_of(st.integers(0, 20_000), st.floats(0, 60_000), st.just(0.0), st.just(3000.0), st.just(5e9))
counts = st.one_of(st.none(), st.integers(0, 40), st.integers(0, 100_000))


def known(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The values, or a line that lacks the field (...), or one that says null."""
    return st.one_of(st.just(...), st.none(), values)


line = st.builds(
    request,
    model=known(st.sampled_from(["large", "small"])),
    path=st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/other"]),
    status=st.sampled_from([200, 200, 200, 200, 400, 429, 499, 500, 503]),
    outcome=known(
        st.sampled_from(["ok", "empty", "truncated", "reasoning_only", "stream_error", "server_error", "rejected"])
    ),
    finish_reason=known(st.sampled_from(["stop", "length", "abort"])),
    stream=known(st.booleans()),
    duration_ms=milliseconds,
    prompt_tokens=counts,
    completion_tokens=counts,
    cached_tokens=known(st.integers(0, 50_000)),
    max_tokens=known(st.integers(0, 3)),
    tool_calls=known(st.integers(0, 2)),
    ttft_ms=known(milliseconds),
    tpot_ms=known(st.floats(0, 500)),
    stall_max_ms=known(milliseconds),
    queue_ms=known(milliseconds),
    prefill_ms=known(milliseconds),
    decode_ms=known(milliseconds),
)


def time_text(second: int, millisecond: int = 0) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{millisecond:03d}Z"


def rows_of(buckets: Buckets) -> Recount:
    return {
        (model, second): Counter(
            {name: int(value) for name, value in zip(buckets.columns.names, row, strict=True) if value}
        )
        for model, rows in buckets.rows.items()
        for second, row in rows.items()
    }


def totals_with(thresholds: dict[str, Any]) -> Totals:
    return Totals(Settings.model_validate({"logs": {"paths": ["-"]}, "thresholds": thresholds}))


def read(totals: Totals, data: bytes) -> None:
    tally(totals, Servers(), block(data), lambda: NOW_MS, None)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=st.lists(st.tuples(line, st.one_of(st.integers(0, 5), st.integers(0, 60))), min_size=1, max_size=50),
    pieces=st.lists(st.integers(1, 20), min_size=3, max_size=3),
    thresholds=st.sampled_from(THRESHOLDS),
)
def test_the_buckets_are_what_a_slow_recount_finds_however_the_lines_were_read(
    lines: list[tuple[dict[str, Any], int]], pieces: list[int], thresholds: dict[str, Any]
) -> None:
    totals = totals_with(thresholds)
    given_lines = [{**fields, "time": time_text(BEGIN + second)} for fields, second in lines]
    place = 0
    while place < len(given_lines):
        size = pieces[place % 3]
        read(totals, raw(*given_lines[place : place + size]))
        if size % 2:
            totals.fold()
        place += size
    totals.fold()

    settings_ = Settings.model_validate({"logs": {"paths": ["-"]}, "thresholds": thresholds})
    expected = recount(given_lines, [BEGIN + second for _, second in lines], settings_.thresholds)
    assert rows_of(totals.buckets) == expected


def test_lines_that_lie_far_apart_take_no_room_between_them() -> None:
    totals = totals_with({})
    read(totals, raw(*(request(time=time_text(BEGIN - 3000 + 1000 * number)) for number in range(4))))
    totals.fold()

    assert [second for _, second in sorted(rows_of(totals.buckets))] == [BEGIN - 3000 + 1000 * n for n in range(4)]


def test_a_line_more_than_a_minute_behind_the_newest_of_its_file_is_in_no_bucket() -> None:
    totals = totals_with({})
    read(totals, raw(*(request(time=time_text(BEGIN + second)) for second in (0, 100, 40, 39))))
    totals.fold()

    assert [second - BEGIN for _, second in sorted(rows_of(totals.buckets))] == [0, 40, 100]


def test_more_models_than_there_is_room_for_are_one_model() -> None:
    totals = totals_with({})
    names = [f"model-{number:02d}" for number in range(MOST_MODELS + 5)]
    read(totals, raw(*(request(model=name, time=time_text(BEGIN)) for name in names)))
    totals.fold()

    found = rows_of(totals.buckets)
    assert len(found) == MOST_MODELS + 1
    assert found[OTHER, BEGIN]["requests"] == 5


def test_buckets_that_were_packed_for_another_process_and_merged_are_the_same() -> None:
    ways = []
    for cut in (0, 7, 20):
        totals = totals_with({})
        lines = [request(time=time_text(BEGIN + n % 9), duration_ms=n * 700.0, model=f"m{n % 2}") for n in range(20)]
        parts = []
        for piece in (lines[:cut], lines[cut:]):
            if piece:
                read(totals, raw(*piece))
                totals.fold()
                parts.append(Buckets.unpack(totals.buckets.columns, totals.take_buckets()[0].pack()))
        whole = Buckets(totals.buckets.columns)
        for part in parts:
            whole.add(part)
        ways.append(rows_of(whole))

    assert ways[0] == ways[1] == ways[2]
