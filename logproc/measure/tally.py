"""Adds what one block says to the totals: the same step in `run` and in `replay`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from logproc.alerts.server_lines import line_of
from logproc.batch import read
from logproc.decode import REASONS
from logproc.events import TOO_LATE
from logproc.measure.rejected import RejectedFile
from logproc.measure.servers import Servers
from logproc.measure.totals import Totals
from logproc.tailing.block import Block

FILE_EVENTS: Final = ("opened", "rotated", "truncated", "rewritten", "finished", "lost")


def tally(
    totals: Totals, servers: Servers, block: Block, clock: Callable[[], int], rejected: RejectedFile | None
) -> None:
    """Add everything one block says to the totals: the same in `run` and in `replay`."""
    now = clock()
    gathered, source = totals.gathered, block.source
    gathered.newest_s = totals.newest_s.get(source, 0)
    batch = read(block, gathered, now)
    totals.newest_s[source] = gathered.newest_s
    totals.fold_when_many()
    tables = totals.tables
    for second, record in batch.servers:
        servers.take(record, now, tables["server_starts"], tables["lines_lost"])
        if second != TOO_LATE:
            totals.server_lines.append(line_of(record, second))
    lines = tables["logproc_lines"]
    lines.increase(("measure", "ok"), batch.lines)
    lines.increase(("measure", "unrelated"), block.unrelated)
    tables["logproc_bytes"].increase(("measure",), block.end - block.start)
    if batch.rejected:
        lines.increase(("measure", "rejected"), len(batch.rejected))
        for each in batch.rejected:
            tables["logproc_lines_rejected"].increase((each.reason,))
        if rejected is not None:
            rejected.add(block.source, batch.rejected, now)


def declare(totals: Totals) -> None:
    """Set the counters that have few label sets to 0, so that `increase()` sees their first event."""
    tables = totals.tables
    for result in ("ok", "rejected", "unrelated"):
        tables["logproc_lines"].increase(("measure", result), 0)
    for reason in REASONS:
        tables["logproc_lines_rejected"].increase((reason,), 0)
    for event in FILE_EVENTS:
        tables["logproc_file_events"].increase((event,), 0)
