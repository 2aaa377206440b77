"""Why it is slow: points with their cause, and beside one request what is usual for its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.flags import Flagger
from logproc.settings import Thresholds
from logproc.web.why_api import cause_of, usual_of
from tests.lines import NOW_MS
from tests.stores.documents_of import at, document
from tests.test_flags import flags
from tests.web.test_api import Api, event_loop

__all__ = ["event_loop"]


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"duration_ms": 100.0, "queue_ms": 90.0}, None),  # not slow
        ({"duration_ms": 100.0, "finish_reason": "length", "queue_ms": 90.0}, None),  # odd, and not slow
        ({"duration_ms": 9000.0, "queue_ms": 8000.0, "prefill_ms": 500.0, "decode_ms": 500.0}, "queue"),
        ({"duration_ms": 9000.0, "queue_ms": 0.0, "prefill_ms": 8000.0, "decode_ms": 500.0}, "prefill"),
        ({"duration_ms": 9000.0, "queue_ms": 0.0, "prefill_ms": 500.0, "decode_ms": 8500.0}, "decode"),
        ({"duration_ms": 9000.0, "queue_ms": 0.0, "prefill_ms": 500.0, "decode_ms": 500.0}, "client"),
        ({"duration_ms": 9000.0, "ttft_ms": 100.0, "stream": True, "stall_max_ms": 7000.0}, "stall"),
        ({"duration_ms": 9000.0, "ttft_ms": 100.0, "stream": True}, "decode"),
        ({"duration_ms": 9000.0, "ttft_ms": 8900.0, "stream": True}, "unknown"),  # queue or prefill: nobody has said
        ({"duration_ms": 9000.0}, "unknown"),
        # A long answer with the usual gaps, and a moment in the queue: nothing is odd but its length.
        (
            {
                "duration_ms": 40_000.0, "completion_tokens": 1000, "queue_ms": 50.0, "prefill_ms": 250.0,
                "decode_ms": 39_600.0, "stall_max_ms": 60.0, "ttft_ms": 300.0, "stream": True,
            },
            "decode",
        ),
        # A long prompt and a long answer take their time: what is left over is the queue.
        (
            {
                "duration_ms": 30_000.0, "prompt_tokens": 20_000, "completion_tokens": 300, "queue_ms": 6000.0,
                "prefill_ms": 10_000.0, "decode_ms": 14_000.0,
            },
            "queue",
        ),
    ],
)  # fmt: skip
def test_the_cause_is_what_took_most_beyond_the_usual(fields: dict[str, Any], cause: str | None) -> None:
    found = document(**fields)
    assert cause_of(found, Flagger(Thresholds())) == cause


COUNT = st.one_of(st.none(), st.integers(0, 3000))


@settings(max_examples=150, deadline=None)
@given(
    fields=st.fixed_dictionaries(
        {
            "prompt_tokens": COUNT,
            "completion_tokens": COUNT,
            "cached_tokens": st.integers(0, 3000),
            "duration_ms": st.integers(0, 60_000),
            "ttft_ms": st.integers(0, 3000),
            "decode_ms": st.integers(0, 60_000),
            "model": st.sampled_from(["m", "own"]),
            "status": st.sampled_from([200, 429]),
        }
    )
)
def test_what_is_usual_is_what_the_flags_go_by(fields: dict[str, Any]) -> None:
    levels: dict[str, Any] = {"models": {"own": {"duration_s": 1.0, "slow_for_size": {"s_per_token": 0.001}}}}
    line = at(NOW_MS, **fields, stream=True)
    (found,) = flags(line, **levels)
    bounds = usual_of(document(**fields, stream=True), Flagger(Thresholds.model_validate(levels)))
    assert ("slow" in found) == (bounds.duration_ms is not None and fields["duration_ms"] > bounds.duration_ms)
    first = bounds.ttft_ms is not None and fields["ttft_ms"] > bounds.ttft_ms
    decode = bounds.decode_ms is not None and fields["decode_ms"] > bounds.decode_ms
    assert ("slow_for_size" in found) == (first or decode)


def test_where_nothing_is_judged_nothing_is_usual() -> None:
    off = Thresholds.model_validate({"duration_s": None, "slow_for_size": None})
    asked: dict[str, Any] = {"model": None, "outcome": "ok", "prompt_tokens": 5, "cached_tokens": None}
    assert set(Flagger(off).usual(completion_tokens=100, **asked)) == {None}
    assert Flagger(Thresholds()).usual(completion_tokens=3, **asked)._asdict() == {
        "ttft_ms": 502.5,
        "decode_ms": None,  # too short to be judged
        "duration_ms": 3000.0,
    }


LINES = [
    at(NOW_MS - 1000 * i, model="m", prompt_tokens=100 * i, ttft_ms=50.0 * i, duration_ms=60.0 * i, queue_ms=40.0 * i)
    for i in range(30)
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    return Api(tmp_path_factory.mktemp("why"), *LINES, at(NOW_MS, prompt_tokens=None), at(NOW_MS))


def test_points_are_told_with_what_is_needed_to_find_the_request(api: Api) -> None:
    answer = api.get("scatter")
    assert (answer["x"], answer["y"], answer["total"], answer["shown"]) == ("prompt_tokens", "ttft", 30, 30)
    last = min(answer["items"], key=lambda each: each["time"])
    found = api.get(f"requests/{last['id']}")["document"]
    assert last == {
        "id": found["event.id"],
        "time": found["@timestamp"],
        "x": 2900,
        "y": 1450.0,
        "cause": "queue",
        "outcome": "ok",
        "model": "m",
        "flags": found["llm.flags"],
    }


def test_points_keep_to_filters_range_and_limit(api: Api) -> None:
    assert api.get("scatter", slower_than="1500ms")["total"] == 4
    assert api.get("scatter", flag="slow_first_token", y="duration")["total"] == 13
    assert api.get("scatter", to="2h", **{"from": "3h"})["items"] == []
    some = api.get("scatter", limit=10)
    assert (some["total"], some["shown"], len(some["items"])) == (30, 10, 10)
    assert {1450.0, 1400.0, 1350.0, 1300.0, 1250.0} <= {each["y"] for each in some["items"]}


@pytest.mark.parametrize(
    "asked", [{"x": "ttft"}, {"y": "prompt_tokens"}, {"limit": "5001"}, {"limit": "0"}, {"z": "1"}]
)
def test_axes_that_there_are_not_are_400(api: Api, asked: dict[str, str]) -> None:
    status, answer = api.refused("scatter", **asked)
    assert (status, answer["parameter"]) == (400, next(iter(asked)))


def test_beside_one_request_stands_what_is_usual_for_its_size(tmp_path: Path) -> None:
    api = Api(tmp_path, at(NOW_MS, prompt_tokens=1000, cached_tokens=200, completion_tokens=40))
    (found,) = api.get("requests")["items"]
    assert api.get(f"requests/{found['event.id']}")["usual"] == {
        "ttft_ms": 900.0,
        "decode_ms": 2000.0,
        "duration_ms": 3000.0,
    }
