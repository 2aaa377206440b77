"""The access log with a stopwatch, for `vllm_steps.py`: `vllm serve … --middleware timed_log.TimedLog`.

A call in the event loop is timed by the clock, one in the writer's thread by that thread's CPU: what the server does
meanwhile is not in it. The stopwatch itself takes 0.2 to 0.4 µs a call, which is left in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from serve import AccessLogMiddleware
from serve.engine_timings import EngineTimings
from serve.exchange import Exchange
from serve.log_writer import LogWriter
from serve.process_log import ProcessLog

TIMES: Final = "/times"
"""`GET /times`: calls and nanoseconds of each step since it was asked last."""

_spent: Final[dict[str, list[int]]] = {}


def _timed(owner: type, name: str, step: str | Callable[..., str], clock: Callable[[], int]) -> None:
    call = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        try:
            return call(*args, **kwargs)
        finally:
            took = clock() - start
            spent = _spent.setdefault(step if isinstance(step, str) else step(*args), [0, 0])
            spent[0] += 1
            spent[1] += took

    setattr(owner, name, timed)


def _sent(_: Exchange, message: Any) -> str:
    return "chunk" if message.get("more_body") else "start and end of a response"


_timed(ProcessLog, "begin", "begin", time.perf_counter_ns)
_timed(ProcessLog, "finish", "end of a request", time.perf_counter_ns)
_timed(Exchange, "send", _sent, time.perf_counter_ns)
_timed(EngineTimings, "record", "step of the engine", time.perf_counter_ns)
_timed(LogWriter, "_write_batch", "batch of lines", time.thread_time_ns)


class TimedLog:
    """The middleware, and a page of its times."""

    def __init__(self, app: Any) -> None:
        self._logged = AccessLogMiddleware(app)

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """Hand on to the app."""
        if scope["type"] == "http" and scope["path"] == TIMES:
            return self._tell(send)
        return self._logged(scope, receive, send)

    async def _tell(self, send: Any) -> None:
        body = json.dumps(_spent).encode()
        _spent.clear()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
