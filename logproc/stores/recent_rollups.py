"""The minutes of days whose documents are still there, counted once and again only where documents were added."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Final

from logproc.record import DAY_MS
from logproc.stores.archive import Question
from logproc.stores.rollup import Rollup, packed, unpacked
from logproc.stores.sqlite_schema import SPAN_MS
from logproc.stores.sqlite_tally import rollup

MOST_BYTES: Final = 32 << 20
"""Of minutes kept in memory, as `packed`: a few days of millions of requests."""


class RecentRollups:
    """Gives the minutes of one day's file. May be asked by several threads; they wait for each other."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, int, int], tuple[int, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def rollups(self, connection: sqlite3.Connection, path: Path, day: int, question: Question) -> list[Rollup]:
        """The minutes of the documents in `path` that match; a minute counts where it begins in the range of time.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        since = max(day * DAY_MS, question.since_ms or 0)
        until = min((day + 1) * DAY_MS, (day + 1) * DAY_MS if question.until_ms is None else question.until_ms)
        if replace(question, since_ms=None, until_ms=None, models=(), outcomes=()) != Question():
            return [rollup(connection, day, question)]
        with self._lock:
            inode, versions = path.stat().st_ino, _versions(connection)
            found = [
                self._span(connection, (path, inode, span), day, versions.get(span, 0))
                for span in range(since // SPAN_MS, -(-until // SPAN_MS))
            ]
        return [each.between(since, until).of(question.models, question.outcomes) for each in found]

    def _span(self, connection: sqlite3.Connection, key: tuple[Path, int, int], day: int, version: int) -> Rollup:
        known = self._kept.pop(key, None)
        if known is not None and known[0] == version:
            self._kept[key] = known
            return unpacked(known[1])
        span = key[2]
        made = rollup(connection, day, Question(since_ms=span * SPAN_MS, until_ms=(span + 1) * SPAN_MS))
        data = packed(made)
        self._kept[key] = version, data
        self._bytes += len(data) - (0 if known is None else len(known[1]))
        while self._bytes > MOST_BYTES:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= len(gone)
        return made


def _versions(connection: sqlite3.Connection) -> dict[int, int]:
    """How often documents were added to each span of time, read before the documents themselves."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'changes'").fetchone():
        return {}  # of an older logproc, which writes it no more
    return dict(connection.execute("SELECT span, version FROM changes").fetchall())
