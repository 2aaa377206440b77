"""Two access logs that grow at the present time until they are told to stop, and what a store must hold of them."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import make_log
from logproc.stores.documents import time_text

STEP_S: Final = 0.05
_TIME: Final = slice(len('{"time":"'), len('{"time":"2026-01-01T00:00:00.000Z'))
"""Where the time stands in a line of `make_log`."""


class Held(NamedTuple):
    """What a store holds: documents of requests, distinct ids among them, their tokens; documents of server lines."""

    requests: int
    ids: int
    prompt_tokens: int
    completion_tokens: int
    servers: int

    @property
    def documents(self) -> int:
        return self.requests + self.servers


class GrowingLog:
    """`access.jsonl` has lines with ids as `serve` writes them, heartbeats too; `other.jsonl` a dozen fields, no ids.

    Each takes half of the lines, and `other.jsonl` is renamed after every `rotate_after` of its own.
    """

    def __init__(self, folder: Path, lines_per_s: int, *, rotate_after: int = 2000) -> None:
        self.folder = folder
        self.count = 0
        self._held = Held(0, 0, 0, 0, 0)
        self._each = int(lines_per_s * STEP_S / 2)
        self._rotate_after = rotate_after
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        start_ms = int(time.time() * 1000)
        full = make_log.lines(10**7, start_ms=start_ms, full=True)
        bare = make_log.lines(10**7, start_ms=start_ms)
        rotated, since = 0, 0
        while not self._stop.wait(STEP_S):
            self._append("access.jsonl", list(itertools.islice(full, self._each)))
            self._append("other.jsonl", list(itertools.islice(bare, self._each)))
            since += self._each
            if since >= self._rotate_after:
                rotated, since = rotated + 1, 0
                (self.folder / "other.jsonl").rename(self.folder / f"other.jsonl.{rotated}")

    def _append(self, name: str, lines: list[bytes]) -> None:
        now = time_text(int(time.time() * 1000)).encode()
        stamped = [line[: _TIME.start] + now + line[_TIME.stop :] for line in lines]
        with (self.folder / name).open("ab") as log:
            log.write(b"".join(stamped))
        read = [json.loads(line) for line in stamped]
        requests = [line for line in read if "event" not in line]
        more = (
            len(requests),
            len(requests),
            sum(line["prompt_tokens"] or 0 for line in requests),
            sum(line["completion_tokens"] or 0 for line in requests),
            len(read) - len(requests),
        )
        self._held = Held(*map(sum, zip(self._held, more, strict=True)))
        self.count += len(read)

    def stop(self) -> Held:
        """What the store must hold when it has everything."""
        assert self._thread.is_alive()
        self._stop.set()
        self._thread.join()
        return self._held
