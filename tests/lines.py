"""Small helpers for tests that write access lines."""

from __future__ import annotations

import json
from typing import Any

from logproc.tailing.block import Block

NOW_MS = 1_775_000_000_000  # 2026-03-31


def request(**fields: Any) -> dict[str, Any]:
    """A good request line as a dict; None of a field given as ... leaves it out."""
    line: dict[str, Any] = {
        "time": "2026-03-30T10:23:45.123Z",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "prompt_tokens": 256,
        "completion_tokens": 128,
        "duration_ms": 1142.7,
    }
    return {name: value for name, value in {**line, **fields}.items() if value is not ...}


def raw(*lines: dict[str, Any] | bytes) -> bytes:
    """The lines as a file holds them."""
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)


def block(data: bytes, start: int = 0, source: str = "access.jsonl") -> Block:
    """A block over these bytes."""
    return Block(source, b"\0" * 16, start, start + len(data), memoryview(data))
