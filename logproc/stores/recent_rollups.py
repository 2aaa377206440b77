"""The minutes of days whose documents are still there, counted once and again only where documents were added."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from logproc.record import DAY_MS
from logproc.stores.archive import Question, Who
from logproc.stores.rollup import MINUTE_MS, Rollup, joined, packed, put_together, unpacked
from logproc.stores.sqlite_schema import SPAN_MS
from logproc.stores.sqlite_tally import rollup

MOST_BYTES: Final = 32 << 20
"""Of sums kept in memory, as `packed`: a day of a million requests takes 2 to 10 MB, the more so the more clients."""

HOUR_MS: Final = 3_600_000

_File = tuple[Path, int, Who | None]
"""The file, its inode, by what besides kinds."""
_Key = tuple[_File, int, int, int]
"""Of a file the length of a piece of time, into what units it is cut (both ms), its number."""


def minutes_can_tell(question: Question) -> bool:
    """Whether minutes by model, operation and outcome know which requests are asked for."""
    return replace(question, since_ms=None, until_ms=None, models=(), outcomes=()) == Question()


class RecentRollups:
    """Gives the minutes of one day's file. May be asked by several threads; they wait for each other."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, tuple[tuple[int, ...], bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def rollups(
        self,
        connection: sqlite3.Connection,
        path: Path,
        day: int,
        question: Question,
        who: Who | None = None,
        unit_ms: int = MINUTE_MS,
    ) -> list[Rollup]:
        """The documents in `path` that match, by the minute; a minute counts where it begins in the range of time.

        Hours that are whole in the range are cut into longer units (SPAN_MS, HOUR_MS) where so asked: these are put
        together to a row a kind, and read many times as quickly. By `who` it was there are spans in place of minutes:
        the range must be of whole ones.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        since = max(day * DAY_MS, question.since_ms or 0)
        until = min((day + 1) * DAY_MS, (day + 1) * DAY_MS if question.until_ms is None else question.until_ms)
        if not minutes_can_tell(question):
            return [rollup(connection, day, question)]
        found = []
        with self._lock:
            inode, known = path.stat().st_ino, versions(connection)
            for hour in range(since // HOUR_MS, -(-until // HOUR_MS)):
                is_whole = since <= hour * HOUR_MS and (hour + 1) * HOUR_MS <= until
                unit = unit_ms if is_whole else _finest(who)
                found.append(self._hour(connection, (path, inode, who), day, hour, known, unit))
        return [each.between(since, until).of(question.models, question.outcomes) for each in found]

    def _hour(
        self,
        connection: sqlite3.Connection,
        file: _File,
        day: int,
        hour: int,
        versions: Mapping[int, int],
        unit_ms: int,
    ) -> Rollup:
        """One hour, made from its spans when one of them is new: twelve small ones are read more slowly."""
        spans = range(hour * HOUR_MS // SPAN_MS, (hour + 1) * HOUR_MS // SPAN_MS)
        version = tuple(versions.get(span, 0) for span in spans)
        _, _, who = file
        finest = _finest(who)

        def made() -> Rollup:
            if unit_ms == HOUR_MS:
                return put_together(self._hour(connection, file, day, hour, versions, SPAN_MS))
            if unit_ms > finest:
                minutes = self._hour(connection, file, day, hour, versions, finest)
                return joined(put_together(minutes.between(span * SPAN_MS, (span + 1) * SPAN_MS)) for span in spans)
            is_over = max(versions, default=-1) > spans[-1]  # then nothing more comes, but for what is very late
            found = []
            for span, one in zip(spans, version, strict=True):
                count = partial(_counted, connection, day, span, who)
                found.append(count() if is_over else self._known((file, SPAN_MS, finest, span), (one,), count))
            return joined(found)

        return self._known((file, HOUR_MS, unit_ms, hour), version, made)

    def _known(self, key: _Key, version: tuple[int, ...], made_by: Callable[[], Rollup]) -> Rollup:
        """What is kept of this version, else made anew."""
        known = self._kept.pop(key, None)
        if known is not None and known[0] == version:
            self._kept[key] = known
            return unpacked(known[1])
        if known is not None:
            self._bytes -= len(known[1])
        made = made_by()
        data = packed(made, level=1)
        self._kept[key] = version, data
        self._bytes += len(data)
        while self._bytes > MOST_BYTES:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= len(gone)
        return made


def _finest(who: Who | None) -> int:
    """The shortest units that there are, ms."""
    return MINUTE_MS if who is None else SPAN_MS


def _counted(connection: sqlite3.Connection, day: int, span: int, who: Who | None) -> Rollup:
    question = Question(since_ms=span * SPAN_MS, until_ms=(span + 1) * SPAN_MS)
    found = rollup(connection, day, question, MINUTE_MS, who)
    return found if who is None else put_together(found)


def versions(connection: sqlite3.Connection) -> dict[int, int]:
    """How often documents were added to each span of time, read before the documents themselves."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'changes'").fetchone():
        return {}  # of an older logproc, which writes it no more
    return dict(connection.execute("SELECT span, version FROM changes").fetchall())
