"""The alerts of old logs: parts are read in any order, by several processes, and judged once in order of time.

Nothing is kept for longer than needed: a second is judged once no part that is still to come can hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from logproc.alerts.alert import Alert
from logproc.alerts.buckets import Buckets
from logproc.alerts.judge import Judge
from logproc.alerts.server_lines import Line
from logproc.events import LATE_S
from logproc.settings import Settings


@dataclass
class Read:
    """What was read of a part, or of some of it: buckets, server lines, and the newest second."""

    buckets: Buckets
    lines: list[Line]
    newest: int
    is_all: bool


@dataclass
class _File:
    """One file: its parts that are to come, and how far its records have come in the order of its bytes."""

    to_come: list[int]
    newest: int = -1
    waiting: dict[int, Read] = field(default_factory=dict)
    """Parts that came before their turn."""


class ReplayJudge:
    """Takes the parts of several files as they come."""

    def __init__(self, settings: Settings, files: Sequence[Sequence[int]], begins: Sequence[int]) -> None:
        """`files` holds the numbers of each file's parts in order; `begins` the second of each part's first record, -1
        where that is not known.
        """
        self._judge = Judge(settings.thresholds, warm_up_s=round(settings.alerts.warm_up_s))
        self._files = [_File(list(parts)) for parts in files]
        self._file_of = {part: file for file in self._files for part in file.to_come}
        self._begins = begins
        self._newest = -1
        self.alerts: list[Alert] = []

    def add(self, part: int, read: Read) -> None:
        """Take what was read of a part."""
        file = self._file_of[part]
        file.waiting[part] = read
        while file.to_come and file.to_come[0] in file.waiting:
            self._take(file, file.waiting.pop(file.to_come[0]))
        held = [max(each.newest, self._begins[each.to_come[0]]) for each in self._files if each.to_come]
        # What is still to come is no older than LATE_S before what its file has reached; in the end all is judged.
        upto = min(held) - LATE_S - 1 if held else self._newest
        self.alerts += self._judge.advance(upto)

    def _take(self, file: _File, read: Read) -> None:
        oldest = file.newest - LATE_S  # what comes so late after newer records of its file counts in the metrics only
        for rows in read.buckets.rows.values():
            for second in [second for second in rows if second < oldest]:
                del rows[second]
        self._judge.take(read.buckets, [line for line in read.lines if line.second >= oldest])
        file.newest = max(file.newest, read.newest)
        self._newest = max(self._newest, read.newest)
        if read.is_all:
            file.to_come.pop(0)
