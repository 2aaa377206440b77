"""What a container runtime wrapped and split becomes the lines that were written, wherever the blocks end."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.record import MAX_LINE
from logproc.tailing.block import Cursor, Pending
from logproc.tailing.containers import Format, Unwrapped, unwrap

TIME = "2026-04-05T10:23:45.123456789Z"


def cri(text: str, part: int = 1 << 30) -> list[bytes]:
    """As containerd writes a line: in parts of `part` characters."""
    pieces = [text[at : at + part] for at in range(0, len(text), part)] or [""]
    flags = ["P"] * (len(pieces) - 1) + ["F"]
    return [f"{TIME} stdout {flag} {piece}\n".encode() for flag, piece in zip(flags, pieces, strict=True)]


def docker(text: str, part: int = 1 << 30) -> list[bytes]:
    """As Docker's json-file writes a line."""
    pieces = [text[at : at + part] for at in range(0, len(text), part)] or [""]
    pieces[-1] += "\n"
    return [json.dumps({"log": piece, "stream": "stdout", "time": TIME}).encode() + b"\n" for piece in pieces]


WRITERS = {"cri": cri, "docker": docker}


@pytest.mark.parametrize("wrapped", ["cri", "docker"])
def test_each_line_is_unwrapped_and_knows_where_it_began(wrapped: Format) -> None:
    lines = [*WRITERS[wrapped]('{"a":1}'), *WRITERS[wrapped]('{"b":"ü"}')]

    found = unwrap(wrapped, memoryview(b"".join(lines)), 1000, None)

    assert found.data == '{"a":1}\n{"b":"ü"}\n'.encode()
    assert found.origins == [1000, 1000 + len(lines[0])]
    assert found.pending is None


@pytest.mark.parametrize("wrapped", ["cri", "docker"])
def test_what_is_no_json_object_is_unrelated(wrapped: Format) -> None:
    lines = [*WRITERS[wrapped]("INFO:     Started server process"), b"not wrapped at all\n", *WRITERS[wrapped]("[1]")]
    lines += [*WRITERS[wrapped]("{broken"), *WRITERS[wrapped]("")]

    found = unwrap(wrapped, memoryview(b"".join(lines)), 0, None)

    assert found.unrelated == 3
    assert found.data == b"{broken\n"  # begins like an object: that is a rejected line, not another program's


@pytest.mark.parametrize("wrapped", ["cri", "docker"])
def test_a_line_longer_than_the_limit_is_passed_over_in_bounded_memory(wrapped: Format) -> None:
    text = '{"x":"' + "a" * (3 * MAX_LINE) + '"}'
    pending, long, at = None, [], 0
    for line in WRITERS[wrapped](text, 16_384):
        found = unwrap(wrapped, memoryview(line), at, pending)
        pending, at = found.pending, at + len(line)
        assert pending is None or len(pending.text) <= MAX_LINE + 1
        long += found.too_long

    assert [(each.length, each.head[:7]) for each in long] == [(len(text), b'{"x":"a')]


def test_cri_tags_with_more_fields_are_understood() -> None:
    assert unwrap("cri", memoryview(f'{TIME} stderr F:x {{"a":1}}\n'.encode()), 0, None).data == b'{"a":1}\n'


texts = st.one_of(
    st.dictionaries(st.text(max_size=3), st.text(max_size=40), max_size=3).map(json.dumps),
    st.sampled_from(["INFO ready", "", "  ", "{", '{"ü":"\u2028"}']),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(texts, max_size=12), st.integers(1, 30), st.data())
def test_wherever_blocks_end_the_same_lines_come_out(lines: list[str], part: int, data: st.DataObject) -> None:
    wrapped: Format = data.draw(st.sampled_from(["cri", "docker"]))
    physical = [piece for line in lines for piece in WRITERS[wrapped](line, part)]
    whole = unwrap(wrapped, memoryview(b"".join(physical)), 0, None)

    joined, pending, at = Unwrapped(), None, 0
    while physical:
        count = data.draw(st.integers(1, len(physical)))
        block = b"".join(physical[:count])
        physical = physical[count:]
        found = unwrap(wrapped, memoryview(block), at, pending)
        at, pending = at + len(block), found.pending
        joined.data += found.data
        joined.origins += found.origins
        joined.unrelated += found.unrelated

    assert (joined.data, joined.origins, joined.unrelated) == (whole.data, whole.origins, whole.unrelated)
    assert pending is None
    assert joined.data.splitlines() == [line.encode() for line in lines if line.lstrip().startswith("{")]


def test_parts_before_a_cut_are_not_joined_to_what_was_written_after_it() -> None:
    before = unwrap("cri", memoryview(f'{TIME} stdout P {{"old":\n'.encode()), 0, None).pending

    after = unwrap("cri", memoryview(cri('{"new":1}')[0]), 0, before)

    assert before is not None
    assert (after.data, after.pending) == (b'{"new":1}\n', None)


def test_pending_parts_are_kept_with_the_cursor() -> None:
    pending = Pending(7, 20, b"\xff{", 2)
    cursor = Cursor(key=1, path="p", device=1, inode=2, offset=20, size=20, pending=pending)

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(cursor), type=Cursor) == cursor
