"""The days of documents on this machine: those that have a file still, and those of which only minutes are kept."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from logproc.record import DAY_MS
from logproc.stores import rollups
from logproc.stores.archive import Coverage, Question, Span
from logproc.stores.recent_rollups import minutes_can_tell
from logproc.stores.rollup import Rollup, joined
from logproc.stores.sqlite import day_files
from logproc.stores.sqlite_reading import NotOursError, has_documents, open_to_read
from logproc.stores.store import StoreUnavailableError

_T = TypeVar("_T")


class SqliteDays:
    """Finds and reads the days in `folder`. One file may be read for `longest_s` at a time.

    Whatever cannot be read is a StoreUnavailableError that names the file.
    """

    def __init__(self, folder: Path, longest_s: float | None) -> None:
        self._folder = folder
        self._longest_s = longest_s

    def files(self, question: Question) -> list[tuple[int, Path]]:
        """The files in which documents of the question's range of time may be, oldest first."""
        first, last = _days_of(question)
        first = max(first, self.closed_before())
        return [(day, path) for day, path in day_files(self._folder) if first <= day and (last is None or day <= last)]

    @contextmanager
    def reading(self, path: Path) -> Iterator[sqlite3.Connection | None]:
        """A read-only connection; None for a file that has gone, or has nothing in it yet."""
        try:
            if not path.exists():  # a day that was dropped since we looked
                yield None
                return
            until = None if self._longest_s is None else time.monotonic() + self._longest_s
            with closing(open_to_read(path, until)) as connection:
                yield connection if has_documents(path, connection) else None
        except sqlite3.Error as error:
            if "interrupted" in str(error):
                if self._longest_s is not None:
                    raise StoreUnavailableError(
                        f"the question took longer than {self._longest_s:g} s: ask for a shorter range of time"
                    ) from error
                raise KeyboardInterrupt from error
            raise StoreUnavailableError(
                f"{path} cannot be read: {error}. Leave it out with --from and --to, or move it away."
            ) from error
        except NotOursError as error:
            raise StoreUnavailableError(str(error)) from error
        except FileNotFoundError as error:  # dropped meanwhile
            raise StoreUnavailableError(f"{path} has gone while it was read: ask again.") from error

    def minutes(
        self, question: Question, closed: int, *, by_minute: bool, can_tell: bool = True
    ) -> tuple[Rollup, Coverage]:
        """The minutes of the days that are over, and what that means for the answer.

        Args:
            closed: `closed_before()`.
            by_minute: else all minutes of a day that lies wholly in the range come put together.
            can_tell: whether minutes can tell what is asked.
        """
        first, last = _days_of(question)
        held = self._blaming(rollups.extent)
        if held is None or first > held[1] or (last is not None and last < held[0]) or closed == 0:
            return joined([]), Coverage()
        since = max(held[0] * DAY_MS, question.since_ms or 0)
        until = min((held[1] + 1) * DAY_MS, closed * DAY_MS if question.until_ms is None else question.until_ms)
        if not can_tell or not minutes_can_tell(question):
            return joined([]), Coverage(left_out=Span(since, until))
        found = self._blaming(lambda folder: list(rollups.read(folder, question, by_minute=by_minute)))
        parts = [
            each.between(question.since_ms, question.until_ms).of(question.models, question.outcomes) for each in found
        ]
        return joined(parts), Coverage(is_exact=not parts, rolled_up=Span(since, until) if parts else None)

    def closed_before(self) -> int:
        """The day before which every day is over: of those only minutes are kept."""
        return self._blaming(rollups.closed_before)

    def _blaming(self, read: Callable[[Path], _T]) -> _T:
        try:
            return read(self._folder)
        except (sqlite3.Error, ValueError) as error:
            path = self._folder / rollups.ROLLUPS_FILE
            raise StoreUnavailableError(f"{path} cannot be read: {error}. Move it away, and it begins anew.") from error

    def while_none_closes(self, answer: Callable[[int], _T]) -> _T:
        """An answer during which no day went from its file into `rollups.db`: it would be missed, or counted twice."""
        while True:
            closed = self.closed_before()
            found = answer(closed)
            if self.closed_before() == closed:
                return found


def _days_of(question: Question) -> tuple[int, int | None]:
    """The first and the last day of a question's range of time."""
    first = -1 if question.since_ms is None else question.since_ms // DAY_MS
    return first, None if question.until_ms is None else (question.until_ms - 1) // DAY_MS
