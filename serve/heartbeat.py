"""The line that says every few seconds: this server lives, and this is its load."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from logproc.record import HEARTBEAT
from serve.gpus import GpuWatch
from serve.in_flight import InFlight
from serve.line_maker import timestamp
from serve.log_writer import LogWriter
from serve.timings import ENGINES, EngineLoads

INTERVAL_S: Final = 10.0

_LOG: Final = logging.getLogger("logproc.serve")


class Heartbeat:
    """A thread that puts one heartbeat line an interval; nothing it reads can hold it up.

    Args:
        writer: where the line goes, and whose lost lines it tells.
        in_flight: the running requests.
        base: the fields that every line of this process has: `host`, `pid`, `service`.
        interval_s: seconds between two lines; the first comes after one.
        engines: the loads that the engine's plugin delivers.
        gpus: a watch that the heartbeat starts and stops.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        writer: LogWriter,
        in_flight: InFlight,
        base: dict[str, object],
        *,
        interval_s: float = INTERVAL_S,
        engines: EngineLoads = ENGINES,
        gpus: GpuWatch | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._writer = writer
        self._in_flight = in_flight
        self._base = base
        self._interval_s = interval_s
        self._engines = engines
        self._gpus = gpus or GpuWatch()
        self._clock = clock
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to beat."""
        self._gpus.start()
        threading.Thread(target=self._run, name="logproc-heartbeat", daemon=True).start()

    def stop(self) -> None:
        """No further line after the one that may be under way. Waits for nothing."""
        self._stop.set()
        self._gpus.stop()

    def line(self) -> dict[str, object]:
        """The fields of a heartbeat now (`logproc.record.ServerRecord`)."""
        return {
            "time": timestamp(int(self._clock() * 1000)),
            "event": HEARTBEAT,
            **self._base,
            "in_flight": self._in_flight.count,
            "oldest_in_flight_ms": self._in_flight.oldest_ms(),
            "lines_lost": self._writer.lost,
            "engines": self._engines.fresh(),
            "gpus": self._gpus.loads(),
        }

    def _run(self) -> None:
        failed = False
        while not self._stop.wait(self._interval_s):
            try:
                self._writer.put(self.line())
            except Exception:  # a defect of ours must not end the beat: silence means that the server is gone
                if not failed:
                    failed = True
                    _LOG.exception("heartbeat failed (said once)")
