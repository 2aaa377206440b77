"""Asks pages over HTTP without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.routing import Route


def ask(routes: Sequence[Route], method: str, path: str, **request: Any) -> httpx.Response:
    """The answer to one request; `request` as for httpx."""

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://logproc") as client:
            return await client.request(method, path, **request)

    return asyncio.run(answer())
