"""The access log with a switch, for `vllm_throughput.py`: `vllm serve … --middleware switched_log.SwitchedLog`.

One server with the log and the same one without it: two servers that are alike differ by more than the log costs.
Switched off, a request goes to the app as if there were no middleware, and the engine's plugin is not called.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from serve import AccessLogMiddleware
from serve.engine_timings import EngineTimings

SWITCH: Final = "/switch/"
"""`GET /switch/on`, `GET /switch/off`."""


class SwitchedLog:
    """Off until it is switched on."""

    def __init__(self, app: Any) -> None:
        self._bare = app
        self._logged = AccessLogMiddleware(app)
        self._record = EngineTimings.record
        self._now = self._bare
        self._turn("off")

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """Hand on to the app, with the log or without; it is no coroutine of its own, so that nothing is added."""
        if scope["type"] == "lifespan":
            return self._logged(scope, receive, send)
        if scope["path"].startswith(SWITCH):
            return self._switch(scope["path"].removeprefix(SWITCH), send)
        answer: Awaitable[None] = self._now(scope, receive, send)
        return answer

    async def _switch(self, to: str, send: Any) -> None:
        self._turn(to)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _turn(self, to: str) -> None:
        self._now = self._logged if to == "on" else self._bare
        EngineTimings.record = self._record if to == "on" else _nothing  # type: ignore[method-assign]


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    """In place of the plugin."""
