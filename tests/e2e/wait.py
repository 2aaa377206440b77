"""Waiting for a condition, not for a while."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL_S = 0.02


async def wait_for(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Return as soon as `condition()` holds; it is asked in a thread, so it may block.

    Raises:
        TimeoutError: it did not hold within `limit_s` seconds.
    """
    deadline = time.monotonic() + limit_s
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s} s")
        await asyncio.sleep(INTERVAL_S)
