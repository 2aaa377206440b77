"""Every kind of alert fires on its trouble and is resolved after it, and its healthy twin is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from logproc.alerts.alert import KINDS, Alert
from tests.alerts.play import (
    BEGIN,
    DAY,
    FAILED,
    HOUR,
    MINUTE,
    SLOW,
    Log,
    alerts,
    heartbeats,
    lives,
    requests,
    second_of,
    server,
)

BAD, GOOD_AGAIN, END = 10 * MINUTE, 15 * MINUTE, 32 * MINUTE


def around(bad: Log, begin: int = BAD, end: int = GOOD_AGAIN) -> Log:
    """Ten good minutes, the trouble, and as much good as an alert needs to end."""
    return requests(0, begin) + bad + requests(end, END)


def grown(bytes_each_time: int) -> Iterator[int]:
    return iter(range(40 << 30, 80 << 30, bytes_each_time)) if bytes_each_time else iter([40 << 30] * 1000)


def days(today: Log) -> Log:
    """Three days with an hour of traffic each, then today: what is usual at this hour is known."""
    return [said for day in (3, 2, 1) for said in requests(-day * DAY, HOUR - day * DAY, 5.0)] + today


@dataclass(frozen=True)
class Case:
    """A kind, a log with its trouble, and one that looks alike and is healthy."""

    kind: str
    trouble: Callable[[], Log]
    healthy: Callable[[], Log]
    thresholds: dict[str, Any] = field(default_factory=dict)
    begins: int = BAD
    who: str = "m"


def only(**wanted: Any) -> dict[str, Any]:
    """Thresholds with nothing on but these."""
    names = (
        "duration_s", "duration_p95_s", "ttft_s", "tokens_per_second", "error_ratio", "empty_ratio", "kv_cache_ratio",
        "silent_s", "server_gone_s", "queue_growth", "drift",
    )  # fmt: skip
    return dict.fromkeys(names) | wanted


EMPTY: dict[str, Any] = {"outcome": "empty", "completion_tokens": 1}
STEPS: dict[str, Any] = {"tpot_ms": 100.0, "decode_ms": 2500.0, "duration_ms": 2700.0}

CASES = (
    Case(
        "latency_p99",
        lambda: around(requests(BAD, GOOD_AGAIN, **SLOW)),
        lambda: around(requests(BAD, GOOD_AGAIN, bad=200, **SLOW)),
        only(duration_s=3.0),
    ),
    Case(
        "latency_p95",
        lambda: around(requests(BAD, GOOD_AGAIN, **SLOW)),
        lambda: around(requests(BAD, GOOD_AGAIN, bad=25, **SLOW)),
        only(duration_p95_s={"warning": 5.0, "for": "2m"}),
    ),
    Case(
        "ttft",
        lambda: around(requests(BAD, GOOD_AGAIN, ttft_ms=2500.0, duration_ms=3300.0)),
        lambda: around(requests(BAD, GOOD_AGAIN, bad=25, ttft_ms=2500.0, duration_ms=3300.0)),
        only(ttft_s=0.8),
    ),
    Case(
        "tokens_per_second",
        lambda: around(requests(BAD, GOOD_AGAIN, **STEPS)),
        lambda: around(requests(BAD, GOOD_AGAIN, bad=25, **STEPS)),
        only(tokens_per_second=20.0),
    ),
    Case(
        "errors",
        lambda: around(requests(BAD, GOOD_AGAIN, bad=4, **FAILED)),
        lambda: around(requests(BAD, GOOD_AGAIN, bad=4, status=429, outcome="rejected")),
        only(error_ratio=0.05),
    ),
    Case(
        "empty",
        lambda: around(requests(BAD, GOOD_AGAIN, bad=5, **EMPTY)),
        lambda: around(requests(BAD, GOOD_AGAIN, bad=5, max_tokens=1, **EMPTY)),
    ),
    Case(
        "traffic_silent",
        lambda: days([*requests(0, BAD, 5.0), *requests(30 * MINUTE, HOUR, 5.0)]),
        lambda: days(requests(0, HOUR, 5.0)),
    ),
    Case(
        "server_gone",
        lambda: requests(0, END) + heartbeats(0, BAD) + heartbeats(GOOD_AGAIN, END),
        lambda: requests(0, END) + heartbeats(0, BAD) + server(BAD, "server_stopped"),
        who="gpu-1",
    ),
    Case(
        "cold_start",
        lambda: requests(BAD, END) + server(BAD, "server_started", startup_s=300.0) + heartbeats(BAD, END),
        lambda: requests(BAD, END) + server(BAD, "server_started", startup_s=30.0) + heartbeats(BAD, END),
        {"startup_s": 120},
        begins=BAD - 300,
        who="gpu-1",
    ),
    Case(
        "kv_cache_full",
        lambda: (
            requests(0, END)
            + heartbeats(0, BAD)
            + heartbeats(BAD, GOOD_AGAIN, kv=0.99, waiting=3)
            + heartbeats(GOOD_AGAIN, END)
        ),
        lambda: requests(0, END) + heartbeats(0, END, kv=0.99, waiting=0),
        who="gpu-1",
    ),
    Case(
        "gpu_memory",
        lambda: requests(0, 60 * MINUTE) + heartbeats(0, 40 * MINUTE, gpu=grown(100 << 20)),
        lambda: requests(0, 40 * MINUTE) + heartbeats(0, 40 * MINUTE, gpu=grown(0)),
        begins=0,
        who="gpu-1",
    ),
    Case(
        "queue_growing",
        lambda: (
            requests(0, END)
            + heartbeats(0, BAD)
            + heartbeats(BAD, GOOD_AGAIN, waiting=40)
            + heartbeats(GOOD_AGAIN, END)
        ),
        lambda: requests(0, END) + heartbeats(0, END, waiting=2),
        who="gpu-1",
    ),
    Case(
        "drift",
        lambda: days([*requests(0, BAD, 2.0, duration_ms=4000.0), *requests(BAD, HOUR, 2.0)]),
        lambda: days([*requests(0, BAD, 2.0, duration_ms=1300.0), *requests(BAD, HOUR, 2.0)]),
        only(drift=2.0),
        begins=0,
    ),
)
BY_KIND = pytest.mark.parametrize("case", CASES, ids=[case.kind for case in CASES])


@cache
def found_in(kind: str) -> tuple[Alert, ...]:
    case = next(case for case in CASES if case.kind == kind)
    return tuple(alerts(case.trouble(), case.thresholds))


def test_every_kind_is_played() -> None:
    assert sorted(case.kind for case in CASES) == sorted(KINDS)


@BY_KIND
def test_each_kind_fires_on_its_trouble_and_is_resolved_after_it(case: Case) -> None:
    found = found_in(case.kind)

    told = lives(found)[f"{case.kind} {case.who}"]
    assert told[-2:] == ["firing", "resolved"], told
    assert told[:-2] in ([], ["pending"])
    assert len({alert.id for alert in found if alert.kind == case.kind}) == 1


@BY_KIND
def test_each_kind_says_since_when(case: Case) -> None:
    found = next(alert for alert in found_in(case.kind) if alert.kind == case.kind)

    assert abs(second_of(found.since) - case.begins) <= 60
    assert found.text["en"].endswith(".")
    assert found.text["zh"].endswith("。")
    assert "?" not in found.text["en"]


@BY_KIND
def test_a_healthy_log_that_looks_alike_raises_nothing(case: Case) -> None:
    assert lives(alerts(case.healthy(), case.thresholds)) == {}


def test_nothing_is_raised_at_an_hour_that_is_usually_quiet() -> None:
    assert lives(alerts(days(requests(0, HOUR, 5.0)), until=3 * HOUR)) == {}


def test_memory_over_its_ratio_fires_only_where_one_is_set() -> None:
    log = requests(0, END) + heartbeats(0, END, gpu=iter([79 << 30] * 1000))

    assert lives(alerts(log)) == {}
    assert lives(alerts(log, {"gpu_memory_ratio": 0.9})) == {"gpu_memory gpu-1": ["firing"]}


def test_the_made_logs_begin_when_they_should() -> None:
    assert BEGIN % HOUR == 0
