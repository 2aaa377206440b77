"""The demo's stand-in for an inference server: no model behind it, but the real middleware around it.

It is a process of its own, and ends when the demo does, however that ends: its standard input is a pipe of the demo's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import secrets
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from types import SimpleNamespace
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from logproc.demo import answers
from logproc.demo.answers import MODEL, RefusedError, Request
from logproc.demo.engine import BATCH, Engine, Job
from logproc.demo.incidents import EMPTY, QUEUE, playing
from logproc.demo.traffic import draw_answer
from serve import AccessLogMiddleware
from serve.timings import ENGINES, TIMINGS, Timings

STEP_S: Final = 0.025
"""Seconds between two steps of the engine: each sends what it made since the last as one piece."""

BATCH_IN_TROUBLE: Final = 2
EMPTY_SHARE: Final = 0.67
STREAM_ERROR_SHARE: Final = 0.005


class Generation:
    """One answer in the making: its job in the engine, and the pieces that arrive from there."""

    def __init__(self, request: Request, now: float, rng: random.Random, *, is_empty: bool) -> None:
        wanted = 1 if is_empty else draw_answer(request.prompt_tokens, rng)
        limit = request.max_tokens
        self.finish_reason = "length" if limit is not None and wanted > limit else "stop"
        self.job = Job(request.prompt_tokens, wanted if limit is None else min(wanted, limit), now)
        self.is_empty = is_empty
        self.pieces: asyncio.Queue[int] = asyncio.Queue()
        fails = request.stream and not is_empty and rng.random() < STREAM_ERROR_SHARE
        self.fails_at = self.job.answer_tokens // 2 if fails else None

    def timings(self, request: Request) -> Timings:
        """What an engine would tell of the finished job, ms."""
        job = self.job
        assert job.admitted is not None
        assert job.first_token is not None
        assert job.finished is not None
        decode_s = job.finished - job.first_token
        many = job.answer_tokens > 1
        return Timings(
            queue_ms=_ms(job.admitted - job.arrived),
            prefill_ms=_ms(job.first_token - job.admitted),
            decode_ms=_ms(decode_s),
            tpot_ms=_ms(decode_s / (job.answer_tokens - 1)) if many else None,
            e2e_ms=_ms(job.finished - job.arrived),
            preemptions=0,
            prompt_tokens=job.prompt_tokens,
            completion_tokens=job.answer_tokens,
            max_tokens=request.max_tokens,
            finish_reason=self.finish_reason,
        )


class StandIn:
    """The endpoints, and the task that drives the engine. `began` is when the demo did (`time.monotonic`)."""

    def __init__(self, began: float, rng: random.Random) -> None:
        self._began = began
        self._rng = rng
        self._engine = Engine()
        self._generations: dict[Job, tuple[str, Request, Generation]] = {}

    def application(self) -> Starlette:
        """The ASGI application, inside the middleware."""
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/health", lambda _: Response()),
            ],
            lifespan=self._lifespan,
        )
        app.state.args = SimpleNamespace(served_model_name=MODEL)  # where the middleware finds it with vLLM
        app.add_middleware(AccessLogMiddleware)
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        driver = asyncio.create_task(self._drive())
        yield
        driver.cancel()

    async def _drive(self) -> None:
        """Step the engine, and hand out what it made: to the answers, and to the middleware as vLLM's plugin does."""
        engine = self._engine
        while True:
            await asyncio.sleep(STEP_S)
            now = time.monotonic()
            in_trouble = playing(now - self._began) is QUEUE
            for job, tokens in engine.step(now, BATCH_IN_TROUBLE if in_trouble else BATCH):
                response_id, request, generation = self._generations[job]
                if job.finished is not None:
                    # A completion has a prompt's number behind its id; a chat has none.
                    TIMINGS.put(response_id if request.is_chat else f"{response_id}-0", generation.timings(request))
                generation.pieces.put_nowait(tokens)
            ENGINES.put(0, len(engine.running), len(engine.waiting), engine.cache_usage)

    async def _models(self, _: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "logproc demo"}]})

    async def _chat(self, http: HttpRequest) -> Response:
        return await self._answer(http, is_chat=True)

    async def _complete(self, http: HttpRequest) -> Response:
        return await self._answer(http, is_chat=False)

    async def _answer(self, http: HttpRequest, *, is_chat: bool) -> Response:
        try:
            request = answers.read_request(await http.body(), is_chat=is_chat)
        except RefusedError as error:
            return JSONResponse(error.body, error.status)
        now = time.monotonic()
        is_empty = playing(now - self._began) is EMPTY and self._rng.random() < EMPTY_SHARE
        generation = Generation(request, now, self._rng, is_empty=is_empty)
        response_id = f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(16)}"
        if request.stream:
            return StreamingResponse(self._stream(response_id, request, generation), media_type="text/event-stream")
        collecting = asyncio.create_task(self._collect(response_id, request, generation))
        leaving = asyncio.create_task(_left(http))
        await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not collecting.done():
            collecting.cancel()
            return JSONResponse(None)  # as vLLM does; nobody is there to read it
        return Response(collecting.result(), media_type="application/json")

    async def _pieces(self, response_id: str, request: Request, generation: Generation) -> AsyncGenerator[int, None]:
        """Token counts as the engine makes them; leaving early takes the job out of the engine."""
        job = generation.job
        self._generations[job] = (response_id, request, generation)
        self._engine.submit(job)
        try:
            told = 0
            while told < job.answer_tokens:
                tokens = await generation.pieces.get()
                told += tokens
                yield tokens
        finally:
            del self._generations[job]
            self._engine.cancel(job)

    async def _collect(self, response_id: str, request: Request, generation: Generation) -> bytes:
        count = 0
        async with contextlib.aclosing(self._pieces(response_id, request, generation)) as pieces:
            async for tokens in pieces:
                count += tokens
        text = "" if generation.is_empty else answers.words(count)
        return answers.whole(request, response_id, int(time.time()), text, generation.finish_reason, count)

    async def _stream(self, response_id: str, request: Request, generation: Generation) -> AsyncIterator[bytes]:
        created, count = int(time.time()), 0
        if request.is_chat:
            yield answers.chunk(request, response_id, created, None, role=True)
        async with contextlib.aclosing(self._pieces(response_id, request, generation)) as pieces:
            async for tokens in pieces:
                if generation.fails_at is not None and count >= generation.fails_at:
                    yield answers.event(answers.error_body(500, "InternalServerError", "an error played in"))
                    yield answers.DONE
                    return
                if not generation.is_empty:
                    yield answers.chunk(request, response_id, created, answers.words(tokens, count))
                count += tokens
        yield answers.chunk(request, response_id, created, None, finish_reason=generation.finish_reason)
        if request.include_usage:
            yield answers.usage_chunk(request, response_id, created, count)
        yield answers.DONE


async def _left(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def main() -> None:
    """Serve on a socket that the demo opened, until the demo closes standard input or is gone."""
    parser = argparse.ArgumentParser(description="The demo's stand-in server; `logproc demo` starts it.")
    parser.add_argument("--socket", type=int, required=True, help="Descriptor of a listening socket.")
    parser.add_argument("--began", type=float, required=True, help="Monotonic time of the demo's begin, seconds.")
    chosen = parser.parse_args()
    app = StandIn(chosen.began, random.Random()).application()
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)

    def end_with_the_demo() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=end_with_the_demo, daemon=True).start()
    server.run([socket.socket(fileno=chosen.socket)])


if __name__ == "__main__":
    main()
