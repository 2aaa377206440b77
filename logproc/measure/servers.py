"""Server lines: what each inference server said of itself last, for the gauges; unknown is absent, never 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from logproc.decode import time_ms
from logproc.kinds import label
from logproc.measure.table import Table
from logproc.record import HEARTBEAT, SERVER_STARTED, SERVER_STOPPED, EngineLoad, ServerRecord

FRESH_MS: Final = 30_000
"""An older heartbeat is no gauge any more."""

MISSED_MS: Final = 86_400_000
"""So long it is told when a server that has not stopped was heard of last: by then someone knows."""

MOST_SERVERS: Final = 1000
"""Beyond it the one that was heard of least lately is forgotten."""
MOST_PARTS: Final = 256
"""So many engines and so many GPUs of one server are shown."""

Key = tuple[str, str]
Sample = tuple[str, dict[str, str], float]


class Server(msgspec.Struct):
    """The newest lines of one server process; times are ms since 1970 by its own clock, but never in our future."""

    heartbeat: ServerRecord | None = None
    heartbeat_ms: int = 0
    stopped_ms: int = 0
    lines_lost: int = 0
    """The highest count that was seen: it never falls while the process lives."""
    model: str | None = None
    startup_s: float | None = None
    started_ms: int = 0

    @property
    def heard_ms(self) -> int:
        """When it was last heard of."""
        return max(self.heartbeat_ms, self.started_ms, self.stopped_ms)


class Servers:
    """All servers by (host, pid)."""

    def __init__(self) -> None:
        self.all: dict[Key, Server] = {}
        self.dirty: set[Key] = set()
        """What has changed since the last commit: also those that were forgotten."""

    def take(self, record: ServerRecord, now_ms: int, starts: Table, lost: Table) -> None:
        """Note one server line and count what is counted of it."""
        key = (_label(record.host), _label(record.pid))
        server = self._server(key)
        # A clock that was set back would otherwise be outdone by its own past until it has caught up with it.
        when = min(time_ms(record.time, now_ms), now_ms)
        if record.event == SERVER_STARTED:
            starts.increase((_label(record.model),))
            if when >= server.started_ms:
                server.started_ms, server.model, server.startup_s = when, _label(record.model), record.startup_s
                server.lines_lost = 0
        elif record.event == SERVER_STOPPED:
            server.stopped_ms = max(server.stopped_ms, when)
        elif record.event == HEARTBEAT:
            if record.lines_lost is not None:  # also 0: so that `increase()` sees the first loss
                lost.increase(key, max(0, record.lines_lost - server.lines_lost))
                server.lines_lost = max(server.lines_lost, record.lines_lost)
            if when >= server.heartbeat_ms:
                server.heartbeat, server.heartbeat_ms = _bounded(record), when
        self.dirty.add(key)

    def _server(self, key: Key) -> Server:
        server = self.all.get(key)
        if server is None:
            if len(self.all) >= MOST_SERVERS:
                forgotten = min(self.all, key=lambda each: self.all[each].heard_ms)
                del self.all[forgotten]
                self.dirty.add(forgotten)
            server = self.all[key] = Server()
        return server

    def gauges(self, now_ms: int, most: int) -> Iterator[Sample]:
        """(name without namespace, labels, value) of every server whose heartbeat is fresh and that has not stopped; of
        one that fell silent, when that was.

        Of several with the same labels only the newest; at most `most` of one name, again the newest.
        """
        told: set[tuple[str, ...]] = set()
        count: Counter[str] = Counter()
        for name, labels, value in self._samples(now_ms):
            key = (name, *labels.values())
            if key not in told and count[name] < most:
                told.add(key)
                count[name] += 1
                yield name, labels, value

    def _samples(self, now_ms: int) -> Iterator[Sample]:
        """Everything there is to tell, the newest first."""
        servers = list(self.all.items())
        for _, server in sorted(servers, key=lambda item: -item[1].started_ms):
            is_there = server.started_ms > server.stopped_ms and now_ms - server.heard_ms <= MISSED_MS
            if server.startup_s is not None and is_there:
                yield "server_startup_seconds", {"model": server.model or "unknown"}, server.startup_s
        for (host, pid), server in sorted(servers, key=lambda item: -item[1].heartbeat_ms):
            beat = server.heartbeat
            if beat is None or now_ms - server.heartbeat_ms > MISSED_MS or server.stopped_ms >= server.heartbeat_ms:
                continue
            where = {"host": host, "pid": pid}
            yield "last_heartbeat_timestamp_seconds", where, server.heartbeat_ms / 1000
            if now_ms - server.heartbeat_ms > FRESH_MS:
                continue
            if beat.in_flight is not None:
                yield "requests_in_flight", where, beat.in_flight
            if beat.oldest_in_flight_ms is not None:
                yield "oldest_request_seconds", where, beat.oldest_in_flight_ms / 1000
            for engine in beat.engines or ():
                labels = where | {"engine": str(engine.engine)}
                yield from _known("engine_requests_running", labels, engine.running)
                yield from _known("engine_requests_waiting", labels, engine.waiting)
                yield from _known("kv_cache_usage_ratio", labels, engine.kv_cache_usage)
            for gpu in beat.gpus or ():
                labels = {"host": host, "gpu": gpu.gpu}
                yield from _known("gpu_memory_used_bytes", labels, gpu.memory_used_bytes)
                yield from _known("gpu_memory_total_bytes", labels, gpu.memory_total_bytes)
                yield from _known("gpu_utilization_ratio", labels, gpu.utilization)
                yield from _known("gpu_temperature_celsius", labels, gpu.temperature_c)
                yield from _known("gpu_power_watts", labels, gpu.power_w)


def _label(value: str | int | None) -> str:
    return "unknown" if value is None or value == "" else label(str(value))


def _bounded(beat: ServerRecord) -> ServerRecord:
    """What is shown of a heartbeat, however long it is."""
    return ServerRecord(
        time=beat.time,
        event=beat.event,
        in_flight=beat.in_flight,
        oldest_in_flight_ms=beat.oldest_in_flight_ms,
        engines=[
            EngineLoad(_label(each.engine), each.running, each.waiting, each.kv_cache_usage)
            for each in (beat.engines or [])[:MOST_PARTS]
        ],
        gpus=[msgspec.structs.replace(each, gpu=_label(each.gpu)) for each in (beat.gpus or [])[:MOST_PARTS]],
    )


def _known(name: str, labels: dict[str, str], value: float | None) -> Iterator[Sample]:
    if value is not None:
        yield name, labels, value


GAUGES: Final = {
    "alert_active": "Alerts that fire now; 0 for those that have fired before.",
    "last_heartbeat_timestamp_seconds": "When a server that has not stopped was last heard of.",
    "requests_in_flight": "Requests that are being answered.",
    "oldest_request_seconds": "Age of the oldest request that is being answered.",
    "engine_requests_running": "Requests in the engine's batch.",
    "engine_requests_waiting": "Requests in the engine's queue.",
    "kv_cache_usage_ratio": "Share of the KV cache in use.",
    "gpu_memory_used_bytes": "GPU memory in use.",
    "gpu_memory_total_bytes": "GPU memory there is.",
    "gpu_utilization_ratio": "Share of time in which the GPU worked.",
    "gpu_temperature_celsius": "GPU temperature.",
    "gpu_power_watts": "GPU power draw.",
    "server_startup_seconds": "Time the inference server took to start.",
}
