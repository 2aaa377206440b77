"""The stat-logger plugin takes what vLLM 0.32 was recorded to give, and lets nothing out, whatever it is given."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from serve import timings
from serve.timings import EngineLoads, Timings, TimingsTable

RECORDED = Path(__file__).parents[1] / "fixtures" / "vllm-0.32-stats"


class StatLoggerBaseDouble(ABC):
    """Stands in for vLLM's class, with a method that a later version may add."""

    @abstractmethod
    def __init__(self, vllm_config: object, engine_index: int = 0) -> None: ...

    @abstractmethod
    def record(self, scheduler_stats: object, iteration_stats: object, **more: object) -> None: ...

    @abstractmethod
    def log_engine_initialized(self) -> None: ...

    @abstractmethod
    def of_a_later_version(self) -> None: ...

    def log(self) -> str:
        return "of the base"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin's module, imported beside a double of vLLM's, with tables of its own."""
    loggers = ModuleType("vllm.v1.metrics.loggers")
    loggers.StatLoggerBase = StatLoggerBaseDouble  # type: ignore[attr-defined]
    for name in ("vllm", "vllm.v1", "vllm.v1.metrics"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, loggers.__name__, loggers)
    monkeypatch.setattr(timings, "TIMINGS", TimingsTable())
    monkeypatch.setattr(timings, "ENGINES", EngineLoads())
    monkeypatch.delitem(sys.modules, "serve.engine_timings", raising=False)
    yield importlib.import_module("serve.engine_timings")
    sys.modules.pop("serve.engine_timings", None)


def replay(plugin: Any, name: str) -> None:
    """Give the recorded steps to the plugin as vLLM does."""
    logger = plugin.EngineTimings(SimpleNamespace(), 0)
    logger.log_engine_initialized()
    for line in (RECORDED / name).read_text().splitlines():
        step = json.loads(line)
        load = SimpleNamespace(num_running_reqs=step["running"], num_waiting_reqs=step["waiting"], kv_cache_usage=0.5)
        logger.record(
            None if step["running"] is None else load,
            SimpleNamespace(finished_requests=[SimpleNamespace(**step["f"])]),
            mm_cache_stats=None,
            engine_idx=step["engine_idx"],
        )
        logger.log()


@pytest.mark.parametrize(
    ("recording", "response_id", "expected"),
    [
        (
            "stat_A.jsonl",
            "chatcmpl-a83c28b69632ce55",
            Timings(0.22, 41.535, 13.606, 3.402, 76.668, 0, 0, 15, 5, 5, None, "length"),
        ),
        (
            "stat_A.jsonl",
            "chatcmpl-client-abc-123",
            Timings(0.023, 3.438, 9.228, 2.307, 15.288, 0, 0, 15, 5, 5, None, "length"),
        ),
        (  # n = 2: the prompt once, the tokens of both
            "stat_A.jsonl",
            "chatcmpl-n2req",
            Timings(0.011, 12.851, 26.132, 8.711, 49.329, 0, 0, 15, 8, 4, None, "length"),
        ),
        (  # nothing but the end-of-sequence token
            "stat_A.jsonl",
            "chatcmpl-af1a3ae736065c9a",
            Timings(0.022, 5.866, 0.0, None, 9.191, 0, 0, 15, 1, 16, None, "stop"),
        ),
        (
            "stat_A.jsonl",
            "cmpl-ba769534f8507370",
            Timings(0.048, 7.084, 17.006, 4.252, 27.333, 0, 0, 2, 5, 5, None, "length"),
        ),
        (
            "stat_A.jsonl",
            "resp_89c22cbdabc5881d",
            Timings(0.028, 8.869, 12.6, 3.15, 24.662, 0, 0, 13, 5, 5, None, "length"),
        ),
        (  # a batch of two chats
            "stat_A.jsonl",
            "chatcmpl-95ec9a8f4edb4053",
            Timings(0.012, 3.892, 5.776, 2.888, 17.214, 0, 0, 30, 6, 3, None, "length"),
        ),
        (  # a prompt that was partly in the prefix cache
            "stat_B.jsonl",
            "chatcmpl-aeec16bba8e425f4",
            Timings(0.04, 12.096, 5.982, 5.982, 23.497, 128, 0, 223, 2, 2, None, "length"),
        ),
        (  # two prompts, n = 2
            "stat_C.jsonl",
            "cmpl-mp",
            Timings(0.022, 7.946, 20.162, 10.081, 40.913, 0, 0, 3, 12, 3, None, "length"),
        ),
        (  # --disable-log-stats --api-server-count 2: the recorded prefill is the uptime of the host
            "stat_E.jsonl",
            "chatcmpl-93a9bef99f1d8e5d",
            Timings(None, None, 22.217, 5.554, 58.979, 0, 0, 15, 5, 5, None, "length"),
        ),
        (  # embeddings of two texts
            "stat_G.jsonl",
            "embd-emb1",
            Timings(0.058, 23.67, None, None, 28.079, 0, 0, 7, 0, None, None, "stop"),
        ),
    ],
)
def test_a_recorded_request_has_its_timings(plugin: Any, recording: str, response_id: str, expected: Timings) -> None:
    replay(plugin, recording)
    assert timings.TIMINGS.take(response_id) == expected


def test_the_load_is_that_of_the_last_step_and_counts_those_held_back_as_waiting(plugin: Any) -> None:
    logger = plugin.EngineTimings(None, 1)
    logger.record(SimpleNamespace(num_running_reqs=9, num_waiting_reqs=9, kv_cache_usage=0.9), None, engine_idx=1)
    load = SimpleNamespace(num_running_reqs=3, num_waiting_reqs=1, num_skipped_waiting_reqs=2, kv_cache_usage=0.5)
    logger.record(load, None, None, 1)
    logger.record(None, None, engine_idx=1)
    assert timings.ENGINES.fresh() == [{"engine": 1, "running": 3, "waiting": 3, "kv_cache_usage": 0.5}]


def test_a_method_that_a_later_vllm_asks_for_does_not_keep_the_server_from_starting(plugin: Any) -> None:
    logger = plugin.EngineTimings(vllm_config=None, engine_index=0)
    assert logger.of_a_later_version() is None
    assert issubclass(plugin.EngineTimings, StatLoggerBaseDouble)


class Hostile:
    """Raises at whatever is done to it, but for the attributes it was given."""

    def __init__(self, **given: object) -> None:
        self.__dict__.update(given)

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} here")

    def __iter__(self) -> Any:
        raise RuntimeError("no iteration")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __str__(self) -> str:
        raise RuntimeError("no text")


FIELDS = [
    "finish_reason",
    "request_id",
    "e2e_latency",
    "num_prompt_tokens",
    "num_preemptions",
    "num_generation_tokens",
    "max_tokens_param",
    "queued_time",
    "prefill_time",
    "decode_time",
    "mean_time_per_output_token",
    "is_corrupted",
    "num_cached_tokens",
]
GOOD = SimpleNamespace(request_id="good", e2e_latency=1.0)


class Without:
    """A finished request, one of whose fields raises."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __getattr__(self, name: str) -> Any:
        if name == self._field:
            raise RuntimeError("this field is broken")
        return {"request_id": "other", "num_generation_tokens": 5}.get(name)


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_raises_costs_no_other_request_its_timings(plugin: Any, field: str) -> None:
    logger = plugin.EngineTimings()
    logger.record(Hostile(), SimpleNamespace(finished_requests=[Without(field), GOOD]))
    assert timings.TIMINGS.take("good") == Timings(e2e_ms=1000.0)
    assert timings.TIMINGS.take("other") is None


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (None, None),
        (Hostile(), Hostile()),
        (Hostile(num_running_reqs=Hostile()), SimpleNamespace(finished_requests=Hostile())),
        (SimpleNamespace(), SimpleNamespace(finished_requests=[Hostile(), None, 7, "text"])),
        (1, 2, 3, "not a number", 5, 6),
        (SimpleNamespace(num_running_reqs="many", num_waiting_reqs=None), SimpleNamespace(finished_requests=[{}])),
        (None, SimpleNamespace(finished_requests=[SimpleNamespace(request_id="x", finish_reason=Hostile())])),
    ],
)
def test_nothing_leaves_the_plugin_whatever_it_is_given(plugin: Any, arguments: tuple[object, ...]) -> None:
    logger = plugin.EngineTimings(Hostile(), Hostile(), Hostile(), odd=Hostile())
    logger.record(*arguments)
    logger.record(*arguments, engine_idx=Hostile(), of_a_later_version=Hostile()) if len(arguments) < 4 else None
    logger.record(scheduler_stats=None, iteration_stats=SimpleNamespace(finished_requests=[GOOD]))
    assert timings.TIMINGS.take("good") == Timings(e2e_ms=1000.0)


@pytest.mark.parametrize("part", ["TIMINGS", "ENGINES", "timings_of"])
def test_a_defect_in_our_own_parts_stays_inside_and_is_said_once(
    plugin: Any, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "logproc.serve")
    monkeypatch.setattr(plugin, part, Hostile())
    logger = plugin.EngineTimings()
    for _ in range(3):
        logger.record(SimpleNamespace(), SimpleNamespace(finished_requests=[GOOD]))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_log_handler_that_raises_does_not_reach_the_engine(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_LOG", Hostile())
    monkeypatch.setattr(plugin, "ENGINES", Hostile())
    plugin.EngineTimings().record(SimpleNamespace(), None)
