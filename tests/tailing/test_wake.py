"""Waking: by events at once, without events by polling, and never by ourselves."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from logproc.tailing import wake
from logproc.tailing.wake import Waker

LONG_S = 30.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "access.jsonl"


@pytest.fixture
def waker(log: Path) -> Iterator[Waker]:
    log.parent.mkdir()
    with_events = Waker([str(log)], poll_s=LONG_S)
    yield with_events
    with_events.close()


def quiet(waker: Waker) -> None:
    """Let pass what is still to be told of the past."""
    while waker.wait(0.2):
        pass


def seconds_until_woken(waker: Waker) -> float:
    began = time.monotonic()
    assert waker.wait(LONG_S)
    return time.monotonic() - began


def test_an_append_wakes_long_before_the_next_poll(log: Path, waker: Waker) -> None:
    quiet(waker)
    log.write_bytes(b"one\n")
    assert seconds_until_woken(waker) < LONG_S / 2


def test_reading_does_not_wake(log: Path, waker: Waker) -> None:
    log.write_bytes(b"one\n")
    quiet(waker)
    log.read_bytes()
    list(log.parent.iterdir())
    assert not waker.wait(0.3)


def test_another_thread_can_wake(waker: Waker) -> None:
    quiet(waker)
    threading.Timer(0.05, waker.wake).start()
    assert seconds_until_woken(waker) < LONG_S / 2


def test_a_wake_before_the_wait_is_not_forgotten(waker: Waker) -> None:
    quiet(waker)
    waker.wake()
    assert waker.wait(0.0)
    assert not waker.wait(0.0)


def test_closing_wakes_whoever_waits(waker: Waker) -> None:
    quiet(waker)
    threading.Timer(0.05, waker.close).start()
    assert seconds_until_woken(waker) < LONG_S / 2


def test_a_poll_is_due_though_nothing_happens(log: Path) -> None:
    log.parent.mkdir()
    waker = Waker([str(log)], poll_s=0.05)
    quiet_rounds = [waker.wait(LONG_S) for _ in range(3)]
    waker.close()
    assert quiet_rounds == [True, True, True]


def test_a_directory_made_later_is_watched_from_then_on(tmp_path: Path) -> None:
    log = tmp_path / "a" / "b" / "access.jsonl"
    waker = Waker([str(log)], poll_s=0.1)
    for directory in (log.parent.parent, log.parent):
        directory.mkdir()
        deadline = time.monotonic() + LONG_S
        while str(directory) not in waker.watched:
            waker.wait(0.1)
            assert time.monotonic() < deadline
    waker.close()


@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_a_directory_that_is_made_anew_is_watched_again(log: Path, waker: Waker, how: str) -> None:
    waker._poll_s = 0.05
    quiet_s = time.monotonic() + LONG_S
    if how == "deleted":
        log.parent.rmdir()
    else:
        log.parent.rename(log.parent.with_name("other"))
    while str(log.parent) in waker.watched:
        waker.wait(0.05)
        assert time.monotonic() < quiet_s
    log.parent.mkdir()
    while str(log.parent) not in waker.watched:
        waker.wait(0.05)
        assert time.monotonic() < quiet_s
    waker._poll_s = LONG_S
    while waker.wait(0.2):
        pass
    log.write_bytes(b"one\n")
    assert seconds_until_woken(waker) < LONG_S / 2


def test_what_other_programs_write_beside_the_logs_does_not_wake(log: Path, waker: Waker) -> None:
    quiet(waker)
    (log.parent / "other.log").write_bytes(b"x\n")
    assert not waker.wait(0.3)
    (log.parent / "other.log").rename(log)
    assert seconds_until_woken(waker) < LONG_S / 2
    quiet(waker)
    (log.parent / "access-20261121.jsonl").write_bytes(b"x\n")
    assert seconds_until_woken(waker) < LONG_S / 2


def test_where_events_cannot_be_had_polling_goes_on_and_it_is_told_once(
    log: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log.parent.mkdir()

    class NoMore:
        def start(self) -> None:
            raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(wake, "Observer", NoMore)
    waker = Waker([str(log)], poll_s=0.05)
    assert waker.wait(LONG_S)
    assert waker.wait(LONG_S)
    waker.close()
    assert len(caplog.records) == 1


def test_the_target_directory_of_a_link_is_watched(tmp_path: Path) -> None:
    target, link = tmp_path / "data" / "0.log", tmp_path / "links" / "pod.log"
    target.parent.mkdir()
    link.parent.mkdir()
    target.touch()
    link.symlink_to(target)
    waker = Waker([str(link.parent / "*.log")], poll_s=LONG_S)
    assert waker.watched == {str(target.parent), str(link.parent)}
    quiet(waker)
    target.write_bytes(b"one\n")
    assert seconds_until_woken(waker) < LONG_S / 2
    waker.close()


def test_while_very_much_is_written_files_are_polled_and_later_watched_again(
    log: Path, waker: Waker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "BUSY", 20)
    monkeypatch.setattr(wake, "BUSY_S", 0.3)
    waker._poll_s = 0.1
    deadline = time.monotonic() + LONG_S
    with log.open("ab", buffering=0) as file:
        while waker.watched:
            for _ in range(100):
                file.write(b"x\n")
            waker.wait(0.01)
            assert time.monotonic() < deadline
        file.write(b"polled\n")
        assert seconds_until_woken(waker) < LONG_S / 2
    while not waker.watched:
        waker.wait(0.1)
        assert time.monotonic() < deadline


def test_a_change_held_back_by_the_events_is_seen_by_polling_the_active_file(
    log: Path, waker: Waker, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_bytes(b"one\n")
    assert seconds_until_woken(waker) < LONG_S / 2
    monkeypatch.setattr(waker._handler, "_noticed", lambda event: None)  # events come to nothing from here on
    while waker.wait(0.05):
        pass
    os.write(fd := os.open(log, os.O_WRONLY | os.O_APPEND), b"two\n")
    os.close(fd)
    assert seconds_until_woken(waker) < LONG_S / 2
