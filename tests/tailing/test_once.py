"""Reading one file to its end: plain, packed, broken, as a pipe, in ranges."""

from __future__ import annotations

import gzip
import itertools
import os
import threading
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.record import MAX_LINE
from logproc.tailing.identity import digest
from logproc.tailing.once import blocks, unreadable

LINES = b"".join(b'{"n":%d,"pad":"%s"}\n' % (number, b"x" * (number % 300)) for number in range(3000))


def read(path: Path | str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(bytes(block.data) for block in blocks(str(path), start=start, end=end))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "access.jsonl"
    path.write_bytes(LINES)
    return path


def test_a_plain_file_comes_whole_with_its_offsets(plain: Path) -> None:
    at = 0
    for block in blocks(str(plain), size=10_000):
        assert (block.start, block.end) == (at, at + len(block.data))
        assert block.data == LINES[at : block.end]
        assert block.first_line == digest(LINES[: LINES.index(b"\n")])
        assert block.source == str(plain)
        at = block.end
    assert at == len(LINES)


def test_the_last_line_without_newline_is_included(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo")
    assert read(path) == b"one\ntwo"


def test_an_empty_file_has_no_blocks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    assert list(blocks(str(path))) == []


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_files_are_read_unpacked_all_members(tmp_path: Path, pack: object, members: int) -> None:
    assert callable(pack)
    path = tmp_path / "log.packed"
    cut = len(LINES) // members
    path.write_bytes(
        b"".join(pack(LINES[i * cut : (i + 1) * cut]) for i in range(members)) + pack(LINES[members * cut :])
    )
    assert read(path) == LINES
    assert unreadable(str(path)) == 0


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_of_a_packed_file_that_was_cut_what_can_be_read_is_read(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    path = tmp_path / "log.packed"
    noise = b"".join(os.urandom(60).hex().encode() + b"\n" for _ in range(20_000))
    packed = pack(noise)
    path.write_bytes(packed[: len(packed) // 2])
    got = read(path)
    assert noise.startswith(got)
    assert len(got) > len(noise) // 4


def test_what_is_broken_in_a_packed_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"one\n") + b"\x1f\x8b\x08 this is not gzip at all")
    assert read(path) == b"one\n"
    assert unreadable(str(path)) > 0


def test_a_line_of_three_mebibytes_is_passed_over_in_packed_files_too(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"one\n" + b"y" * (3 * MAX_LINE) + b"\ntwo\n"))
    got = list(blocks(str(path)))
    assert [(block.start, block.end) for block in got] == [
        (0, 4),
        (4, 5 + 3 * MAX_LINE),
        (5 + 3 * MAX_LINE, 9 + 3 * MAX_LINE),
    ]
    assert got[1].too_long[0].length == 3 * MAX_LINE
    assert got[1].too_long[0].head == b"y" * 4096


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(LINES + b"last"))
    writer.start()
    assert read(path) == LINES + b"last"
    writer.join()


def test_ranges_of_what_cannot_be_read_in_place_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"one\n"))
    with pytest.raises(ValueError, match="no byte ranges"):
        read(path, start=2)


@settings(max_examples=100)
@given(data=st.lists(st.text(max_size=30), max_size=40), cuts=st.lists(st.integers(0, 1300), max_size=5))
def test_ranges_that_meet_share_no_line_and_leave_none_out(
    tmp_path_factory: pytest.TempPathFactory, data: list[str], cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("ranges") / "log"
    whole = "\n".join(data).encode()
    path.write_bytes(whole)
    edges = [0, *sorted(cuts), max([*cuts, len(whole)]) + 1]
    parts = [read(path, start=start, end=end) for start, end in itertools.pairwise(edges)]
    assert b"".join(parts) == whole
    for border in itertools.accumulate(len(part) for part in parts):
        assert border in (0, len(whole)) or whole[:border].endswith(b"\n")


def test_each_range_knows_the_first_line_of_the_file(plain: Path) -> None:
    first = digest(LINES[: LINES.index(b"\n")])
    assert {block.first_line for block in blocks(str(plain), start=50_000, end=90_000)} == {first}
