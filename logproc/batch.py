"""Block → events, server lines and rejected lines; in one quick pass where all is well."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from logproc import decode
from logproc.decode import OddBlockError, Rejection
from logproc.events import Gathered, Lines
from logproc.record import REQUEST, RequestRecord, ServerRecord
from logproc.tailing.block import Block

FEW_BYTES = 4096
"""A piece as small as this is read line by line."""


@dataclass(slots=True)
class Batch:
    """What one block came to, beside its events."""

    servers: list[tuple[int, ServerRecord]] = field(default_factory=list)
    """Each with its second since 1970, or TOO_LATE, as in `Events.second`."""
    rejected: list[Rejection] = field(default_factory=list)
    lines: int = 0
    """How many good lines, server lines included."""


def read(block: Block, gathered: Gathered, now_ms: int) -> Batch:
    """Decode a block: its events and their lines go to `gathered`. `now_ms` is the wall clock, against which the future
    is judged.

    An odd block is halved until the odd lines are alone, so that one bad line does not slow the others down.
    """
    batch = Batch()
    if block.too_long:
        _read_careful(block, gathered, now_ms, batch)
    else:
        _read_quick(block, gathered, now_ms, batch)
    return batch


def _read_quick(block: Block, gathered: Gathered, now_ms: int, batch: Batch) -> None:
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
        _read_halves(block, gathered, now_ms, batch)
        return
    gathered.keep(Lines(block.first_line, block.start, bytes(block.data), ends, places, block.origins))
    batch.lines += count
    batch.servers += zip(seconds, (record for _, record in servers), strict=True)


def _read_halves(block: Block, gathered: Gathered, now_ms: int, batch: Batch) -> None:
    size = len(block.data)
    middle = bytes(block.data).rfind(b"\n", 0, size // 2) + 1 if size > FEW_BYTES else 0
    if middle <= 0:
        _read_careful(block, gathered, now_ms, batch)
        return
    for start, end in ((0, middle), (middle, size)):
        _read_quick(block.part(start, end), gathered, now_ms, batch)


def _read_careful(block: Block, gathered: Gathered, now_ms: int, batch: Batch) -> None:
    good, bad = decode.lines(block, now_ms)
    batch.rejected += bad
    batch.lines += len(good)
    rows: list[RequestRecord] = []
    raws: list[bytes] = []
    offsets: list[int] = []
    servers: list[tuple[int, ServerRecord]] = []
    for line in good:
        if isinstance(line.record, ServerRecord):
            servers.append((len(rows), line.record))
        elif isinstance(line.record, RequestRecord) and line.record.event == REQUEST:
            rows.append(line.record)
            raws.append(line.raw)
            offsets.append(line.offset)
    kind = gathered.kinds.of(rows)
    seconds = gathered.add(rows, kind, now_ms, others=_seconds(servers, now_ms))
    ends = np.cumsum([len(raw) + 1 for raw in raws], dtype=np.int64) - 1
    gathered.keep(Lines(block.first_line, block.start, b"\n".join(raws), ends, None, offsets))
    batch.servers += zip(seconds, (record for _, record in servers), strict=True)


def _seconds(servers: list[tuple[int, ServerRecord]], now_ms: int) -> list[tuple[int, int]]:
    """How many requests stand before each, and its second."""
    return [(place, decode.time_ms(record.time, now_ms) // 1000) for place, record in servers]
