"""What the requests of one kind count for: by status, outcome and operation, whatever their numbers."""

from __future__ import annotations

from typing import Final

from logproc.kinds import Kind
from logproc.record import GENERATION

BY_KIND: Final = (
    "requests", "timed", "answerable", "errors", "generations", "disconnects", "stream_errors", "server_errors",
    "rejected_200",
)  # fmt: skip
"""Columns of a bucket."""


def counted(kind: Kind) -> tuple[bool, ...]:
    """Which of BY_KIND a request of this kind counts for."""
    is_2xx = 200 <= kind.status < 300
    stream_error = kind.outcome == "stream_error"
    server_error = kind.status >= 500 or kind.outcome == "server_error"
    rejected_200 = kind.outcome == "rejected" and is_2xx
    answerable = not 400 <= kind.status < 500
    generation = (
        kind.operation in GENERATION and is_2xx and kind.outcome in {"ok", "empty", "truncated", "reasoning_only"}
    )
    error = answerable and (stream_error or server_error or rejected_200)
    left = kind.outcome == "client_disconnect"
    timed = kind.outcome != "rejected"
    return (True, timed, answerable, error, generation, left, stream_error, server_error, rejected_200)
