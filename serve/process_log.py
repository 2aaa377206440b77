"""The access log of one process: its writer and heartbeat, its running requests, and when it begins and ends."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from logproc.record import OPERATIONS, SERVER_STARTED, SERVER_STOPPED
from serve import identity
from serve.access_line import Line, Process
from serve.exchange import Exchange, Receive, Scope, Send, received
from serve.finished import Finished
from serve.identity import ApiKeys
from serve.in_flight import InFlight
from serve.line_maker import LineMaker, timestamp
from serve.settings import Settings
from serve.timings import TIMINGS, Timings

CLIENT_LEFT: Final = 499
RAISED: Final = 500

_LOG: Final = logging.getLogger("logproc.serve")


class Writer(Protocol):
    """What the log needs of `serve.log_writer.LogWriter`."""

    @property
    def lost(self) -> int:
        """Lines that could not be kept."""

    def start(self) -> None:
        """Begin to write."""

    def put(self, line: Line | Finished) -> None:
        """Queue one line, or what to make one of."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is queued and stop."""


class ProcessLog:
    """Everything of the access log that a process has once.

    Nothing here raises but `start`: what fails is said once through `logging`, and the request goes on.

    Args:
        settings: the operator's.
        writer: where lines go, made from the settings unless given.
        monotonic: seconds, for durations.
        wall: seconds since 1970, for `time`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        writer: Writer | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.monotonic = monotonic
        self.wall = wall
        self.in_flight = InFlight(monotonic)
        self._given_writer = writer
        self._writer = writer
        self._heartbeat: Any = None
        self._lines = self._line_maker(ApiKeys())
        self._open = False
        self._complaints: set[str] = set()

    # --- the process ---

    def start(self) -> None:
        """Begin to write lines and heartbeats. A second call does nothing.

        Raises:
            Exception: the log cannot be written at all.
        """
        if self._open:
            return
        self._open = True
        for warning in self.settings.warnings:
            _LOG.warning("%s", warning)
        if os.environ.get("VLLM_USE_RUST_FRONTEND", "0") not in ("", "0"):
            _LOG.warning(
                "VLLM_USE_RUST_FRONTEND is set: requests that vLLM's Rust front end serves pass no Python middleware "
                "and are missing from the access log"
            )
        self._writer = self._given_writer or self._make_writer()
        self._writer.start()
        atexit.register(self.stop, "exit")
        keys = ApiKeys()
        try:
            keys = ApiKeys(identity.load_hash_key(self.settings.hash_key_file))
        except (OSError, ValueError) as error:
            _LOG.warning("no api_key_id in the access log: %s", error)
        self._lines = self._line_maker(keys)  # anew: made before a fork, the log begins behind it
        try:
            self._start_heartbeat()
        except Exception:
            self.complain("heartbeat")

    def _line_maker(self, keys: ApiKeys) -> LineMaker:
        return LineMaker(Process(self.settings, socket.gethostname(), os.getpid(), keys), self.complain)

    def _make_writer(self) -> Writer:
        from serve.log_writer import LogWriter

        settings = self.settings
        return LogWriter(settings.path, max_bytes=settings.max_bytes, keep=settings.keep)

    def _start_heartbeat(self) -> None:
        from serve.heartbeat import Heartbeat

        writer: Any = self._writer
        self._heartbeat = Heartbeat(writer, self.in_flight, self._base())
        self._heartbeat.start()

    def started(self, app: object, startup_s: float | None) -> None:
        """The server is ready: write `server_started`.

        Args:
            app: the application, where the server tells it; vLLM keeps its arguments there.
            startup_s: seconds since the process began; None where this is not the moment when it became ready.
        """
        self._put_server_line(
            SERVER_STARTED,
            version=getattr(sys.modules.get("vllm"), "__version__", None),
            model=_served_model(app),
            startup_s=None if startup_s is None else round(startup_s, 3),
        )

    def stop(self, reason: str) -> None:
        """Write the lines of the requests that still run, then `server_stopped`, and let the writer finish."""
        if not self._open:
            return
        self._open = False
        atexit.unregister(self.stop)
        try:
            for exchange in self.in_flight.running():
                if exchange.raised is None:
                    exchange.raised = ""
                self.finish(exchange)
            if self._heartbeat is not None:
                self._heartbeat.stop()
            self._put_server_line(SERVER_STOPPED, reason=reason)
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        except Exception:
            self.complain("stop")

    def complain(self, part: str) -> None:
        """Say through `logging` that a part of the access log failed, with the error at hand; once for each part."""
        if part not in self._complaints:
            self._complaints.add(part)
            with suppress(Exception):  # a log handler of the server's may raise as well
                _LOG.exception("the access log failed in %s (said once); requests are served without it", part)

    # --- requests ---

    def begin(self, scope: Scope, receive: Receive, send: Send) -> Exchange | None:
        """A request was received; None where it gets no line."""
        try:
            exchange = received(self, scope, receive, send, log_all=self.settings.log_all)
            if exchange is None:
                return None
            if not self._open:  # a server without lifespan
                self.start()
                self.started(scope.get("app"), None)
            self.in_flight.enter(exchange)
        except Exception:
            self.complain("the start of a request")
            return None
        return exchange

    def finish(self, exchange: Exchange) -> None:
        """The request is over: let its line be written. A second call does nothing."""
        if exchange.written:
            return
        exchange.written = True
        try:
            self.in_flight.leave(exchange)
            finished = self._finished(exchange)
            if self._writer is not None:
                self._writer.put(finished)
        except Exception:
            self.complain("the end of a request")

    def _finished(self, exchange: Exchange) -> Finished:
        """What is left of a request at its end. What its line says besides is found out later, in another thread."""
        end = exchange.final_at
        if end is None:
            end = self.monotonic()
        scope, response = exchange.scope, exchange.response
        path = usage = None
        try:
            path = identity.template_of(scope, OPERATIONS)
            if (metadata := exchange.metadata()) is not None:
                usage = getattr(metadata, "final_usage_info", None)
        except Exception:
            self.complain("the line of a request")
        timings = self._timings(exchange)
        status = CLIENT_LEFT if exchange.left else RAISED
        if response is not None:
            status = response.status
            if not response.may_wait:
                exchange.close()
            exchange.response = None  # nothing that is sent from now on is kept
        return Finished(
            self._lines.line,
            int(self.wall() * 1000),
            exchange.received_at,
            end,
            scope.get("method"),
            path,
            scope.get("client"),
            exchange.headers,
            exchange.request_id,
            status,
            exchange.left,
            exchange.raised,
            exchange.final_at is not None,
            response,
            usage,
            timings,
        )

    def _timings(self, exchange: Exchange) -> Timings | None:
        """What the engine said of it, taken at once: the next request may have the same id."""
        try:
            if not TIMINGS.waiting:
                return None
            engine_id = exchange.engine_id
            return None if engine_id is None else TIMINGS.take(engine_id)
        except Exception:
            self.complain("the engine's timings")
            return None

    # --- server lines ---

    def _base(self) -> dict[str, object]:
        process = self._lines.process
        return {"host": process.host, "pid": process.pid, "service": self.settings.service}

    def _put_server_line(self, event: str, **fields: object) -> None:
        try:
            known = {name: value for name, value in fields.items() if value is not None}
            time_text = timestamp(int(self.wall() * 1000))
            if self._writer is not None:
                self._writer.put({"time": time_text, "event": event, **self._base(), **known})
        except Exception:
            self.complain(event)


def process_uptime_s() -> float | None:
    """Seconds since this process was started, from `/proc`; None where that is not to be had."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # since boot
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _served_model(app: object) -> str | None:
    """The name under which vLLM serves its model, from the arguments that it keeps with the application."""
    args = getattr(getattr(app, "state", None), "args", None)
    served = getattr(args, "served_model_name", None) or getattr(args, "model", None)
    if isinstance(served, list | tuple) and served:
        served = served[0]
    return served if isinstance(served, str) else None
