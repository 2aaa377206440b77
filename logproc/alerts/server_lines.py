"""What the detectors need of a server line: who says so, the load of its engines, the memory of its GPUs."""

from __future__ import annotations

import msgspec

from logproc.kinds import LABEL_LENGTH
from logproc.record import ServerRecord


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One server line as the detectors need it: `second` since 1970, load of all engines, KV cache of the worst."""

    second: int
    event: str
    host: str
    pid: str
    model: str | None = None
    startup_s: float | None = None
    running: int | None = None
    waiting: int | None = None
    kv: float | None = None
    gpus: tuple[tuple[str, int, int], ...] = ()
    """(name, bytes used, bytes in all) of each GPU whose memory is known."""


def line_of(record: ServerRecord, second: int) -> Line:
    """The facts of a server line; what is unknown stays so."""
    engines = record.engines or []
    running = [each.running for each in engines if each.running is not None]
    waiting = [each.waiting for each in engines if each.waiting is not None]
    kv = [each.kv_cache_usage for each in engines if each.kv_cache_usage is not None]
    gpus = [
        (each.gpu[:LABEL_LENGTH], each.memory_used_bytes, each.memory_total_bytes or 0)
        for each in record.gpus or []
        if each.memory_used_bytes is not None
    ]
    return Line(
        second,
        record.event,
        (record.host or "unknown")[:LABEL_LENGTH],
        str(record.pid),
        record.model and record.model[:LABEL_LENGTH],
        record.startup_s,
        sum(running) if running else None,
        sum(waiting) if waiting else None,
        max(kv) if kv else None,
        tuple(gpus[:64]),
    )
