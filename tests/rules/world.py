"""What several logprocs show while all is well, and while everything is wrong: served as pages for Prometheus."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

Sample = tuple[str, dict[str, str], float]

PAGES: Final = ("main", "behind", "unread")
"""The logproc that counts everything, one that lags, one that reads nothing."""

DAY_S: Final = 86_400
_GIB: Final = float(1 << 30)
_A_SECOND: Final = 500


class World:
    """Serves a page for each of PAGES; use it as a context manager. Counters grow with time."""

    def __init__(self, *, all_is_well: bool) -> None:
        self.all_is_well = all_is_well
        self._begin = time.time() - 10
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = world.page(self.path.strip("/")).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.target = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def page(self, name: str) -> str:
        """One page, as Prometheus reads it."""
        elapsed = time.time() - self._begin
        lines = [f"{metric}{_braces(labels)} {value!r}" for metric, labels, value in self._samples(name, elapsed)]
        return "\n".join([*lines, ""])

    def _samples(self, page: str, elapsed: float) -> Iterator[Sample]:
        well = self.all_is_well
        lag = 400.0 if page == "behind" and not well else 0.0
        yield "logproc_lag_seconds", {"consumer": "measure"}, lag
        reads = well or page != "unread"
        rejected = 0.001 if well else 0.3
        yield "logproc_lines_total", {"consumer": "measure", "result": "ok"}, elapsed * reads * (1 - rejected) * 100
        yield "logproc_lines_total", {"consumer": "measure", "result": "rejected"}, elapsed * reads * rejected * 100
        if page == "main":
            yield "logproc_paused", {"consumer": "index"}, float(not well)
            yield "logproc_file_events_total", {"event": "lost"}, 0.0 if well else elapsed
            yield "logproc_series_folded_total", {"metric": "requests"}, 0.0 if well else elapsed
            yield "logproc_notifications_failing", {"channel": "ops"}, float(not well)
            yield "llm_lines_lost_total", {"host": "gpu-1", "pid": "1"}, 0.0 if well else elapsed
            for model in ("m", "some-model", 'odd "name"\\'):
                yield from self._requests(model, elapsed)
            yield from self._silent("quiet", elapsed)
            yield from self._servers(elapsed)

    def _requests(self, model: str, elapsed: float) -> Iterator[Sample]:
        """All is well: one in a thousand is slow, and fails or is empty. Else: 90 % are."""
        bad = 0.001 if self.all_is_well else 0.9
        count = _A_SECOND * elapsed
        kind = {"model": model, "operation": "chat"}
        shares = {("200", "ok"): 1 - bad, ("500", "server_error"): bad * 0.6, ("200", "empty"): bad * 0.4}
        for (status, outcome), share in shares.items():
            labels = {**kind, "status": status, "outcome": outcome}
            yield "llm_requests_total", labels, count * share
        yield "llm_flags_total", {"kind": "empty_completion", "model": model}, count * bad * 0.4
        usual, slow = 1.0, 100.0
        edges = {
            "request_duration_seconds": (2.0, 3.0, 5.0, 10.0, 30.0, math.inf),
            "time_to_first_token_seconds": (0.5, 0.8, 2.0, 2.5, math.inf),
            "time_per_output_token_seconds": (0.02, 1 / 20, 1 / 8, 1 / 7, math.inf),
        }
        for name, bounds in edges.items():
            for edge in bounds:
                le = "+Inf" if edge == math.inf else repr(edge)
                within = count if edge == math.inf else count * (1 - bad)
                yield f"llm_{name}_bucket", {**kind, "le": le}, within
            yield f"llm_{name}_count", kind, count
            yield f"llm_{name}_sum", kind, count * ((1 - bad) * usual + bad * slow)
        yield "llm_tokens_total", {"model": model, "type": "completion"}, count * (100 if self.all_is_well else 1000)

    def _silent(self, model: str, elapsed: float) -> Iterator[Sample]:
        labels = {"model": model, "operation": "chat", "status": "200", "outcome": "ok"}
        yield "llm_requests_total", labels, 5e6 + (elapsed if self.all_is_well else 0.0)

    def _servers(self, elapsed: float) -> Iterator[Sample]:
        well = self.all_is_well
        server = {"host": "gpu-1", "pid": "1"}
        heard = time.time() - (1 if well else 3600)
        yield "llm_last_heartbeat_timestamp_seconds", server, heard
        yield "llm_server_startup_seconds", {"model": "m"}, 20.0 if well else 500.0
        engine = {**server, "engine": "0"}
        yield "llm_kv_cache_usage_ratio", engine, 0.5 if well else 0.99
        yield "llm_engine_requests_waiting", engine, 2.0 if well else 200.0
        gpu = {"host": "gpu-1", "gpu": "GPU-1"}
        yield "llm_gpu_memory_used_bytes", gpu, 10 * _GIB if well else self.gpu_memory(time.time())
        yield "llm_gpu_memory_total_bytes", gpu, 80 * _GIB

    def gpu_memory(self, when: float) -> float:
        """Bytes: while all is wrong it has grown for more than an hour, and is nearly full."""
        if self.all_is_well:
            return 10 * _GIB
        return 79 * _GIB - (self._begin + 600 - when) / 600 * _GIB

    def past(self) -> Iterator[tuple[str, Mapping[str, str], Iterable[tuple[float, float]]]]:
        """What Prometheus has seen and recorded before: usual days, an ordinary queue, the GPU's last hours."""
        now = self._begin
        around = [now - days * DAY_S + minutes * 60 for days in (2, 1) for minutes in range(-15, 16)]
        hours = [now - minutes * 60 for minutes in range(200, 0, -1)]
        place = {"job": "logproc", "instance": self.target}
        for model in ("m", "some-model", 'odd "name"\\'):
            mean = 1.0 * 0.999 + 100 * 0.001
            yield "model:llm_request_duration_seconds:mean1h", {"model": model}, [(when, mean) for when in around]
            yield "model:llm_completion_tokens:mean1h", {"model": model}, [(when, 100.0) for when in around]
        for window in ("5m", "15m"):
            yield f"model:llm_requests:increase{window}", {"model": "quiet"}, [(when, 300.0) for when in around]
        waited = [(when, 2.0) for when in hours]
        yield "host:llm_engine_requests_waiting:avg5m", {"host": "gpu-1"}, waited
        gpu = {**place, "host": "gpu-1", "gpu": "GPU-1"}
        yield "llm_gpu_memory_used_bytes", gpu, [(when, self.gpu_memory(when)) for when in hours]
        yield "llm_gpu_memory_total_bytes", gpu, [(when, 80 * _GIB) for when in hours]


def _braces(labels: Mapping[str, str]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"")

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}"
