"""Framing: every whole line once, at its offset, whatever its length and however it arrived."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.record import MAX_LINE
from logproc.tailing import lines
from logproc.tailing.block import TooLong
from logproc.tailing.identity import digest
from logproc.tailing.lines import ContentChangedError, Framer, ReadAt, Spot


class Bytes:
    """A stream in memory that counts how much is asked of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = 0

    def read(self, buffers: list[bytearray | memoryview], offset: int) -> int:
        done = 0
        for buffer in buffers:
            piece = self.data[offset + done : offset + done + len(buffer)]
            buffer[: len(piece)] = piece
            done += len(piece)
        self.asked += done
        return done


def take_all(
    data: bytes, *, block: int = 64, rest: bool = False, spot: Spot | None = None
) -> list[tuple[int, bytes | TooLong]]:
    stream, framer, spot = Bytes(data), Framer(block), spot or Spot()
    got: list[tuple[int, bytes | TooLong]] = []
    while True:
        at = spot.offset
        taken = framer.take(stream.read, spot, len(data), rest=rest)
        if taken is None:
            assert spot.scanned == len(data)
            return got
        got.append((at, taken if isinstance(taken, TooLong) else bytes(taken)))


def test_whole_lines_are_taken_and_a_half_one_waits() -> None:
    assert take_all(b"one\ntwo\nhal") == [(0, b"one\ntwo\n")]


def test_the_last_line_without_newline_is_taken_when_it_is_asked_for() -> None:
    assert take_all(b"one\nhal", rest=True) == [(0, b"one\n"), (4, b"hal")]


def test_a_line_longer_than_a_block_comes_in_one_block_of_its_own() -> None:
    long = b"x" * 200 + b"\n"
    assert take_all(b"one\n" + long + b"two\n") == [(0, b"one\n"), (4, long), (205, b"two\n")]


def test_a_line_of_exactly_the_greatest_length_is_taken() -> None:
    line = b"x" * MAX_LINE + b"\n"
    assert take_all(line, block=65536) == [(0, line)]


def test_a_longer_line_is_passed_over_with_its_offset_its_length_and_its_beginning() -> None:
    head = bytes(range(256)).replace(b"\n", b"") * 17
    line = head + b"x" * (MAX_LINE + 1 - len(head))
    got = take_all(b"one\n" + line + b"\ntwo\n", block=65536)
    assert got == [
        (0, b"one\n"),
        (4, TooLong(4, MAX_LINE + 1, line[:4096])),
        (4 + MAX_LINE + 2, b"two\n"),
    ]


def test_a_longer_last_line_without_newline_is_passed_over_too() -> None:
    assert take_all(b"x" * (MAX_LINE + 5), block=65536, rest=True) == [(0, TooLong(0, MAX_LINE + 5, b"x" * 4096))]


def test_a_very_long_line_is_looked_through_once_in_turns_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "TURN", 4 * MAX_LINE)
    data = b"x" * (10 * MAX_LINE) + b"\nend\n"
    stream, framer, spot = Bytes(data), Framer(65536), Spot()
    turns = 0
    while framer.take(stream.read, spot, len(data)) is None:
        turns += 1
    assert turns == 2
    assert stream.asked < len(data) + 2 * MAX_LINE


def test_a_half_line_that_grows_is_not_looked_through_again_and_again() -> None:
    stream, framer, spot = Bytes(b""), Framer(4096), Spot()
    for _ in range(1000):
        stream.data += b"x" * 100
        assert framer.take(stream.read, spot, len(stream.data)) is None
    assert stream.asked == len(stream.data)
    stream.data += b"\n"
    assert framer.take(stream.read, spot, len(stream.data)) == memoryview(stream.data)


@pytest.mark.parametrize("first", [b"", b"one", b"x" * 300, b"x" * MAX_LINE, b"x" * (MAX_LINE + 9)])
def test_the_first_line_is_known_by_its_digest_cut_at_the_greatest_length(first: bytes) -> None:
    stream, spot = Bytes(first + b"\ntwo\n"), Spot()
    while Framer(64).take(stream.read, spot, len(stream.data)) is None:
        pass
    assert spot.first_line == digest(first[:MAX_LINE]) == lines.first_line(stream.read)


def test_a_first_line_without_an_end_is_not_known() -> None:
    assert lines.first_line(Bytes(b"half").read) == b""


def test_other_bytes_before_the_offset_are_noticed_at_the_next_read() -> None:
    stream, framer, spot = Bytes(b"one\ntwo\n"), Framer(), Spot()
    framer.take(stream.read, spot, 4)
    stream.data = b"One\ntwo\n"
    with pytest.raises(ContentChangedError):
        framer.take(stream.read, spot, 8)


def test_a_file_that_became_shorter_than_the_offset_is_noticed() -> None:
    stream, framer, spot = Bytes(b"one\ntwo\n"), Framer(), Spot()
    framer.take(stream.read, spot, 8)
    stream.data = b"o"
    with pytest.raises(ContentChangedError):
        framer.take(stream.read, spot, 16)


def test_another_beginning_is_noticed_before_anything_was_read() -> None:
    stream, spot = Bytes(b"other\n"), Spot(head=b"one\n")
    with pytest.raises(ContentChangedError):
        Framer().take(stream.read, spot, 6)
    assert spot.offset == 0


@settings(max_examples=200)
@given(
    data=st.lists(st.binary(max_size=90), max_size=30).map(b"\n".join),
    block=st.integers(8, 100),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)
def test_whatever_the_pieces_the_whole_lines_come_once_and_in_order(data: bytes, block: int, cuts: list[int]) -> None:
    stream, framer, spot, got = Bytes(b""), Framer(block), Spot(), b""
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        stream.data = data[:cut]
        while (taken := framer.take(stream.read, spot, cut)) is not None:
            assert not isinstance(taken, TooLong)
            got += taken
    assert got == data[: data.rfind(b"\n") + 1]
    assert spot.offset == len(got)


def test_a_real_file_is_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.write_bytes(b"one\ntwo\n")
    fd = os.open(path, os.O_RDONLY)
    read: ReadAt = lines.file_reader(fd)
    try:
        assert Framer().take(read, Spot(offset=4), 8) == memoryview(b"two\n")
        assert lines.read_bytes(read, 2, 100) == b"e\ntwo\n"
    finally:
        os.close(fd)
