"""What the torture's writer writes: good lines of every kind, repeated ones, and some that are broken in every way."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

from benchmarks import make_log

ENDLESS: Final = 1 << 40
BEGAN_BEFORE_MS: Final = 12 * 3_600_000
"""The first line is so old: the run crosses midnight of log time, and no line lies in the future."""
BROKEN: Final = tuple(
    zip(
        (
            "not_json",
            "not_an_object",
            "missing_field",
            "wrong_type",
            "invalid_utf8",
            "nul_bytes",
            "out_of_range",
            "out_of_range",
        ),
        make_log.BROKEN,
        strict=True,
    )
)
TOO_LONG: Final = b'{"time":"2026-01-01T00:00:00.000Z","pad":"' + b"x" * (1 << 20) + b'"}\n'


def traffic(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """(what is wrong with it, the line with its newline), without end."""
    start_ms = time.time_ns() // 1_000_000 - BEGAN_BEFORE_MS
    with_ids = make_log.lines(ENDLESS, full=True, seed=rng.randrange(1 << 32), start_ms=start_ms)
    without_ids = make_log.lines(ENDLESS, seed=rng.randrange(1 << 32), start_ms=start_ms)
    repeated = next(with_ids)
    while True:
        chance = rng.random()
        if chance < 0.6:
            line = next(with_ids)
            if chance < 0.01 and b'"id":' in line:
                repeated = line
            yield "good", line
        elif chance < 0.985:
            yield "good", next(without_ids)
        elif chance < 0.99:
            yield "repeated", repeated
        elif chance < 0.991:
            yield "blank", rng.choice((b"\n", b"  \n", b"\r\n"))
        elif chance < 0.99999:
            yield rng.choice(BROKEN)
        else:
            yield "too_long", TOO_LONG
