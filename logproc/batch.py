"""Block → batch: its events as columns, its server lines, its rejected lines; in one quick pass where all is well."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from logproc import decode
from logproc.decode import Line, OddBlockError, Rejection
from logproc.events import Events, Kinds, columns, concatenate
from logproc.record import RequestRecord, ServerRecord
from logproc.tailing.block import Block

FEW_BYTES = 4096
"""A piece as small as this is read line by line."""


@dataclass(slots=True)
class Batch:
    """The records of one block. `events` is None when there is no request in it."""

    events: Events | None = None
    servers: list[ServerRecord] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    lines: int = 0
    """How many good lines, server lines included."""


def read(block: Block, kinds: Kinds, now_ms: int) -> Batch:
    """Decode a block. `now_ms` is the wall clock (ms since 1970), against which times in the future are judged.

    An odd block is halved until the odd lines are alone, so that one bad line does not slow the others down.
    """
    batch = Batch()
    parts: list[Events] = []
    if block.too_long:
        _read_careful(block, kinds, now_ms, batch, parts)
    else:
        _read_quick(block, kinds, now_ms, batch, parts)
    if parts:
        batch.events = concatenate(parts)
    return batch


def _read_quick(block: Block, kinds: Kinds, now_ms: int, batch: Batch, parts: list[Events]) -> None:
    try:
        rows, ends = decode.records(block.data)
        kind = kinds.of(rows)
        count = len(rows)
        servers: list[ServerRecord] = []
        if count and kind.min() < 0:
            starts = np.concatenate([[0], ends[:-1] + 1])
            for place in np.flatnonzero(kind < 0).tolist():
                raw = bytes(block.data[starts[place] : ends[place]])
                record = decode.line(raw, now_ms)
                if isinstance(record, ServerRecord):
                    servers.append(record)
            requests = kind >= 0
            rows = [row for row, is_request in zip(rows, requests.tolist(), strict=True) if is_request]
            kind = kind[requests]
        events = columns(rows, kind, kinds, now_ms) if rows else None
    except OddBlockError:
        _read_halves(block, kinds, now_ms, batch, parts)
        return
    batch.lines += count
    batch.servers += servers
    if events is not None:
        parts.append(events)


def _read_halves(block: Block, kinds: Kinds, now_ms: int, batch: Batch, parts: list[Events]) -> None:
    size = len(block.data)
    middle = bytes(block.data).rfind(b"\n", 0, size // 2) + 1 if size > FEW_BYTES else 0
    if middle <= 0:
        _read_careful(block, kinds, now_ms, batch, parts)
        return
    for start, end in ((0, middle), (middle, size)):
        half = replace(block, start=block.start + start, end=block.start + end, data=block.data[start:end])
        _read_quick(half, kinds, now_ms, batch, parts)


def _read_careful(block: Block, kinds: Kinds, now_ms: int, batch: Batch, parts: list[Events]) -> None:
    good, bad = decode.lines(block, now_ms)
    batch.rejected += bad
    batch.lines += len(good)
    batch.servers += [line.record for line in good if isinstance(line.record, ServerRecord)]
    rows = _requests(good)
    if rows:
        parts.append(columns(rows, kinds.of(rows), kinds, now_ms))


def _requests(good: list[Line]) -> list[RequestRecord]:
    return [line.record for line in good if isinstance(line.record, RequestRecord) and line.record.event == "request"]
