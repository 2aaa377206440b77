"""Which names count: what the globs match, and the rotated siblings of every match."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from logproc.tailing.discovery import Discovery

SIBLINGS = [
    "access.jsonl.1",
    "access.jsonl.2.gz",
    "access.jsonl.3.zst",
    "access.jsonl-20261121",
    "access.jsonl-20261121.gz",
    "access-20261121.jsonl",
    "access-2026-11-21T10-00-00.000.jsonl.gz",
]
OTHERS = [
    "error.jsonl",
    "access",
    "access.json",
    "accessory.jsonl",
    "access.jsonl.lock",
    "access.jsonl.key",
    "access.jsonl.4.xz",
    "access.jsonl.swp",
    ".access.jsonl.tmp",
]


def names(discovery: Discovery, homes: frozenset[str] = frozenset()) -> dict[str, int]:
    return {Path(one.path).name: one.pattern for one in discovery.scan(homes)}


def make(directory: Path, *made: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in made:
        (directory / name).write_bytes(name.encode())


@pytest.mark.parametrize("live", [True, False])
def test_siblings_of_a_plain_path_count_whether_it_is_there_or_not(tmp_path: Path, live: bool) -> None:
    make(tmp_path, *SIBLINGS, *OTHERS, *(["access.jsonl"] if live else []))
    expected = dict.fromkeys(SIBLINGS, -1) | ({"access.jsonl": 0} if live else {})
    assert names(Discovery([str(tmp_path / "access.jsonl")])) == expected


def test_siblings_of_what_a_glob_matches_count_too(tmp_path: Path) -> None:
    make(tmp_path, "a.log", "a.log.1", "a-old.log", "b.log.1", "b-old.txt")
    assert names(Discovery([str(tmp_path / "*.log")])) == {"a.log": 0, "a-old.log": 0, "a.log.1": -1, "b.log.1": -1}


def test_a_file_that_was_followed_lends_its_name_to_its_siblings(tmp_path: Path) -> None:
    make(tmp_path, "b-old.txt")
    discovery = Discovery([str(tmp_path / "*.log")])
    assert names(discovery) == {}
    assert names(discovery, frozenset({str(tmp_path / "b.log")})) == {"b-old.txt": -1}


def test_globs_reach_into_directories(tmp_path: Path) -> None:
    make(tmp_path / "pod-1", "0.log")
    make(tmp_path / "pod-2" / "deep", "0.log")
    assert len(names(Discovery([str(tmp_path / "*" / "*.log")]))) == 1
    assert len(Discovery([str(tmp_path / "**" / "*.log")]).scan(frozenset())) == 2


def test_hidden_files_and_directories_and_pipes_are_no_logs(tmp_path: Path) -> None:
    make(tmp_path, ".hidden")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert names(Discovery([str(tmp_path / "*")])) == {}


def test_a_new_name_is_found_though_the_time_stamp_of_the_directory_is_coarse(tmp_path: Path) -> None:
    discovery = Discovery([str(tmp_path / "*.log")])
    for number in range(300):
        make(tmp_path, f"{number}.log")
        assert len(names(discovery)) == number + 1


def test_a_directory_that_did_not_change_is_not_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.log")
    os.utime(tmp_path, (1e9, 1e9))
    discovery = Discovery([str(tmp_path / "*.log")])
    assert names(discovery) == {"a.log": 0}

    def listed(path: str) -> None:
        raise AssertionError("listed again")

    monkeypatch.setattr(os, "scandir", listed)
    assert names(discovery) == {"a.log": 0}


def test_what_cannot_be_listed_is_not_known_rather_than_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    discovery = Discovery([str(tmp_path / "*.log")])
    monkeypatch.setattr(os, "scandir", denied)
    assert names(discovery) == {}
    assert discovery.is_unsure(str(tmp_path / "a.log"))
