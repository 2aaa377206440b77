"""What each hour or span has to give for a plot of points, looked for again only where documents were added.

The documents that were shown are kept as well: nearly all of them are shown the next time, and none ever changes.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Final

from logproc.record import DAY_MS
from logproc.stores.archive import Found, Question
from logproc.stores.points import USUAL_POINTS, Axes
from logproc.stores.recent_rollups import HOUR_MS, versions
from logproc.stores.sqlite_days import SqliteDays
from logproc.stores.sqlite_points import Part, documents_in, part_in
from logproc.stores.sqlite_schema import SPAN_MS

MOST_KEPT: Final = 400
"""Hours and spans, each for one pair of axes: 100 KB each, more where an hour has many."""

MOST_DOCUMENTS: Final = 4 * USUAL_POINTS
"""About 1.5 KB each."""

_Key = tuple[Path, int, int, int, Axes]
"""The file, its inode, beginning and end, what is plotted."""


class RecentPoints:
    """May be asked by several threads; for the parts they wait for each other, so that none is looked for twice."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, tuple[tuple[int, ...], Part]] = OrderedDict()
        self._documents: OrderedDict[bytes, tuple[int, Found]] = OrderedDict()
        """By id the inode of the file that it is in, and what is told of it."""
        self._lock = threading.Lock()
        self._documents_lock = threading.Lock()

    def parts(
        self, connection: sqlite3.Connection, path: Path, day: int, question: Question, axes: Axes, limit: int
    ) -> Iterator[Part]:
        """What is needed to choose `limit` points of the documents in `path` that match.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        since, until = question.since_ms, question.until_ms
        if limit > USUAL_POINTS or question.has_filters:
            yield part_in(connection, question, axes, limit)
            return
        first = max(day * DAY_MS, since or 0)
        last = min((day + 1) * DAY_MS, (day + 1) * DAY_MS if until is None else until)
        with self._lock:
            inode, known = path.stat().st_ino, versions(connection)
            while first < last:
                length = HOUR_MS if first % HOUR_MS == 0 and first + HOUR_MS <= last else SPAN_MS
                end = min(first // length * length + length, last)
                if end - first == length:
                    yield self._known(connection, (path, inode, first, end, axes), known)
                else:
                    yield part_in(connection, Question(since_ms=first, until_ms=end), axes, limit)
                first = end

    def documents(self, days: SqliteDays, paths: Sequence[Path], ids: Set[bytes]) -> list[Found]:
        """FIELDS of the documents with these ids, which are in these files.

        Raises:
            StoreUnavailableError: a file cannot be read.
        """
        inodes: dict[Path, int] = {}
        for path in paths:
            with suppress(FileNotFoundError):  # dropped since its ids were chosen
                inodes[path] = path.stat().st_ino
        with self._documents_lock:
            shown = {key: each for key in ids if (each := self._documents.get(key)) and each[0] in inodes.values()}
        for path, inode in inodes.items():
            if not (left := ids - shown.keys()):
                break
            with days.reading(path) as connection:
                new = [] if connection is None else documents_in(connection, left)
            shown |= {each.position.id: (inode, each) for each in new}
        if len(ids) <= USUAL_POINTS:
            self._keep(shown)
        return [found for _, found in shown.values()]

    def _keep(self, shown: Mapping[bytes, tuple[int, Found]]) -> None:
        with self._documents_lock:
            for key, each in shown.items():
                self._documents[key] = each
                self._documents.move_to_end(key)
            while len(self._documents) > MOST_DOCUMENTS:
                self._documents.popitem(last=False)

    def _known(self, connection: sqlite3.Connection, key: _Key, known: Mapping[int, int]) -> Part:
        _, _, first, end, axes = key
        version = tuple(known.get(span, 0) for span in range(first // SPAN_MS, end // SPAN_MS))
        kept = self._kept.pop(key, None)
        if kept is None or kept[0] != version:
            piece = Question(since_ms=first, until_ms=end)
            kept = version, part_in(connection, piece, axes, USUAL_POINTS)
        self._kept[key] = kept
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return kept[1]
