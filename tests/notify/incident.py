"""An incident in a real log: requests of several models end ten times a second, until those of one begin to fail."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from logproc.stores.documents import time_text
from tests.lines import raw, request

EVERY_S: Final = 0.1
FAILING_SHARE: Final = 0.5


class Traffic:
    """Appends to a log from a thread; `with` begins and ends it. Models in `failing` fail in every second request."""

    def __init__(self, log: Path, models: Sequence[str]) -> None:
        self._log = log
        self._models = models
        self._chance = random.Random(1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.failing: set[str] = set()
        self.first_failure: dict[tuple[str, int], float] = {}
        """By model and second since 1970: when the first line of a failed request was written (s since 1970)."""

    def past(self, seconds: int, failing_s: int = 0) -> None:
        """So many seconds that lie behind; in the last `failing_s` of them the models in `failing` fail already."""
        now = time.time()
        with self._log.open("ab") as file:
            for step in range(round(seconds / EVERY_S)):
                moment = now - seconds + step * EVERY_S
                is_bad = now - moment <= failing_s
                file.write(raw(*(self._request(model, moment, is_bad=is_bad) for model in self._models)))

    def failed_at_once(self, model: str, count: int) -> None:
        """So many requests fail in this moment."""
        moment = time_text(int(time.time() * 1000))
        with self._log.open("ab", buffering=0) as file:
            file.write(raw(*(request(time=moment, model=model, status=500) for _ in range(count))))

    def _request(self, model: str, moment: float, *, is_bad: bool) -> dict[str, Any]:
        fails = is_bad and model in self.failing and self._chance.random() < FAILING_SHARE
        return request(
            time=time_text(int(moment * 1000)),
            model=model,
            status=500 if fails else 200,
            duration_ms=900 * math.exp(self._chance.gauss(0, 0.2)),
        )

    def _write(self) -> None:
        with self._log.open("ab", buffering=0) as file:
            while not self._stopping.wait(EVERY_S):
                moment = time.time()
                lines = [self._request(model, moment, is_bad=True) for model in self._models]
                file.write(raw(*lines))
                for line in lines:
                    if line["status"] == 500:
                        self.first_failure.setdefault((line["model"], int(moment)), moment)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
