"""`/api/v1/stream`: tells those who listen that there is something new (server-sent events); costs nothing unheard."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PATH: Final = "/api/v1/stream"
MOST_LISTENERS: Final = 32
SOONEST_S: Final = 1.0
"""From one commit that is told to the next."""
PING_S: Final = 15.0
"""So that whatever is in between does not take the connection for dead."""

Facts = dict[str, Any]


class _Listener:
    """One connection; of each kind of event only the newest waits for it, however slowly it reads."""

    def __init__(self) -> None:
        self.waiting: dict[str, bytes] = {}
        self.woken = asyncio.Event()
        self.has_begun = False
        """Whether it was told how things are: only then what changes."""

    def tell(self, event: str, facts: Facts) -> None:
        self.waiting[event] = b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(facts))
        self.woken.set()

    def end(self) -> None:
        self.waiting[""] = b""
        self.woken.set()


class Stream:
    """`commit` is what is told after a commit, `state` how logproc is; both may be asked for in any thread.

    `look` says whether something was committed by another process; it is asked once a second while somebody listens.
    """

    def __init__(
        self,
        commit: Callable[[], Facts],
        state: Callable[[], Facts],
        look: Callable[[], object] = lambda: None,
        soonest_s: float = SOONEST_S,
        ping_s: float = PING_S,
    ) -> None:
        self._commit, self._state, self._look = commit, state, look
        self._soonest_s, self._ping_s = soonest_s, ping_s
        self._listeners: set[_Listener] = set()
        self._changed = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """While somebody listens."""
        self._guard = threading.Lock()

    @property
    def routes(self) -> list[Route]:
        """The one page."""
        return [Route(PATH, self._answer, methods=["GET"])]

    def changed(self) -> None:
        """Something was committed. From any thread; returns at once."""
        self._in_loop(self._changed.set)

    def close(self) -> None:
        """Let everybody go. From any thread."""
        self._in_loop(self._end)

    def _in_loop(self, call: Callable[[], None]) -> None:
        with self._guard:
            if self._loop is not None:
                with suppress(RuntimeError):  # the server has ended
                    self._loop.call_soon_threadsafe(call)

    def _end(self) -> None:
        for each in self._listeners:
            each.end()

    async def _answer(self, _: Request) -> Response:
        if len(self._listeners) >= MOST_LISTENERS:
            return JSONResponse({"error": f"{MOST_LISTENERS} listen already"}, 503, headers={"Retry-After": "30"})
        listener = _Listener()
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        return StreamingResponse(self._events(listener), media_type="text/event-stream", headers=headers)

    async def _events(self, listener: _Listener) -> AsyncIterator[bytes]:
        self._listeners.add(listener)
        try:
            await self._begin(listener)
            while True:
                try:
                    await asyncio.wait_for(listener.woken.wait(), self._ping_s)
                except TimeoutError:
                    yield b": ping\n\n"
                    continue
                listener.woken.clear()
                told, listener.waiting = listener.waiting, {}
                if "" in told:
                    return
                yield b"".join(told.values())
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                with self._guard:
                    self._loop = None
                if self._telling is not None:
                    self._telling.cancel()
                    self._telling = None

    async def _begin(self, listener: _Listener) -> None:
        with self._guard:
            self._loop = asyncio.get_running_loop()
        state, commit = await run_in_threadpool(lambda: (self._state(), self._commit()))
        listener.tell("state", state)
        listener.tell("commit", commit)
        listener.has_begun = True
        self._changed.set()  # there may have been a commit meanwhile
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell(state))

    async def _tell(self, state: Facts) -> None:
        """Tell everybody what has changed, until nobody listens."""
        seen = await run_in_threadpool(self._look)
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), SOONEST_S)
            now, found = await run_in_threadpool(lambda: (self._state(), self._look()))
            if _standing(now) != _standing(state):
                self._tell_all("state", now)
            if self._changed.is_set() or found != seen:
                self._changed.clear()
                self._tell_all("commit", await run_in_threadpool(self._commit))
                await asyncio.sleep(self._soonest_s)
            state, seen = now, found

    def _tell_all(self, event: str, facts: Facts) -> None:
        for each in self._listeners:
            if each.has_begun:
                each.tell(event, facts)


def _standing(state: Facts) -> Facts:
    """What of it is worth telling: not each byte of lag."""
    consumers = state.get("consumers", {})
    return {"status": state.get("status"), **{name: each.get("problem") for name, each in consumers.items()}}
