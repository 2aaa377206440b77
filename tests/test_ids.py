"""The id of a line is its own where it is one of ours, else made of content and place: whoever reads it, the same."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.ids import OwnId, derived_ids, id_bytes, id_text, id_times, own_ids
from logproc.record import DAY_MS, line_id_bytes, make_line_id

TIME = 1_774_866_225_123
ours = st.builds(make_line_id, st.integers(TIME - 2 * DAY_MS, TIME + 2 * DAY_MS), st.binary(min_size=10, max_size=10))
nearly = st.text("ABZaz09-_+/=", min_size=22, max_size=22)
others = st.one_of(st.none(), st.integers(), st.text(max_size=30), st.lists(st.integers(), max_size=2))


@settings(deadline=None)
@given(st.lists(st.one_of(ours, ours, ours, nearly, others), min_size=1, max_size=12))
def test_ids_read_at_once_are_those_that_the_contract_gives_one_by_one(values: list[object]) -> None:
    raws = [msgspec.Raw(msgspec.json.encode(value)) for value in values]
    times = np.full(len(values), TIME, np.int64)
    assert own_ids(raws, times) == [line_id_bytes(value, TIME) for value in values]


@settings(deadline=None)
@given(st.lists(st.one_of(ours, nearly), min_size=1, max_size=12))
def test_an_id_another_day_away_is_not_ours_even_among_ids_of_the_right_form(values: list[str]) -> None:
    raws = [msgspec.Raw(msgspec.json.encode(value)) for value in values]
    times = np.arange(len(values), dtype=np.int64) * (DAY_MS // 2) + TIME
    expected = [line_id_bytes(value, time_ms) for value, time_ms in zip(values, times.tolist(), strict=True)]
    assert own_ids(raws, times) == expected


def test_an_id_written_with_escapes_is_the_same_id() -> None:
    text = make_line_id(TIME, b"0123456789")
    escaped = msgspec.Raw(f'"\\u{ord(text[0]):04x}{text[1:]}"'.encode())
    assert own_ids([escaped], np.array([TIME])) == [line_id_bytes(text, TIME)]


def test_a_number_too_large_for_any_type_is_no_id_and_no_error() -> None:
    values: list[OwnId] = [msgspec.Raw(b"1e999"), msgspec.UNSET]
    assert own_ids(values, np.array([TIME, TIME])) == [None, None]


@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16))
def test_an_id_goes_through_its_text_unchanged(raw: bytes) -> None:
    assert id_bytes(id_text(raw)) == raw
    assert len(id_text(raw)) == 22


def test_another_spelling_of_the_same_bytes_is_no_id() -> None:
    text = id_text(b"\0" * 16)
    assert id_bytes(text[:-1] + "B") is None
    assert id_bytes(text + "=") is None
    assert id_bytes(None) is None


def derived(first_line: bytes, offset: int, raw: bytes) -> bytes:
    return derived_ids(first_line, [offset], [raw], np.array([TIME]))[0]


def test_a_derived_id_begins_with_its_time_and_depends_on_file_offset_and_line() -> None:
    one = derived(b"f" * 16, 100, b'{"a":1}')
    assert id_times(np.frombuffer(one[:6], np.uint8).reshape(1, 6)).tolist() == [TIME]
    others = {
        derived(b"g" * 16, 100, b'{"a":1}'),
        derived(b"f" * 16, 101, b'{"a":1}'),
        derived(b"f" * 16, 100, b'{"a":2}'),
    }
    assert len(others | {one}) == 4


def test_the_form_of_a_derived_id_never_changes_for_it_is_what_stored_lines_are_known_by() -> None:
    ids = derived_ids(b"f" * 16, [100, 1 << 40], [b'{"a":1}', b""], np.array([TIME, TIME + 1]))
    expected = [
        time_ms.to_bytes(6, "big")
        + hashlib.blake2b(b"f" * 16 + offset.to_bytes(8, "big") + raw, digest_size=10).digest()
        for time_ms, offset, raw in ((TIME, 100, b'{"a":1}'), (TIME + 1, 1 << 40, b""))
    ]
    assert ids == expected
    assert id_text(ids[0]) == "AZ0-RVfjO15YfMzJmMR6dw"
