"""Lines become records, or are rejected with a reason; quick and careful reading agree on every input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc import batch, decode
from logproc.events import Gathered
from logproc.kinds import Kinds
from logproc.tailing.block import Block, TooLong
from tests.lines import NOW_MS, block, raw, request


def reasons(data: bytes) -> list[str]:
    return [each.reason for each in batch.read(block(data), Gathered(Kinds()), NOW_MS).rejected]


def good(data: bytes) -> int:
    return batch.read(block(data), Gathered(Kinds()), NOW_MS).lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{\n", "not_json"),
        (b"hello\n", "not_json"),
        (b'{"time":"2026-03-30T10:23:45.123Z"} {}\n', "not_json"),
        (b"[1,2]\n", "not_an_object"),
        (b'"text"\n', "not_an_object"),
        (b"7\n", "not_an_object"),
        (b"\0\0\0\n", "nul_bytes"),
        (raw(request())[:-2] + b',"x":"\xff"}\n', "invalid_utf8"),
        *((raw(request(**{name: ...})), "missing_field") for name in request()),
        (raw(request(status="200")), "wrong_type"),
        (raw(request(status=None)), "wrong_type"),
        (raw(request(status=200.5)), "wrong_type"),
        (raw(request(prompt_tokens="7")), "wrong_type"),
        (raw(request(duration_ms=None)), "wrong_type"),
        (raw(request(model=7)), "wrong_type"),
        (raw(request(stream="yes")), "wrong_type"),
        (raw(request(time=7)), "wrong_type"),
        (raw(request(time="yesterday")), "wrong_type"),
        (raw(request(time="2026-03-30T10:23:45.123")), "wrong_type"),
        (raw(request(time="2026-03-30")), "wrong_type"),
        (raw(request(time="2014-12-31T23:59:59.999Z")), "out_of_range"),
        (raw(request(time="2026-04-03T10:23:45.123Z")), "out_of_range"),
        (raw(request(duration_ms=-1)), "out_of_range"),
        (raw(request(prompt_tokens=-1)), "out_of_range"),
        (raw(request(cached_tokens=-1)), "out_of_range"),
        (raw(request(queue_ms=-0.5)), "out_of_range"),
        (raw(request(completion_tokens=10**30)), "out_of_range"),
        (raw(request(status=99)), "out_of_range"),
        (raw(request(duration_ms=float("nan"))), "out_of_range"),
        (raw(request(duration_ms=float("inf"))), "out_of_range"),
        (raw(request(ttft_ms=float("-inf"))), "out_of_range"),
        (raw(request()).replace(b"1142.7", b"1e400"), "out_of_range"),
        (raw({"time": "2026-03-30T10:23:45.123Z", "event": "heartbeat", "in_flight": -1}), "out_of_range"),
        (raw({"event": "heartbeat"}), "missing_field"),
        (raw(request(time="2026-03-30T10:23:45.1  Z")), "wrong_type"),
        (raw(request(time="2026-03-30T10:23:45.+23Z")), "wrong_type"),
        (raw(request())[:-2] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}\n", "not_json"),
        (b"[" * 100_000 + b"\n", "not_json"),
        (raw({"time": "2026-03-30T10:23:45.123Z", "event": "heartbeat", "in_flight": "many"}), "wrong_type"),
    ],
)
def test_a_bad_line_is_rejected_with_its_reason_and_its_neighbours_are_not(line: bytes, reason: str) -> None:
    data = raw(request()) + line + raw(request())

    assert reasons(data) == [reason]
    assert good(data) == 2


@pytest.mark.parametrize(
    "line",
    [
        request(prompt_tokens=None, completion_tokens=None),
        request(time="2026-03-30T10:23:45Z"),
        request(time="2026-03-30T18:23:45.123456789+08:00"),
        request(time="2026-03-30T23:59:60Z"),
        request(time="2026-03-30T23:59:60.123Z"),
        request(time="2026-W14-1T10:23:45.123Z"),
        *(request(**{name: 1}) for name in ("", 'a"b', "a\\b", "a\nb", "a\0b", "é", "unknown_0", "__class__")),
        request(model=None, stream=None, ttft_ms=None),
        request(unknown={"deep": [1, None, "ü"]}, id=7),
        request(duration_ms=0),
        {"time": "2026-03-30T10:23:45.123Z", "event": "heartbeat", "gpus": [{"gpu": "GPU-1"}], "engines": []},
        {"time": "2026-03-30T10:23:45.123Z", "event": "something_new"},
    ],
)
def test_a_valid_line_is_accepted_however_sparse(line: dict[str, Any]) -> None:
    assert reasons(raw(line)) == []
    assert good(raw(line)) == 1
    gathered = Gathered(Kinds())
    for _ in range(3):  # while learning, and with what was learned
        assert batch.read(block(raw(request(), line)), gathered, NOW_MS).lines == 2


def test_blank_lines_are_skipped_and_carriage_returns_do_no_harm() -> None:
    data = b"\n" + raw(request()).replace(b"\n", b"\r\n") + b"  \n" + raw(request())

    assert (good(data), reasons(data)) == (2, [])


def test_a_line_without_its_newline_at_the_end_of_a_finished_file_counts() -> None:
    assert good(raw(request(), request())[:-1]) == 2


def test_a_record_is_one_line_even_where_json_would_go_on_over_the_newline() -> None:
    whole = raw(request())
    torn = whole.replace(b', "path"', b',\n"path"')
    double = whole[:-1] + b" " + whole

    assert (good(torn + double), reasons(torn + double)) == (0, ["not_json"] * 3)


def test_a_rejection_says_where_the_line_stands() -> None:
    first, bad = raw(request()), b"not json at all\n"

    (rejection,) = batch.read(block(first + bad, start=1000), Gathered(Kinds()), NOW_MS).rejected

    assert (rejection.offset, rejection.length, rejection.raw) == (1000 + len(first), len(bad) - 1, bad[:-1])


def test_offsets_are_right_behind_a_line_that_was_too_long_to_be_read() -> None:
    first, last = raw(request()), b"bad\n"
    long = TooLong(offset=len(first), length=2_000_000, head=b'{"x":"aaaa')
    view = Block("a", b"", 0, len(first) + 2_000_001 + len(last), memoryview(first + last), (long,))

    rejected = batch.read(view, Gathered(Kinds()), NOW_MS).rejected

    assert [(each.reason, each.offset) for each in rejected] == [
        ("too_long", len(first)),
        ("not_json", len(first) + 2_000_001),
    ]


def test_no_detail_quotes_the_line() -> None:
    secret = "sk-marker-0815"
    bad_lines = [request(status=secret), request(time=secret), [secret], request(duration_ms=-1, prompt=secret)]

    rejected = batch.read(
        block(b"".join(json.dumps(line).encode() + b"\n" for line in bad_lines)), Gathered(Kinds()), NOW_MS
    ).rejected

    assert len(rejected) == 4
    assert not any(secret in each.detail for each in rejected)


pieces = st.sampled_from(
    [
        raw(request()),
        raw(request(model="ü")),
        raw({"time": "2026-03-30T10:23:45.123Z", "event": "heartbeat"}),
        b"\n",
        b"{}\n",
        b"{\n",
        b"}\n",
        b"[]\n",
        b"\xff\n",
        b"{} {}\n",
        raw(request(status=None)),
        raw(request())[:40],
        b"\r\n",
        b"\0",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=40))
def test_reading_a_block_at_once_agrees_with_reading_it_line_by_line(parts: list[bytes]) -> None:
    data = b"".join(parts)
    careful_good, careful_bad = decode.lines(block(data), NOW_MS)

    learned = Gathered(Kinds())
    batch.read(block(raw(request(), request(id=3, model="m"))), learned, NOW_MS)
    batch.read(block(data), learned, NOW_MS)  # whatever there is to learn
    quick = batch.read(block(data), learned, NOW_MS)

    assert quick.rejected == careful_bad
    assert quick.lines == len(careful_good)
    assert quick.lines + len(quick.rejected) == sum(1 for line in data.split(b"\n") if line.strip(b" \t\r"))
