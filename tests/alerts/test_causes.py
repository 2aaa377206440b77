"""What the diagnosis calls the cause: one word that follows from slow requests beside those of other days."""

from __future__ import annotations

import numpy as np
import pytest

from logproc.alerts.alert import Cause
from logproc.alerts.columns import Columns
from logproc.alerts.diagnosis import Sums, Surroundings, diagnose
from logproc.settings import Thresholds

COLUMNS = Columns.of(Thresholds())
MS = 1000
USUAL = {
    "queue_us": 0, "prefill_us": 50 * MS, "decode_us": 500 * MS, "engine_duration_us": 560 * MS, "stall_us": 30 * MS,
    "duration_us": 560 * MS, "ttft_us": 60 * MS,
    "prompt_tokens": 1000, "cacheable_tokens": 1000, "cached_tokens": 800, "completion_tokens": 100,
}  # fmt: skip
"""One request."""


def sums(count: int, slow: int = 0, stalled: int = 0, **changed: float) -> Sums:
    """So many requests, all alike; `slow` of them are counted as slow."""
    one = {**USUAL, **changed}
    names = ("requests", "timed", "first_tokens", "engine", "prompts", "completions")
    row = dict.fromkeys(names, count) | {name: round(value * count) for name, value in one.items()}
    row |= {f"slow_{name}": slow for name in ("requests", "engine", "prompts", "completions")}
    row |= {f"slow_{name}": round(value * slow) for name, value in one.items()} | {"stalled": stalled}
    found = np.zeros(len(COLUMNS), np.int64)
    for name, value in row.items():
        found[COLUMNS.at[name]] = value
    return Sums(COLUMNS, found)


def cause(now: Sums, *, per_s: float = 1.0, **around: float | int) -> Cause:
    """The cause of a minute in which `now` happened, where there is usually one request a second."""
    surroundings = Surroundings(**around)  # type: ignore[arg-type]
    return diagnose("latency_p99", now, sums(3600), surroundings, round(now["requests"] / per_s), 1.0).cause


WAIT = 3000 * MS


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(sums(60, 60, queue_us=WAIT), "queue", id="they waited, and nothing else is different"),
        pytest.param(sums(60, 60, decode_us=5 * WAIT), "decode", id="each token took longer"),
        pytest.param(
            sums(60, 60, queue_us=WAIT, prompt_tokens=9000, cacheable_tokens=9000),
            "long_prompts",
            id="prompts are nine times as long",
        ),
        pytest.param(
            sums(60, 60, queue_us=WAIT, prefill_us=400 * MS, cached_tokens=100),
            "cache_misses",
            id="of the same prompts less is cached",
        ),
        pytest.param(
            sums(60, 60, queue_us=WAIT, prompt_tokens=500, cacheable_tokens=500, cached_tokens=400),
            "queue",
            id="prompts are shorter: less to be cached is no miss",
        ),
        pytest.param(
            sums(60, 60, decode_us=5 * WAIT, completion_tokens=3000),
            "long_answers",
            id="answers are thirty times as long",
        ),
        pytest.param(sums(60, 60, stalled=20, decode_us=WAIT, stall_us=WAIT), "stall", id="answers paused"),
    ],
)
def test_the_cause_is_what_explains_most_of_what_they_took_longer(now: Sums, expected: Cause) -> None:
    assert cause(now) == expected


def test_a_full_cache_explains_a_queue() -> None:
    assert cause(sums(60, 60, queue_us=WAIT), kv=0.99, waiting=9) == "kv_cache"


def test_a_server_that_has_just_started_explains_whatever_is_slow() -> None:
    assert cause(sums(60, 60, decode_us=5 * WAIT), started_ago_s=40) == "cold_start"
