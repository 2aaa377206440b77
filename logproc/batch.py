"""Block → events, server lines and rejected lines; in one quick pass where all is well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from logproc import decode
from logproc.decode import OddBlockError, Rejection
from logproc.events import Gathered
from logproc.record import REQUEST, RequestRecord, ServerRecord
from logproc.tailing.block import Block

FEW_BYTES = 4096
"""A piece as small as this is read line by line."""


LineAt = Callable[[int], tuple[int, bytes]]
"""Of a request by its place: the offset of its line in the source, and the line without its newline."""
Look = Callable[[Block, Sequence[RequestRecord], npt.NDArray[np.int32], LineAt, Gathered], None]
"""Sees the requests that were just gathered, with the numbers of their kinds."""


@dataclass(slots=True)
class Batch:
    """What one block came to, beside its events."""

    servers: list[tuple[int, ServerRecord]] = field(default_factory=list)
    """Each with its second since 1970, or TOO_LATE, as in `Events.second`."""
    rejected: list[Rejection] = field(default_factory=list)
    lines: int = 0
    """How many good lines, server lines included."""


def read(block: Block, gathered: Gathered, now_ms: int, look: Look | None = None) -> Batch:
    """Decode a block: its events go to `gathered`. `now_ms` is the wall clock, against which the future is judged.
    `look` is called with the requests of each piece of it, and may ask for their lines.

    An odd block is halved until the odd lines are alone, so that one bad line does not slow the others down.
    """
    batch = Batch()
    if block.too_long:
        _read_careful(block, gathered, now_ms, batch, look)
    else:
        _read_quick(block, gathered, now_ms, batch, look)
    return batch


def _read_quick(block: Block, gathered: Gathered, now_ms: int, batch: Batch, look: Look | None) -> None:
    kinds = gathered.kinds
    try:
        rows, ends, present = decode.records(block.data, kinds.decoder)
        kind = kinds.of(rows, present)
        count = len(rows)
        servers: list[tuple[int, ServerRecord]] = []
        places: npt.NDArray[np.int64] | None = None
        if count and kind.min() < 0:
            starts = [0, *(ends[:-1] + 1).tolist()]
            for before, place in enumerate(np.flatnonzero(kind < 0).tolist()):
                record = decode.line(bytes(block.data[starts[place] : ends[place]]), now_ms)
                if isinstance(record, ServerRecord):
                    servers.append((place - before, record))
            rows = [row for row, number in zip(rows, kind.tolist(), strict=True) if number >= 0]
            places = np.flatnonzero(kind >= 0)
            kind = kind[places]
        seconds = gathered.add(rows, kind, now_ms, present, _seconds(servers, now_ms))
    except OddBlockError:
        _read_halves(block, gathered, now_ms, batch, look)
        return
    if look is not None:

        def line_at(row: int) -> tuple[int, bytes]:
            place = row if places is None else int(places[row])
            start = int(ends[place - 1]) + 1 if place else 0
            offset = block.start + start if block.origins is None else block.origins[place]
            return offset, bytes(block.data[start : int(ends[place])])

        look(block, rows, kind, line_at, gathered)
    batch.lines += count
    batch.servers += zip(seconds, (record for _, record in servers), strict=True)


def _read_halves(block: Block, gathered: Gathered, now_ms: int, batch: Batch, look: Look | None) -> None:
    size = len(block.data)
    middle = bytes(block.data).rfind(b"\n", 0, size // 2) + 1 if size > FEW_BYTES else 0
    if middle <= 0:
        _read_careful(block, gathered, now_ms, batch, look)
        return
    for start, end in ((0, middle), (middle, size)):
        _read_quick(block.part(start, end), gathered, now_ms, batch, look)


def _read_careful(block: Block, gathered: Gathered, now_ms: int, batch: Batch, look: Look | None) -> None:
    good, bad = decode.lines(block, now_ms)
    batch.rejected += bad
    batch.lines += len(good)
    rows: list[RequestRecord] = []
    lines: list[tuple[int, bytes]] = []
    servers: list[tuple[int, ServerRecord]] = []
    for line in good:
        if isinstance(line.record, ServerRecord):
            servers.append((len(rows), line.record))
        elif isinstance(line.record, RequestRecord) and line.record.event == REQUEST:
            rows.append(line.record)
            lines.append((line.offset, line.raw))
    kind = gathered.kinds.of(rows)
    seconds = gathered.add(rows, kind, now_ms, others=_seconds(servers, now_ms))
    if look is not None:
        look(block, rows, kind, lines.__getitem__, gathered)
    batch.servers += zip(seconds, (record for _, record in servers), strict=True)


def _seconds(servers: list[tuple[int, ServerRecord]], now_ms: int) -> list[tuple[int, int]]:
    """How many requests stand before each, and its second."""
    return [(place, decode.time_ms(record.time, now_ms) // 1000) for place, record in servers]
