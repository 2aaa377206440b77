"""The newest lines of each server put together to what is known of it; the same for every store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec

from logproc.record import HEARTBEAT, SERVER_STARTED, SERVER_STOPPED, EngineLoad, GpuLoad
from logproc.stores.archive import Server

Key = tuple[str | None, int | None]
"""Host and process id."""
Peak = tuple[int | None, float | None]
"""The most GPU memory in use: bytes, and the share of what the GPU has."""
NO_PEAK: Final[Peak] = (None, None)
COLUMNS: Final = (
    "host", "pid", "time_ms", "event", "service", "version", "model", "startup_ns", "in_flight",
    "oldest_in_flight_ns", "lines_lost", "engines", "gpus",
)  # fmt: skip
"""What is read of a line."""

_T = TypeVar("_T", EngineLoad, GpuLoad)


def servers_of(
    newest: Iterable[Mapping[str, Any]], starts: Iterable[Mapping[str, Any]], peaks: Mapping[Key, Peak]
) -> list[Server]:
    """The servers, the one that was heard of last first.

    Args:
        newest: of each server its newest line of each kind within the range, by COLUMNS; `engines` and `gpus` are JSON.
        starts: of each server its newest start before the end of the range.
        peaks: GPU memory within the range.
    """
    found: dict[Key, Server] = {}
    for line in newest:
        key = (line["host"], line["pid"])
        known = found.get(key, Server(*key, line["time_ms"]))
        found[key] = _with(replace(known, seen_ms=max(known.seen_ms, line["time_ms"])), line)
    for line in starts:
        key = (line["host"], line["pid"])
        if key in found:
            found[key] = _with(found[key], line)
    servers = [_finished(server, peaks.get(key, NO_PEAK)) for key, server in found.items()]
    return sorted(servers, key=lambda each: (-each.seen_ms, each.host or "", each.pid or 0))


def gpus_of(raw: bytes | str | msgspec.Raw | None) -> tuple[GpuLoad, ...] | None:
    """The GPUs of a heartbeat."""
    return _loads(raw, GpuLoad)


def peak_of(gpus: Iterable[GpuLoad]) -> Peak:
    """The most memory in use by one of these."""
    return highest([(gpu.memory_used_bytes, _share(gpu.memory_used_bytes, gpu.memory_total_bytes)) for gpu in gpus])


def highest(peaks: Sequence[Peak]) -> Peak:
    """The highest of each of the two; None where none is known."""
    octets = (peak[0] for peak in peaks if peak[0] is not None)
    ratios = (peak[1] for peak in peaks if peak[1] is not None)
    return max(octets, default=None), max(ratios, default=None)


def _share(used: int | None, total: int | None) -> float | None:
    return None if used is None or not total else used / total


def _with(server: Server, line: Mapping[str, Any]) -> Server:
    service = line["service"] or server.service
    match line["event"]:
        case event if event == SERVER_STARTED:
            return replace(
                server,
                service=service,
                version=line["version"],
                model=line["model"],
                started_ms=line["time_ms"],
                startup_ns=line["startup_ns"],
            )
        case event if event == SERVER_STOPPED:
            return replace(server, service=service, stopped_ms=line["time_ms"])
        case event if event == HEARTBEAT:
            return replace(
                server,
                service=service,
                heartbeat_ms=line["time_ms"],
                in_flight=line["in_flight"],
                oldest_in_flight_ns=line["oldest_in_flight_ns"],
                lines_lost=line["lines_lost"],
                engines=_loads(line["engines"], EngineLoad),
                gpus=gpus_of(line["gpus"]),
            )
    return server


def _finished(server: Server, peak: Peak) -> Server:
    since = max(server.heartbeat_ms or 0, server.started_ms or 0)
    stopped = None if server.stopped_ms is None or server.stopped_ms < since else server.stopped_ms
    return replace(server, stopped_ms=stopped, gpu_memory_peak_bytes=peak[0], gpu_memory_peak_ratio=peak[1])


def _loads(raw: bytes | str | msgspec.Raw | None, kind: type[_T]) -> tuple[_T, ...] | None:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=tuple[kind, ...])  # type: ignore[valid-type]
    except msgspec.MsgspecError:  # another program's document
        return None
