"""What comes too late for the detectors: a matter of the order of lines, not of how the file was cut into blocks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from logproc.events import LATE_S
from logproc.measure.servers import Servers
from logproc.measure.tally import tally
from logproc.measure.totals import Totals
from logproc.settings import Settings
from tests.lines import NOW_MS, block, raw, request

START_S = NOW_MS // 1000 - 100_000
Line = tuple[bool, int]
"""Whether it is a heartbeat, and its second after START_S."""


def text(line: Line) -> bytes:
    is_beat, second = line
    time = str(np.datetime64(START_S + second, "s")) + "Z"
    if is_beat:
        return raw({"time": time, "event": "heartbeat", "host": "gpu-1", "pid": 7, "in_flight": second})
    return raw(request(time=time, model="m"))


def seen(lines: list[Line], cuts: set[int]) -> tuple[dict[int, int], list[int]]:
    """Requests in each second, and the seconds of heartbeats, as the detectors get them; blocks end at `cuts`."""
    totals = Totals(Settings.model_validate({"logs": {"paths": ["-"]}}))
    edges = sorted({0, len(lines), *(cut for cut in cuts if cut < len(lines))})
    for start, end in itertools.pairwise(edges):
        tally(totals, Servers(), block(b"".join(map(text, lines[start:end])), start), lambda: NOW_MS, None)
    totals.fold()
    buckets, beats = totals.take_buckets()
    at = buckets.columns.at["requests"]
    requests = {second - START_S: int(row[at]) for rows in buckets.rows.values() for second, row in rows.items()}
    return requests, [beat.second - START_S for beat in beats]


def expected(lines: list[Line]) -> tuple[dict[int, int], list[int]]:
    """The same, line by line: what is LATE_S or less behind the newest line before it counts."""
    newest = 0
    requests: dict[int, int] = {}
    beats = []
    for is_beat, second in lines:
        newest = max(newest, second)
        if second < newest - LATE_S:
            continue
        if is_beat:
            beats.append(second)
        else:
            requests[second] = requests.get(second, 0) + 1
    return requests, beats


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), min_size=1, max_size=30), st.sets(st.integers(1, 29)))
def test_what_is_too_late_does_not_depend_on_the_blocks(lines: list[Line], cuts: set[int]) -> None:
    assert seen(lines, cuts) == expected(lines)


def test_heartbeats_are_not_late_because_a_block_holds_many_minutes() -> None:
    lines: list[Any] = [(second % 2 == 0, second * 10) for second in range(200)]

    assert seen(lines, set()) == expected(lines)
    assert len(seen(lines, set())[1]) == 100
