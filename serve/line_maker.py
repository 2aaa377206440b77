"""Makes access lines of finished requests: in the writer's thread, or in the event loop when that one is behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from logproc.record import make_line_id
from serve import identity
from serve.access_line import AccessLine, Process, access_line, required_fields
from serve.answer import Answer
from serve.finished import Finished

_MILLISECONDS: Final = tuple(f"{number:03d}Z" for number in range(1000))


class LineMaker:
    """Reads what is unread of a response, and says what became of the request.

    Args:
        process: whose lines they are.
        complain: told which part of the access log failed, with the error at hand.
    """

    def __init__(self, process: Process, complain: Callable[[str], None]) -> None:
        self.process = process
        self._complain = complain

    def line(self, finished: Finished) -> AccessLine:
        """The access line; the required fields alone where more cannot be made."""
        time = timestamp(finished.now_ms)
        line_id = make_line_id(finished.now_ms, identity.random_bits(80).to_bytes(10))
        answer, response = None, finished.response
        if response is not None:
            try:
                answer = response.close()
            except Exception:
                self._complain("a response")
                answer = response.answer
        try:
            return access_line(time, line_id, finished, answer or Answer(), self.process)
        except Exception:
            self._complain("the line of a request")
            return required_fields(time, line_id, finished)


def timestamp(now_ms: int) -> str:
    """Milliseconds since 1970 in RFC 3339, UTC."""
    return _second(now_ms // 1000) + _MILLISECONDS[now_ms % 1000]


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
