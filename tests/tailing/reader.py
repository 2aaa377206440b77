"""A follower with a clock of its own and a database to commit to, for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from logproc.tailing.block import Cursor, TooLong
from logproc.tailing.follower import Follower


@dataclass
class Reader:
    """What a consumer would do: look, read everything, commit; and be killed and started again."""

    patterns: list[str]
    start: Literal["beginning", "end"] = "beginning"
    now: float = 1000.0
    database: dict[int, Cursor] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[str, int]] = field(default_factory=list)
    long: list[TooLong] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.follower = self._new(first_start=True)

    def _new(self, *, first_start: bool) -> Follower:
        cursors = [msgspec.structs.replace(cursor) for cursor in self.database.values()]
        return Follower(self.patterns, cursors, start=self.start, first_start=first_start, clock=lambda: self.now)

    def lines(self, *, commit: bool = True) -> list[bytes]:
        """All lines that can be had now."""
        found: list[bytes] = []
        for _ in range(3):
            self.follower.look()
            while (block := self.follower.read()) is not None:
                found += bytes(block.data).splitlines()
                self.long += block.too_long
        if commit:
            self.commit()
        return found

    def commit(self) -> None:
        """What a consumer's transaction would hold."""
        for cursor in self.follower.changed():
            self.database[cursor.key] = cursor
        for key in self.follower.dropped:
            del self.database[key]
        self.events.update(self.follower.events)
        self.lost += self.follower.lost
        self.follower.settled()

    def kill_and_start(self) -> None:
        """Forget all that is not committed, and start again."""
        self.follower.close()
        self.follower = self._new(first_start=False)

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on; nothing else happens meanwhile."""
        self.now += seconds

    def cursor(self, path: Path) -> Cursor:
        """The committed cursor of the file at the path."""
        (found,) = [one for one in self.database.values() if one.path == str(path)]
        return found


def numbered(numbers: Iterable[int]) -> bytes:
    """Lines of equal length that differ in their number only."""
    return b"".join(b'{"n":%06d,"pad":"%s"}\n' % (number, b"x" * 80) for number in numbers)


def numbers(lines: Iterable[bytes]) -> list[int]:
    """The numbers of such lines."""
    return [int(line[5:11]) for line in lines]
