"""Following files: each way in which a log file grows, moves, shrinks, comes and goes."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from logproc.tailing import streams as streams_module
from logproc.tailing.source import Source, open_source
from tests.tailing.reader import Reader, numbered, numbers


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.jsonl"


@pytest.fixture
def reader(log: Path) -> Reader:
    return Reader([str(log)])


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


# --- growth ----------------------------------------------------------------------------------------------------------


def test_lines_are_read_once_as_they_are_appended(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    assert reader.lines() == [b"one"]
    append(log, b"two\nthree\n")
    assert reader.lines() == [b"two", b"three"]
    assert reader.lines() == []


def test_a_half_line_waits_for_its_end_for_hours(log: Path, reader: Reader) -> None:
    append(log, b"one\nha")
    assert reader.lines() == [b"one"]
    reader.pass_time(6 * 3600)
    assert reader.lines() == []
    assert reader.follower.caught_up
    reader.kill_and_start()
    append(log, b"lf\n")
    assert reader.lines() == [b"half"]


def test_a_character_or_an_escape_split_between_two_writes_is_put_together(log: Path, reader: Reader) -> None:
    line = '{"model":"深\\u6df1"}'.encode()
    for cut in range(1, len(line)):
        append(log, line[:cut])
        assert reader.lines() == []
        append(log, line[cut:] + b"\n")
        assert reader.lines() == [line]


def test_a_restart_goes_on_where_the_last_commit_was(log: Path, reader: Reader) -> None:
    append(log, numbered(range(10)))
    assert numbers(reader.lines()) == list(range(10))
    append(log, numbered(range(10, 20)))
    assert numbers(reader.lines(commit=False)) == list(range(10, 20))
    reader.kill_and_start()
    assert numbers(reader.lines()) == list(range(10, 20))


def test_a_file_that_is_made_later_is_read_from_its_beginning(log: Path, reader: Reader) -> None:
    assert reader.lines() == []
    append(log, b"one\n")
    assert reader.lines() == [b"one"]


def test_a_directory_that_does_not_exist_yet_is_found_when_it_is_made(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "er" / "access.jsonl"
    reader = Reader([str(log)])
    assert reader.lines() == []
    log.parent.mkdir(parents=True)
    append(log, b"one\n")
    assert reader.lines() == [b"one"]


def test_an_overlong_line_is_passed_over_and_the_lines_around_it_are_read(log: Path, reader: Reader) -> None:
    append(log, b"one\n" + b"x" * 3_000_000 + b"\ntwo\n")
    assert reader.lines() == [b"one", b"two"]
    assert [(line.offset, line.length) for line in reader.long] == [(4, 3_000_000)]


# --- rotation --------------------------------------------------------------------------------------------------------


def test_a_renamed_file_is_read_to_its_end_while_its_writer_keeps_it_open(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    with log.open("ab") as old_writer:
        assert reader.lines() == [b"one"]
        log.rename(f"{log}.1")
        append(log, b"new\n")
        old_writer.write(b"late\n")
        old_writer.flush()
        assert sorted(reader.lines()) == [b"late", b"new"]
    assert reader.events["rotated"] == 1


def test_ten_renames_between_two_looks_lose_nothing(log: Path, reader: Reader) -> None:
    append(log, numbered([0]))
    assert numbers(reader.lines()) == [0]
    for number in range(10):
        append(log, numbered([2 * number + 1]))
        for old in range(number, 0, -1):
            Path(f"{log}.{old}").rename(f"{log}.{old + 1}")
        log.rename(f"{log}.1")
        append(log, numbered([2 * number + 2]))
    assert sorted(numbers(reader.lines())) == list(range(1, 21))


def test_a_file_born_and_rotated_while_we_were_down_is_read(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    assert reader.lines() == [b"one"]
    log.rename(f"{log}.2")
    Path(f"{log}.1").write_bytes(b"two\n")
    log.write_bytes(b"three\n")
    reader.kill_and_start()
    assert sorted(reader.lines()) == [b"three", b"two"]


@pytest.mark.parametrize("name", ["access.jsonl.1", "access.jsonl-20261121", "access-20261121.jsonl"])
def test_every_usual_name_of_a_rotated_file_is_known(log: Path, reader: Reader, name: str) -> None:
    append(log, b"one\n")
    log.rename(log.with_name(name))
    append(log, b"two\n")
    assert sorted(reader.lines()) == [b"one", b"two"]


def test_copytruncate_finishes_the_copy_first_known_or_not(log: Path, reader: Reader) -> None:
    append(log, numbered(range(50)))
    assert numbers(reader.lines()) == list(range(50))
    append(log, numbered(range(50, 60)))
    shutil.copyfile(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, numbered(range(60, 65)))
    assert sorted(numbers(reader.lines())) == list(range(50, 65))
    assert reader.events["truncated"] == 1
    assert not reader.lost


def test_copytruncate_that_was_refilled_beyond_the_old_offset_is_noticed(log: Path, reader: Reader) -> None:
    append(log, numbered(range(50)))
    reader.lines()
    append(log, numbered(range(50, 60)))
    shutil.copyfile(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, numbered(range(100, 200)))
    assert sorted(numbers(reader.lines())) == [*range(50, 60), *range(100, 200)]


def test_copytruncate_while_we_were_down_is_noticed(log: Path, reader: Reader) -> None:
    append(log, numbered(range(50)))
    reader.lines()
    append(log, numbered(range(50, 60)))
    shutil.copyfile(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, numbered(range(100, 200)))
    reader.kill_and_start()
    assert sorted(numbers(reader.lines())) == [*range(50, 60), *range(100, 200)]


def test_a_file_rewritten_in_place_behind_its_head_is_read_anew(log: Path, reader: Reader) -> None:
    head = numbered(range(20))
    append(log, head + numbered(range(20, 90)))
    reader.lines()
    with log.open("r+b") as file:
        file.truncate(len(head))
        file.seek(0, os.SEEK_END)
        file.write(numbered(range(500, 600)))
    assert numbers(reader.lines()) == [*range(20), *range(500, 600)]
    assert reader.events["rewritten"] == 1


def test_a_file_refilled_to_exactly_its_old_length_is_noticed(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    assert reader.lines() == [b"one"]
    log.write_bytes(b"two\n")
    assert reader.lines() == [b"two"]
    assert reader.events["truncated"] == 1


def test_a_file_replaced_by_a_shorter_one_is_new(log: Path, reader: Reader) -> None:
    append(log, numbered(range(50)))
    reader.lines()
    other = log.with_name("elsewhere")
    other.write_bytes(numbered([99]))
    other.rename(log)
    assert numbers(reader.lines()) == [99]


def test_a_file_saved_by_an_editor_goes_on(log: Path, reader: Reader) -> None:
    append(log, numbered(range(50)))
    reader.lines()
    other = log.with_name("elsewhere")
    shutil.copyfile(log, other)
    other.rename(log)
    append(log, numbered([50]))
    reader.lines()
    reader.pass_time(2)
    assert numbers(reader.lines()) == [50] or reader.cursor(log).offset == log.stat().st_size


def test_a_copy_is_left_alone_whenever_it_is_made(log: Path, reader: Reader) -> None:
    append(log, numbered(range(50)))
    shutil.copyfile(log, f"{log}.bak")
    assert numbers(reader.lines()) == list(range(50))
    append(log, numbered(range(50, 60)))
    shutil.copyfile(log, f"{log}.bak2")
    assert numbers(reader.lines()) == list(range(50, 60))
    reader.kill_and_start()
    assert reader.lines() == []


def test_a_copy_that_goes_on_while_the_original_stands_still_is_read_on(log: Path, reader: Reader) -> None:
    append(log, numbered(range(50)))
    reader.lines()
    copy = log.with_name("access.jsonl.new")
    shutil.copyfile(log, copy)
    reader.lines()
    append(copy, numbered([50]))
    assert numbers(reader.lines()) == [50]


def test_a_copy_still_in_progress_is_not_taken_for_a_new_file(log: Path, reader: Reader) -> None:
    data = numbered(range(50))
    append(log, data)
    reader.lines()
    copy = Path(f"{log}.bak")
    for cut in (10, 200, 1500, len(data)):
        copy.write_bytes(data[:cut])
        assert reader.lines() == []


def test_two_files_with_the_same_beginning_are_both_read(tmp_path: Path) -> None:
    reader = Reader([str(tmp_path / "*.jsonl")])
    head = numbered(range(20))
    append(tmp_path / "a.jsonl", head + numbered([100]))
    append(tmp_path / "b.jsonl", head + numbered([200]))
    found = numbers(reader.lines())
    assert 100 in found
    assert 200 in found


# --- identity --------------------------------------------------------------------------------------------------------


def test_a_reused_inode_with_lines_of_equal_length_is_another_file(log: Path, reader: Reader) -> None:
    append(log, numbered(range(100)))
    reader.lines()
    inode = log.stat().st_ino
    with log.open("r+b") as file:  # what a new file in the old inode looks like
        file.write(numbered(range(1000, 1200)))
    assert log.stat().st_ino == inode
    reader.kill_and_start()
    assert numbers(reader.lines()) == list(range(1000, 1200))


def test_what_a_reused_inode_left_unread_is_counted_as_lost_with_its_name(log: Path, reader: Reader) -> None:
    append(log, numbered(range(100)))
    reader.follower.look()
    reader.commit()
    with log.open("r+b") as file:
        file.write(numbered(range(1000, 1100)))
    reader.kill_and_start()
    assert numbers(reader.lines()) == list(range(1000, 1100))
    reader.pass_time(61)
    reader.lines()
    assert reader.lost == [(str(log), len(numbered(range(100))))]


def test_a_file_known_under_another_device_number_goes_on(log: Path, reader: Reader) -> None:
    append(log, numbered(range(100)))
    reader.lines()
    for cursor in reader.database.values():
        cursor.device += 1  # as after a reboot
    reader.kill_and_start()
    append(log, numbered([100]))
    assert numbers(reader.lines()) == [100]


def test_a_switched_symlink_is_followed_and_the_old_target_read_to_its_end(tmp_path: Path) -> None:
    link = tmp_path / "current.jsonl"
    first, second = tmp_path / "data" / "a.jsonl", tmp_path / "data" / "b.jsonl"
    first.parent.mkdir()
    reader = Reader([str(link)])
    append(first, b"one\n")
    link.symlink_to(first)
    assert reader.lines() == [b"one"]
    append(first, b"two\n")
    append(second, b"three\n")
    link.unlink()
    link.symlink_to(second)
    assert sorted(reader.lines()) == [b"three", b"two"]
    assert {cursor.path for cursor in reader.database.values()} == {str(first), str(second)}


def test_a_symlink_switched_while_we_were_down_loses_nothing(tmp_path: Path) -> None:
    link = tmp_path / "current.jsonl"
    first, second = tmp_path / "data" / "a.jsonl", tmp_path / "data" / "b.jsonl"
    first.parent.mkdir()
    reader = Reader([str(link)])
    append(first, b"one\n")
    link.symlink_to(first)
    reader.lines()
    append(first, b"two\n")
    append(second, b"three\n")
    link.unlink()
    link.symlink_to(second)
    reader.kill_and_start()
    assert sorted(reader.lines()) == [b"three", b"two"]


def test_rotation_behind_a_symlink_is_seen_as_container_runtimes_do_it(tmp_path: Path) -> None:
    pods, links = tmp_path / "pods", tmp_path / "containers"
    pods.mkdir()
    links.mkdir()
    log = pods / "0.log"
    (links / "pod.log").symlink_to(log)
    reader = Reader([str(links / "*.log")])
    append(log, b"one\n")
    assert reader.lines() == [b"one"]
    append(log, b"two\n")
    log.rename(pods / "0.log.20261121-120000")
    append(log, b"three\n")
    reader.kill_and_start()
    assert sorted(reader.lines()) == [b"three", b"two"]


def test_a_symlink_to_itself_is_no_file(tmp_path: Path) -> None:
    loop = tmp_path / "access.jsonl"
    loop.symlink_to(loop)
    assert Reader([str(loop)]).lines() == []


def test_a_file_that_several_globs_and_links_lead_to_is_read_once(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    append(log, b"one\n")
    (tmp_path / "link.jsonl").symlink_to(log)
    os.link(log, tmp_path / "hard.jsonl")
    reader = Reader([str(log), str(tmp_path / "*.jsonl"), str(tmp_path / "acc*"), str(tmp_path / "**")])
    assert reader.lines() == [b"one"]


def test_a_file_that_vanishes_and_comes_back_goes_on(log: Path, reader: Reader) -> None:
    append(log, numbered(range(10)))
    reader.lines()
    away = log.parent.parent / f"{log.parent.name}-away"
    log.rename(away)
    reader.lines()
    reader.kill_and_start()
    reader.pass_time(600)
    reader.lines()
    append(away, numbered([10]))
    away.rename(log)
    assert numbers(reader.lines()) == [10]


def test_a_file_with_holes_of_zeros_from_a_writer_that_does_not_append_is_read_anew(log: Path, reader: Reader) -> None:
    with log.open("wb", buffering=0) as writer:
        writer.write(numbered(range(10)))
        assert numbers(reader.lines()) == list(range(10))
        os.truncate(log, 0)
        writer.write(b"after\n")  # at the old position: zeros before it
    (line,) = reader.lines()
    assert line == b"\0" * len(numbered(range(10))) + b"after"


# --- what ends -------------------------------------------------------------------------------------------------------


def test_a_deleted_file_is_read_to_its_end_through_the_open_descriptor(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    reader.lines()
    append(log, b"two\n")
    log.unlink()
    assert reader.lines() == [b"two"]
    reader.pass_time(61)
    reader.lines()
    assert not reader.lost
    assert reader.events["finished"] == 1


def test_a_file_deleted_while_we_were_down_is_lost_by_name_and_bytes(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    reader.follower.look()
    reader.commit()
    log.unlink()
    reader.kill_and_start()
    reader.lines()
    assert not reader.lost, "it may still come back"
    reader.pass_time(61)
    reader.lines()
    assert reader.lost == [(str(log), 4)]
    assert reader.events["lost"] == 1


def test_the_last_line_of_a_rotated_file_is_taken_after_a_minute_without_growth(log: Path, reader: Reader) -> None:
    append(log, b"one\nhalf")
    reader.lines()
    log.rename(f"{log}.1")
    reader.lines()
    reader.pass_time(59)
    assert reader.lines() == []
    reader.pass_time(2)
    assert reader.lines() == [b"half"]
    assert reader.cursor(Path(f"{log}.1")).finished
    assert reader.events["finished"] == 1


def test_a_finished_file_that_grows_after_all_is_read_on(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    reader.lines()
    log.rename(f"{log}.1")
    reader.lines()
    reader.pass_time(61)
    reader.lines()
    append(Path(f"{log}.1"), b"two\n")
    assert reader.lines() == [b"two"]
    assert not reader.cursor(Path(f"{log}.1")).finished


def test_cursors_of_files_that_are_gone_for_a_week_are_dropped(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    reader.lines()
    log.unlink()
    reader.lines()
    for _ in range(2):
        reader.pass_time(61)
        reader.lines()
    assert len(reader.database) == 1
    reader.pass_time(7 * 86_400)
    reader.lines()
    assert reader.database == {}


def test_the_cursor_of_a_finished_file_stays_while_a_copy_of_it_lies_there(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    reader.lines()
    shutil.copyfile(log, f"{log}.bak")
    os.truncate(log, 0)
    append(log, b"two\n")
    reader.lines()
    for _ in range(20):
        reader.pass_time(86_400)
        assert reader.lines() == []
    reader.kill_and_start()
    assert reader.lines() == []


# --- start -----------------------------------------------------------------------------------------------------------


def test_the_first_start_at_the_end_remembers_everything_and_reads_what_comes(log: Path) -> None:
    append(log, numbered(range(3)) + b"hal")
    append(Path(f"{log}.1"), b"old\n")
    reader = Reader([str(log)], start="end")
    assert reader.lines() == []
    append(log, b"f\nnew\n")
    append(log.with_name("access.jsonl.0"), b"unknown\n")
    assert sorted(reader.lines()) == [b"half", b"new", b"unknown"]


def test_start_counts_for_the_first_start_alone(log: Path) -> None:
    reader = Reader([str(log)], start="end")
    reader.lines()
    append(log, b"one\n")
    reader.kill_and_start()
    assert reader.lines() == [b"one"]


def test_start_positions_can_be_committed_before_the_first_byte_is_read(log: Path) -> None:
    append(log, b"one\n")
    reader = Reader([str(log)], start="end")
    reader.follower.look()
    reader.commit()
    append(log, b"two\n")
    reader.kill_and_start()
    assert reader.lines() == [b"two"]


def test_what_lies_there_at_the_first_start_is_read_oldest_first(log: Path, reader: Reader) -> None:
    for age, name in enumerate(["access.jsonl.1", "access.jsonl.2", "access.jsonl.3"]):
        append(log.with_name(name), name[-1:].encode() + b"\n")
        os.utime(log.with_name(name), (1e9 - age, 1e9 - age))
    assert reader.lines() == [b"3", b"2", b"1"]


# --- commit ----------------------------------------------------------------------------------------------------------


def test_nothing_is_to_be_committed_when_nothing_happened(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    reader.lines()
    reader.follower.look()
    assert reader.follower.changed() == []


def test_what_was_read_after_changed_stays_to_be_committed(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    reader.lines()
    append(log, b"two\n")
    reader.follower.look()
    reader.follower.changed()
    reader.follower.read()
    reader.follower.settled()
    assert [cursor.offset for cursor in reader.follower.changed()] == [8]


def test_lag_is_what_is_not_committed_and_since_when(log: Path, reader: Reader) -> None:
    append(log, b"one\n")
    reader.lines()
    assert reader.follower.lag() == (0, 0.0)
    append(log, b"two\n")
    reader.follower.look()
    reader.pass_time(5)
    append(log, b"three\n")
    reader.follower.look()
    assert reader.follower.lag() == (10, 5.0)
    reader.pass_time(1)
    reader.follower.read()
    assert reader.follower.lag() == (10, 6.0)
    reader.commit()
    assert reader.follower.lag() == (0, 0.0)


def test_the_beginning_of_a_line_is_no_lag(log: Path, reader: Reader) -> None:
    append(log, b"one\nhalf")
    reader.lines()
    assert reader.follower.lag() == (0, 0.0)


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "EIO"), OSError(116, "ESTALE")])
def test_a_file_that_cannot_be_opened_is_tried_again_and_told_once(
    log: Path, reader: Reader, error: OSError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(path: str) -> Source:
        raise error

    append(log, b"one\n")
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(streams_module, "open_source", fails)
        for _ in range(5):
            assert reader.lines() == []
            reader.pass_time(61)
    assert len(caplog.records) == 1
    assert reader.lines() == [b"one"]
    assert not reader.lost


def test_a_file_that_cannot_be_read_for_a_while_is_read_later(
    log: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def opened(path: str) -> Source:
        source = open_source(path)
        read = source.read

        def sometimes(buffers: list[bytearray | memoryview], offset: int) -> int:
            if broken:
                raise OSError(5, "Input/output error")
            return read(buffers, offset)

        source.read = sometimes
        return source

    monkeypatch.setattr(streams_module, "open_source", opened)
    append(log, b"one\n")
    reader.lines()
    broken = False
    append(log, b"two\n")
    assert reader.lines() == [b"one", b"two"]


def test_a_directory_that_cannot_be_listed_for_a_while_loses_nothing(
    log: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, b"one\n")
    reader.lines()
    append(log, b"two\n")
    reader.kill_and_start()
    real = os.scandir

    def fails(path: str) -> object:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fails)
        for _ in range(3):
            reader.lines()
            reader.pass_time(61)
    assert os.scandir is real
    assert reader.lines() == [b"two"]
    assert not reader.lost


def test_more_files_than_descriptors_are_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader([str(tmp_path / "*.jsonl")])
    reader.follower._streams._open_limit = 4
    most = 0

    def counted(path: str) -> Source:
        nonlocal most
        most = max(most, len(reader.follower._streams._open) + 1)
        return open_source(path)

    monkeypatch.setattr(streams_module, "open_source", counted)
    for round_ in range(3):
        for number in range(20):
            append(tmp_path / f"{number}.jsonl", numbered([100 * round_ + number]))
        assert sorted(numbers(reader.lines())) == [100 * round_ + number for number in range(20)]
    assert most <= 4 + 1  # one to look at, beside those that are kept


def test_running_out_of_descriptors_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader([str(tmp_path / "*.jsonl")])

    def scarce(path: str) -> Source:
        if len(reader.follower._streams._open) >= 3:
            raise OSError(24, "Too many open files")
        return open_source(path)

    monkeypatch.setattr(streams_module, "open_source", scarce)
    for number in range(20):
        append(tmp_path / f"{number}.jsonl", numbered([number]))
    assert sorted(numbers(reader.lines())) == list(range(20))


def test_a_growing_file_has_every_other_turn_while_a_backlog_is_read(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    for number in range(1, 4):
        Path(f"{log}.{number}").write_bytes(numbered(range(number * 10_000, number * 10_000 + 9_000)))
    log.write_bytes(numbered(range(9_000)))
    reader = Reader([str(log)])
    reader.follower.look()
    sources = []
    for _ in range(6):
        block = reader.follower.read()
        assert block is not None
        sources.append(Path(block.source).name == "access.jsonl")
    assert sources == [True, False, True, False, True, False]


def test_an_endless_line_in_one_file_does_not_hold_up_another(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.truncate(1 << 30)  # a line of a gibibyte, of zeros
    append(tmp_path / "b.jsonl", b"one\n")
    reader = Reader([str(tmp_path / "*.jsonl")])
    reader.follower.look()
    block = reader.follower.read()
    assert block is not None
    assert bytes(block.data) == b"one\n"
