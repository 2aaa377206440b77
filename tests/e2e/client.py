"""A small HTTP/1.1 client that notes what a client sees and when, and can hang up at a chosen moment.

One connection for each request. Raw sockets, since a hang-up must close the socket at once and pools do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

HangUp = Literal["at_once", "after_wait", "after_three_chunks"]
"""When the client leaves: right after sending; when nothing has come for a while; after three pieces of the body."""

HANG_UP_WAIT_S = 0.15
ANSWER_LIMIT_S = 240.0


@dataclass(frozen=True)
class Request:
    """What is sent. `request_id` goes as X-Request-Id."""

    request_id: str
    method: str
    path: str
    body: bytes = b""
    hang_up: HangUp | None = None


@dataclass
class Answer:
    """What the client saw. Times are seconds since just before it connected; `status` is None when nothing came."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    seconds: float = 0.0
    complete: bool = False

    @property
    def body(self) -> bytes:
        """All pieces joined."""
        return b"".join(piece for _, piece in self.chunks)


async def send(port: int, request: Request, answer: Answer | None = None) -> Answer:
    """Send `request` to 127.0.0.1 and read its answer, or leave as it says. A given `answer` fills up as it comes.

    Raises:
        TimeoutError: no end of the answer within ANSWER_LIMIT_S.
    """
    answer = answer or Answer()
    start = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_head(request) + request.body)
        await writer.drain()
        if request.hang_up != "at_once":
            limit = HANG_UP_WAIT_S if request.hang_up == "after_wait" else ANSWER_LIMIT_S
            try:
                async with asyncio.timeout(limit):
                    await _read(reader, answer, request, lambda: time.monotonic() - start)
            except TimeoutError:
                if request.hang_up != "after_wait":
                    raise
    finally:
        answer.seconds = time.monotonic() - start
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return answer


def _head(request: Request) -> bytes:
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        "host: 127.0.0.1",
        "connection: close",
        "content-type: application/json",
        f"content-length: {len(request.body)}",
        f"x-request-id: {request.request_id}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _read(reader: asyncio.StreamReader, answer: Answer, request: Request, now: Callable[[], float]) -> None:
    """Fill in `answer` as it comes. A connection that ends early leaves `complete` False."""
    try:
        status_line, *header_lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        answer.status = int(status_line.split()[1])
        for line in header_lines:
            name, _, value = line.partition(":")
            answer.headers[name.strip().lower()] = value.strip()
        if answer.headers.get("transfer-encoding") != "chunked":
            length = int(answer.headers.get("content-length", "0"))
            answer.chunks.append((now(), await reader.readexactly(length)))
            answer.complete = True
            return
        while size := int(await reader.readuntil(b"\r\n"), 16):
            piece = (await reader.readexactly(size + 2))[:-2]
            answer.chunks.append((now(), piece))
            if request.hang_up == "after_three_chunks" and len(answer.chunks) == 3:
                return
        await reader.readuntil(b"\r\n")
        answer.complete = True
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return
