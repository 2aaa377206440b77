"""Packed files among the rotated ones: the same stream goes on in them, whole, in pieces or broken."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from logproc.tailing.packed import PackedStream, kind_of, looks_packed
from tests.tailing.reader import Reader, numbered, numbers

PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.jsonl"


@pytest.fixture
def reader(log: Path) -> Reader:
    return Reader([str(log)])


def old(path: Path) -> None:
    """Nobody is writing to the file any more."""
    os.utime(path, (1e9, 1e9))


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("down", [True, False])
def test_a_file_rotated_and_packed_before_it_was_read_goes_on_in_the_packed_one(
    log: Path, reader: Reader, ending: str, down: bool
) -> None:
    log.write_bytes(numbered(range(100)))
    assert numbers(reader.lines()) == list(range(100))
    with log.open("ab") as file:
        file.write(numbered(range(100, 150)))
    packed = Path(f"{log}.1{ending}")
    packed.write_bytes(PACKERS[ending](log.read_bytes()))
    if down:
        old(packed)
        log.unlink()
        reader.kill_and_start()
        found = numbers(reader.lines())
    else:
        reader.follower.close()  # as if it had not been open
        log.unlink()
        found = numbers(reader.lines())
        reader.pass_time(2)
        found += numbers(reader.lines())
    assert found == list(range(100, 150))
    reader.pass_time(100)
    assert reader.lines() == []
    reader.kill_and_start()
    assert reader.lines() == []
    assert reader.cursor(packed).finished
    assert not reader.lost


def test_a_file_and_its_packed_copy_count_once_while_both_are_there(log: Path, reader: Reader) -> None:
    log.write_bytes(numbered(range(100)))
    packed = Path(f"{log}.1.gz")
    packed.write_bytes(gzip.compress(log.read_bytes()))
    old(packed)
    assert numbers(reader.lines()) == list(range(100))
    log.unlink()
    for _ in range(5):
        reader.pass_time(30)
        assert reader.lines() == []
    assert not reader.lost


def test_packed_files_never_seen_before_are_read_whole(log: Path, reader: Reader) -> None:
    for number, ending in enumerate(PACKERS):
        path = Path(f"{log}.{number}{ending}")
        path.write_bytes(PACKERS[ending](numbered([number])) + PACKERS[ending](numbered([10 + number])))
        old(path)
    assert sorted(numbers(reader.lines())) == [0, 1, 10, 11]
    assert reader.events["finished"] == 2


def test_the_last_line_of_a_packed_file_needs_no_newline(log: Path, reader: Reader) -> None:
    packed = Path(f"{log}.1.gz")
    packed.write_bytes(gzip.compress(b"one\nlast"))
    old(packed)
    assert reader.lines() == [b"one", b"last"]


def test_a_packed_file_is_left_alone_until_its_packer_is_done(log: Path, reader: Reader) -> None:
    data = gzip.compress(numbered(range(2000)))
    packed = Path(f"{log}.1.gz")
    for cut in (5, 2000, len(data)):
        packed.write_bytes(data[:cut])
        reader.pass_time(0.9)
        assert reader.lines() == []
        assert not reader.follower.caught_up
    reader.pass_time(1.1)
    assert numbers(reader.lines()) == list(range(2000))
    assert reader.follower.caught_up


def test_packed_files_keep_their_place_when_they_are_rotated_on(log: Path, reader: Reader) -> None:
    first = Path(f"{log}.1.gz")
    first.write_bytes(gzip.compress(numbered([1])))
    old(first)
    assert numbers(reader.lines()) == [1]
    first.rename(f"{log}.2.gz")
    assert reader.lines() == []
    reader.kill_and_start()
    assert reader.lines() == []


def test_a_member_appended_to_a_packed_file_is_read_on(log: Path, reader: Reader) -> None:
    packed = Path(f"{log}.1.gz")
    packed.write_bytes(gzip.compress(numbered([1])))
    old(packed)
    assert numbers(reader.lines()) == [1]
    with packed.open("ab") as file:
        file.write(gzip.compress(numbered([2])))
    assert numbers(reader.lines()) == [2]


def test_a_crash_in_the_middle_of_a_packed_file_goes_on_behind_the_commit(log: Path, reader: Reader) -> None:
    packed = Path(f"{log}.1.gz")
    packed.write_bytes(gzip.compress(numbered(range(10_000))))
    old(packed)
    reader.follower.look()
    block = reader.follower.read()
    assert block is not None
    first = numbers(bytes(block.data).splitlines())
    reader.commit()
    reader.kill_and_start()
    assert first + numbers(reader.lines()) == list(range(10_000))


@pytest.mark.parametrize("ending", PACKERS)
def test_of_a_broken_packed_file_what_can_be_read_is_read_and_the_rest_is_lost_by_name(
    log: Path, reader: Reader, ending: str
) -> None:
    whole = numbered(range(20_000))
    data = PACKERS[ending](whole) + PACKERS[ending](b"")[:4] + b"\xff" * 64
    packed = Path(f"{log}.1{ending}")
    packed.write_bytes(data)
    old(packed)
    assert numbers(reader.lines()) == list(range(20_000))
    reader.pass_time(61)
    assert reader.lines() == []
    assert [name for name, _ in reader.lost] == [str(packed)]
    assert reader.lost[0][1] > 0
    reader.kill_and_start()
    assert reader.lines() == []


def test_at_a_first_start_at_the_end_packed_files_are_only_remembered(log: Path) -> None:
    packed = Path(f"{log}.1.gz")
    packed.write_bytes(gzip.compress(numbered(range(100))))
    old(packed)
    reader = Reader([str(log)], start="end")
    assert reader.lines() == []
    assert reader.cursor(packed).finished
    other = packed.with_name("other")
    other.write_bytes(packed.read_bytes())
    packed.unlink()
    other.rename(f"{log}.2.gz")
    old(Path(f"{log}.2.gz"))
    reader.kill_and_start()
    assert reader.lines() == []


def test_one_with_the_same_beginning_but_another_content_is_read_from_its_beginning(log: Path, reader: Reader) -> None:
    head = numbered(range(20))
    log.write_bytes(head + numbered(range(20, 100)))
    reader.lines()
    log.unlink()
    reader.kill_and_start()
    packed = Path(f"{log}.1.gz")
    packed.write_bytes(gzip.compress(head + numbered(range(500, 600))))
    old(packed)
    assert numbers(reader.lines()) == [*range(20), *range(500, 600)]


def test_less_than_was_read_in_a_packed_file_is_an_older_part_and_left_alone(log: Path, reader: Reader) -> None:
    log.write_bytes(numbered(range(100)))
    reader.lines()
    log.unlink()
    reader.kill_and_start()
    packed = Path(f"{log}.1.gz")
    packed.write_bytes(gzip.compress(numbered(range(60))))
    old(packed)
    for _ in range(4):
        assert reader.lines() == []
        reader.pass_time(30)
    packed.write_bytes(gzip.compress(numbered(range(110))))
    old(packed)
    assert numbers(reader.lines()) == list(range(100, 110))


def test_a_bomb_is_unpacked_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zst"
    path.write_bytes(zstandard.compress(b"x" * (1 << 28)))
    fd = os.open(path, os.O_RDONLY)
    stream = PackedStream(fd, "zstd")
    tracemalloc.start()
    assert stream.fill(1 << 40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    os.close(fd)
    assert stream.length == 1 << 28
    assert peak < 120 << 20


def test_the_first_bytes_tell_how_a_file_is_packed_the_name_only_that_it_will_be() -> None:
    assert kind_of(gzip.compress(b"")) == "gzip"
    assert kind_of(zstandard.compress(b"x")) == "zstd"
    assert kind_of(b'{"time"') is None
    assert looks_packed("/logs/access.jsonl.1.gz")
    assert not looks_packed("/logs/access.jsonl.1")


@pytest.mark.parametrize("ending", PACKERS)
def test_a_packed_file_that_holds_more_than_an_older_copy_beside_it_is_read_from_there(
    log: Path, reader: Reader, ending: str
) -> None:
    Path(f"{log}.bak").write_bytes(numbered(range(30)))
    assert numbers(reader.lines()) == list(range(30))
    packed = Path(f"{log}.1{ending}")
    packed.write_bytes(PACKERS[ending](numbered(range(40))))
    old(packed)
    assert numbers(reader.lines()) == list(range(30, 40))
    reader.kill_and_start()
    assert reader.lines() == []


def test_a_longer_packed_file_that_only_begins_like_one_beside_it_is_read_from_its_beginning(
    log: Path, reader: Reader
) -> None:
    Path(f"{log}.bak").write_bytes(numbered(range(90)))
    reader.lines()
    packed = Path(f"{log}.1.gz")
    packed.write_bytes(gzip.compress(numbered([*range(20), *range(500, 600)])))
    old(packed)
    assert numbers(reader.lines()) == [*range(20), *range(500, 600)]


def test_more_packed_files_than_descriptors_are_all_read(log: Path, reader: Reader) -> None:
    reader.follower._streams._open_limit = 1
    for number in range(4):
        path = Path(f"{log}.{number}.gz")
        path.write_bytes(gzip.compress(numbered(range(10_000 * number, 10_000 * number + 9000))))
        old(path)
    assert len(reader.lines()) == 4 * 9000
