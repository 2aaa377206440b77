"""The whole numbers in which one second of one model is told: the columns of a bucket."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from logproc.alerts.alert import SEVERITIES, Severity
from logproc.settings import Levels, Thresholds

LATENCY: Final = ("duration_s", "duration_p95_s", "ttft_s", "tokens_per_second")
"""The thresholds by which single requests are judged: each has a column for every level."""

SIZED: Final = LATENCY[:3]
"""Of these the first column of a level counts requests that are also slow for their size; a second one, named
`…:any_size`, all that are over it."""

PARTS: Final = ("queue", "prefill", "decode")
"""What the engine's time is made of."""

COUNTS: Final = (
    "requests", "timed", "first_tokens", "speeds", "answerable", "errors", "generations", "empties", "disconnects",
    "stream_errors", "server_errors", "rejected_200", "stalled",
)  # fmt: skip
"""`timed` count for latency (all but rejected), `first_tokens` are streams with a TTFT, `speeds` those with a decode
speed; `errors` are counted of the `answerable` (all but 4xx), `empties` of the `generations` (2xx that should hold
text). `stalled` are those with the flag `stall`."""

SIZES: Final = (
    "engine", "duration_us", "ttft_us", "queue_us", "prefill_us", "decode_us", "engine_duration_us", "stall_us",
    "prompts", "prompt_tokens", "cacheable_tokens", "cached_tokens", "completions", "completion_tokens",
)  # fmt: skip
"""Sums. Of `engine` requests the three parts are known, and `engine_duration_us` is the time that those took in all.
`cacheable_tokens` are the prompt tokens of requests that told how many were cached."""

SLOW: Final = tuple(f"slow_{name}" for name in ("requests", *SIZES))
"""The same of slow requests alone: those over the lowest level of one of `LATENCY`."""

LOGS: Final = (
    "log_durations",
    "log_duration",
    "log_duration_2",
    "log_completions",
    "log_completion",
    "log_completion_2",
)
"""How many, the sum of their natural logarithms in thousandths, and of the squares of these: for geometric means."""

HISTOGRAMS: Final = ("duration", "ttft")
HISTOGRAM_BINS: Final = 26
EDGES_MS: Final = 4 * 1.6 ** np.arange(HISTOGRAM_BINS + 1)
"""Between the bins, ms, from 4 ms to 13 minutes: for the percentile that is shown. Shape (HISTOGRAM_BINS + 1,)."""


@dataclass(frozen=True)
class Columns:
    """The columns that a bucket has with certain thresholds, and where each of them stands."""

    names: tuple[str, ...]
    at: dict[str, int] = field(compare=False)

    @classmethod
    def of(cls, thresholds: Thresholds) -> Columns:
        """The columns with these thresholds: the same ones whenever the same severities have a level."""
        names = [*COUNTS, *SIZES, *SLOW, *LOGS]
        names += [f"{name}:{severity}" for name in LATENCY for severity in severities(thresholds, name)]
        names += [f"{name}:{severity}:any_size" for name in SIZED for severity in severities(thresholds, name)]
        names += [f"{name}:{place}" for name in HISTOGRAMS for place in range(HISTOGRAM_BINS)]
        return cls(tuple(names), {name: place for place, name in enumerate(names)})

    def __len__(self) -> int:
        return len(self.names)

    def histogram(self, name: str) -> slice:
        """Where the bins of a histogram stand."""
        first = self.at[f"{name}:0"]
        return slice(first, first + HISTOGRAM_BINS)


def levels(thresholds: Thresholds, model: str, name: str) -> Levels:
    """The levels of a threshold that count for a model: its own, else those of all."""
    own = thresholds.models.get(model)
    found: Levels = getattr(own, name, None) or getattr(thresholds, name)
    return found


def severities(thresholds: Thresholds, name: str) -> list[Severity]:
    """The severities for which a threshold has a level, for any model, from mild to grave."""
    every = [levels(thresholds, model, name) for model in ("", *thresholds.models)]
    return [severity for severity in SEVERITIES if any(getattr(each, severity) is not None for each in every)]


Ints = npt.NDArray[np.int64]
