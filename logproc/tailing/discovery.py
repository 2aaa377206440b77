"""Which files may belong to the access logs: what the globs match, and the rotated siblings of every match."""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import re
import stat
import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

_NO_LOGS: Final = (".lock", ".key", ".pid", ".tmp", ".part", ".swp", "~", ".bz2", ".xz", ".lz4", ".Z", ".zip", ".7z")
"""Siblings that never hold lines that can be read: what other programs put beside a log, and unknown packers."""
_TICK_NS: Final = 50_000_000
"""A directory changed so recently may change again without a new time stamp."""

_NONE: Final[frozenset[str]] = frozenset()


class Candidate(NamedTuple):
    """One regular file under one of its names. `pattern` is the number of the glob it matches, -1 for a sibling."""

    path: str
    id: tuple[int, int]
    """Device and inode."""
    size: int
    mtime_ns: int
    pattern: int


class _Glob:
    """The last part of one glob."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self._regex = re.compile(fnmatch.translate(name))
        self._literal = not glob.has_magic(name)

    def matches(self, name: str) -> bool:
        """Whether a file of that name is meant; as in a shell, `*` does not stand for a leading dot."""
        if self._literal:
            return name == self.name
        if name.endswith(_NO_LOGS) or (name.startswith(".") and not self.name.startswith(".")):
            return False
        return self._regex.match(name) is not None


@dataclass(slots=True)
class _Listing:
    """The paths in one directory that count, as of one state of it: path, number of the glob or -1, is a link."""

    mtime_ns: int
    homes: frozenset[str]
    paths: list[tuple[str, int, bool]]


class Discovery:
    """Lists the candidates of some globs. A directory is listed again only when it has changed."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._by_directory: dict[str, list[_Glob]] = {}
        for number, pattern in enumerate(patterns):
            directory, name = os.path.split(os.path.abspath(pattern))
            if name == "**":
                directory, name = os.path.join(directory, "**"), "*"
            self._by_directory.setdefault(directory, []).append(_Glob(number, name))
        self._listings: dict[tuple[str, str], _Listing] = {}
        self._homes: frozenset[str] = _NONE
        self._homes_in: dict[str, frozenset[str]] = {}
        self.problems: dict[str, str] = {}
        """Why; each was said once."""
        self.unsure: set[str] = set()
        """Directories and files that could not be looked at in the last scan: what is there is not known."""

    def scan(self, homes: Set[str]) -> list[Candidate]:
        """Every candidate that is there now, one for each device and inode, under its real path.

        `homes` are paths at which a followed file was written: their siblings count though nothing is there now.
        """
        self.unsure.clear()
        if homes != self._homes:
            self._homes = frozenset(homes)
            self._homes_in = _by_directory(homes)
        found: dict[tuple[int, int], Candidate] = {}
        listed: set[tuple[str, str]] = set()
        links: set[str] = set()
        for pattern in self._by_directory:
            for directory in self._directories(pattern):
                real = os.path.realpath(directory)
                listed.add((real, pattern))
                for path, number, is_link in self._paths(real, pattern, self._homes_in.get(real, _NONE)):
                    if is_link:
                        links.add(target := os.path.realpath(path))
                        self._add(found, target, number)
                    else:
                        self._add(found, path, number)
        own = {directory for directory, _ in listed}
        elsewhere = _by_directory(links | self._homes) if links else self._homes_in
        for directory, names in elsewhere.items():  # where links lead to, files are rotated too
            if directory not in own:
                listed.add((directory, ""))
                for path, number, is_link in self._paths(directory, "", names):
                    if not is_link:
                        self._add(found, path, number)
        for gone in self._listings.keys() - listed:
            del self._listings[gone]
        for path in self.problems.keys() - self.unsure:
            del self.problems[path]
        return list(found.values())

    def is_unsure(self, path: str) -> bool:
        """Whether the last scan could not tell if there is a file at the path."""
        return bool(self.unsure) and (path in self.unsure or os.path.dirname(path) in self.unsure)

    def _directories(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]

    def _paths(self, directory: str, pattern: str, homes: frozenset[str]) -> list[tuple[str, int, bool]]:
        """What in `directory` matches or is a sibling: path, number of the glob or -1, is a link."""
        try:
            changed_ns = os.stat(directory).st_mtime_ns
            known = self._listings.get((directory, pattern))
            if known and known.mtime_ns == changed_ns and known.homes == homes:
                return known.paths
            now_ns = time.time_ns()  # the clock of the file system, to compare with its time stamps
            with os.scandir(directory) as entries:
                names = [(entry.name, entry.is_symlink()) for entry in entries]
        except FileNotFoundError:
            return []
        except OSError as error:
            self._not_sure(directory, error)
            return []
        sorted_out = _sort_out(names, self._by_directory.get(pattern, []), homes)
        paths = [(os.path.join(directory, name), number, is_link) for name, number, is_link in sorted_out]
        if changed_ns < now_ns - _TICK_NS:
            self._listings[directory, pattern] = _Listing(changed_ns, homes, paths)
        else:
            self._listings.pop((directory, pattern), None)
        return paths

    def _add(self, found: dict[tuple[int, int], Candidate], path: str, number: int) -> None:
        try:
            one = look_at(path, number)
        except OSError as error:
            self._not_sure(path, error)
            return
        if one is not None:
            other = found.get(one.id)
            if other is None or (one.pattern < 0, one.path) < (other.pattern < 0, other.path):
                found[one.id] = one

    def _not_sure(self, path: str, error: OSError) -> None:
        self.unsure.add(path)
        if self.problems.get(path) != error.strerror:
            self.problems[path] = str(error.strerror)
            log.warning("cannot look at %s: %s; trying again", path, error.strerror)


def _by_directory(paths: Iterable[str]) -> dict[str, frozenset[str]]:
    """The names among the paths by their directory."""
    names: dict[str, set[str]] = {}
    for path in paths:
        directory, name = os.path.split(path)
        names.setdefault(directory, set()).add(name)
    return {directory: frozenset(found) for directory, found in names.items()}


def look_at(path: str, pattern: int = -1) -> Candidate | None:
    """The regular file at the path; None where there is none.

    Raises:
        OSError: what is there cannot be told.
    """
    try:
        seen = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(seen.st_mode):
        return None
    return Candidate(path, (seen.st_dev, seen.st_ino), seen.st_size, seen.st_mtime_ns, pattern)


def _sort_out(names: list[tuple[str, bool]], globs: list[_Glob], homes: frozenset[str]) -> list[tuple[str, int, bool]]:
    """What of the names in a directory matches a glob or is the sibling of a match or a home."""
    matches: list[tuple[str, int, bool]] = []
    others: list[tuple[str, bool]] = []
    for name, is_link in names:
        number = next((one.number for one in globs if one.matches(name)), -1)
        if number >= 0:
            matches.append((name, number, is_link))
        else:
            others.append((name, is_link))
    bases = homes | {one.name for one in globs} | {name for name, _, _ in matches}
    stems = {os.path.splitext(base)[0] for base in bases}
    siblings = [
        (name, -1, is_link)
        for name, is_link in others
        if not name.endswith(_NO_LOGS) and _is_sibling(name, globs, bases, stems)
    ]
    return matches + siblings


def _is_sibling(name: str, globs: list[_Glob], bases: frozenset[str], stems: set[str]) -> bool:
    """Whether `name` is BASE.*, BASE-* or STEM-* of one of the bases, or of a file that a glob would match."""
    for at, char in enumerate(name):
        if at and char in ".-":
            base = name[:at]
            if base in bases or (char == "-" and base in stems) or any(one.matches(base) for one in globs):
                return True
    return False
