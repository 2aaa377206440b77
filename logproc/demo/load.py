"""The demo's clients: they send requests to the stand-in server as the fitted traffic says, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from typing import Any, Final, NamedTuple

from logproc.demo.answers import MODEL, words
from logproc.demo.traffic import arrivals, draw_prompt

WRONG_MODEL_SHARE: Final = 0.010
INVALID_JSON_SHARE: Final = 0.005
HANGUP_SHARE: Final = 0.02
SHORT_LIMIT_SHARE: Final = 0.03
CHAT_SHARE: Final = 0.75
STREAM_SHARE: Final = 0.8

PATIENCE_S: Final = 2.0
"""At the end running requests have so long to finish; then their clients hang up."""

USERS: Final = (("ada", 8, "team-a"), ("grace", 4, "team-a"), ("edsger", 2, "team-b"), ("barbara", 1, "team-c"))
"""Name, share, and whose API key is used."""


class Call(NamedTuple):
    """One request to send; the client hangs up after `patience_s` seconds, None = never."""

    path: str
    headers: dict[str, str]
    body: bytes
    patience_s: float | None


def draw_call(rng: random.Random) -> Call:
    """A request as the clients of a real server send them, now and then a wrong one."""
    name, _, team = rng.choices(USERS, [share for _, share, _ in USERS])[0]
    is_chat = rng.random() < CHAT_SHARE
    prompt = words(draw_prompt(rng))
    fields: dict[str, Any] = {"model": MODEL if rng.random() >= WRONG_MODEL_SHARE else "no-such-model"}
    fields |= {"messages": [{"role": "user", "content": prompt}]} if is_chat else {"prompt": prompt}
    if rng.random() < SHORT_LIMIT_SHARE:
        fields["max_tokens"] = rng.randint(16, 64)
    if rng.random() < STREAM_SHARE:
        fields |= {"stream": True, "stream_options": {"include_usage": rng.random() < 0.5}}
    body = json.dumps(fields).encode()
    return Call(
        path="/v1/chat/completions" if is_chat else "/v1/completions",
        headers={"authorization": f"Bearer demo-key-of-{team}", "x-user-id": name, "user-agent": "logproc-demo/1"},
        body=body[:-9] if rng.random() < INVALID_JSON_SHARE else body,
        patience_s=rng.uniform(0.2, 1.5) if rng.random() < HANGUP_SHARE else None,
    )


class Load:
    """Sends calls from a thread until stopped."""

    def __init__(self, host: str, port: int, rng: random.Random) -> None:
        self._host = host
        self._port = port
        self._rng = rng
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more, let what is under way finish for a moment, and hang up on the rest."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._send_all())
        self._loop.close()

    async def _send_all(self) -> None:
        began = time.monotonic()
        running: set[asyncio.Task[None]] = set()
        for at in arrivals(self._rng):
            try:
                await asyncio.wait_for(self._stopping.wait(), max(0.0, began + at - time.monotonic()))
                break
            except TimeoutError:
                task = asyncio.create_task(self._send(draw_call(self._rng)))
                running.add(task)
                task.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running, timeout=PATIENCE_S)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _send(self, call: Call) -> None:
        """Send one call and read its answer to the end; whatever goes wrong is for the server's log to tell."""
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            return
        try:
            headers = {"host": self._host, "connection": "close", "content-type": "application/json"} | call.headers
            headers["content-length"] = str(len(call.body))
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"POST {call.path} HTTP/1.1\r\n{lines}\r\n".encode() + call.body)
            async with asyncio.timeout(call.patience_s):
                while await reader.read(65_536):
                    pass
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
