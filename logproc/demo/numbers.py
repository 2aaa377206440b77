"""What the demo shows: the pipeline's own committed numbers, and how much they grew within the last seconds."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from logproc.measure.measure import Measure
from logproc.measure.servers import Sample
from logproc.sketch import Bins, quantiles

WINDOW_S: Final = 15.0
RANKS: Final = (0.5, 0.95, 0.99)
PARTS: Final = ("queue", "prefill", "decode")

Percentiles = list[float | None]
"""P50, P95, P99 in milliseconds; None while there is nothing."""


@dataclass(frozen=True, slots=True)
class Look:
    """All that the pipeline had counted at a moment (seconds, monotonic)."""

    at: float
    outcomes: Counter[str]
    flags: Counter[str]
    tokens: Counter[str]
    """By type: prompt, completion."""
    lines: Counter[str]
    """Read lines by result: ok, rejected, unrelated."""
    times: dict[str, tuple[int, int]]
    """How many requests told their time in a part of the engine, and the sum in microseconds."""
    duration: Bins
    first_token: Bins
    lines_lost: int

    @property
    def requests(self) -> int:
        """All of them, whatever their outcome."""
        return self.outcomes.total()


def look(measure: Measure, at: float) -> Look:
    """Read the pipeline's numbers; `at` is the time, seconds."""
    published = measure.published()

    def sums(table: str, label: str) -> Counter[str]:
        rows, cells = published[table]
        place = measure.tables[table].metric.labels.index(label)
        found: Counter[str] = Counter()
        for labels, cell in zip(rows, cells[:, 0].tolist(), strict=True):
            found[labels[place]] += cell
        return +found

    def time_in(part: str) -> tuple[int, int]:
        _, cells = published[f"{part}_time_seconds"]
        return int(cells[:, :-1].sum()), int(cells[:, -1].sum())

    duration, first_token = measure.latency_bins()
    return Look(
        at=at,
        outcomes=sums("requests", "outcome"),
        flags=sums("flags", "kind"),
        tokens=sums("tokens", "type"),
        lines=sums("logproc_lines", "result"),
        times={part: time_in(part) for part in PARTS},
        duration=duration,
        first_token=first_token,
        lines_lost=int(published["lines_lost"][1].sum()),
    )


@dataclass(frozen=True, slots=True)
class Growth:
    """What was added between two looks."""

    seconds: float
    outcomes: Counter[str]
    flags: Counter[str]
    completion_tokens: int
    duration_ms: Percentiles
    first_token_ms: Percentiles
    mean_ms: dict[str, float]
    """Mean time in each part of the engine, where any request told it."""

    @property
    def requests_per_s(self) -> float:
        """Finished requests a second."""
        return self.outcomes.total() / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Generated tokens a second, of the requests that finished."""
        return self.completion_tokens / self.seconds if self.seconds else 0.0


def growth(older: Look, newer: Look) -> Growth:
    """The difference of two looks."""
    means = {}
    for part in PARTS:
        count = newer.times[part][0] - older.times[part][0]
        if count:
            means[part] = (newer.times[part][1] - older.times[part][1]) / count / 1000
    return Growth(
        seconds=newer.at - older.at,
        outcomes=newer.outcomes - older.outcomes,
        flags=newer.flags - older.flags,
        completion_tokens=newer.tokens["completion"] - older.tokens["completion"],
        duration_ms=quantiles(newer.duration - older.duration, RANKS),
        first_token_ms=quantiles(newer.first_token - older.first_token, RANKS),
        mean_ms=means,
    )


class Recent:
    """The looks of the last seconds."""

    def __init__(self, first: Look) -> None:
        self._looks = deque([first])

    def add(self, newest: Look) -> None:
        """Take a look, and forget those that are too old."""
        self._looks.append(newest)
        while newest.at - self._looks[1].at >= WINDOW_S:
            self._looks.popleft()

    def over(self, seconds: float = WINDOW_S) -> Growth:
        """What was added within the last `seconds`, `WINDOW_S` at most."""
        newest = self._looks[-1]
        older = next(each for each in self._looks if newest.at - each.at <= seconds)
        return growth(older, newest)


def load_of(gauges: list[Sample]) -> Mapping[str, float]:
    """Requests in flight, in the batch (`running`) and in the queue (`waiting`), as the last heartbeat told them."""
    names = {
        "requests_in_flight": "in flight",
        "engine_requests_running": "running",
        "engine_requests_waiting": "waiting",
    }
    return {names[name]: value for name, _, value in gauges if name in names}
