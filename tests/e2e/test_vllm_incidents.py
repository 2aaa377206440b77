"""Incidents played into a real vLLM's traffic: logproc's alert names each of them, with its cause and its requests.

Two servers have a quiet time first, from which `report --calibrate` makes their thresholds, as an operator would. Then
one of them gets answers that end at once and a flood of long prompts; the other, which has one place, more requests
than it can take.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from logproc.alerts import record
from logproc.alerts.alert import Alert
from tests.e2e.client import Request, send
from tests.e2e.traffic import ENDS_AT_ONCE, SENTENCE
from tests.e2e.witness import read_lines
from tests.pipeline import Pipeline, until
from tests.services.vllm import MODEL_NAME, VllmServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.service, pytest.mark.timeout(1500)]

QUIET_S = 230.0
"""A new model is not judged for the first three minutes."""
INCIDENT_S = 45.0
PAUSE_S = 20.0
LONG_WORDS = 900


@dataclass
class Watched:
    """A server and the pipeline that watches it live."""

    server: VllmServer
    pipeline: Pipeline
    seed: int
    sent: int = 0

    def alerts(self) -> list[Alert]:
        return [alert for _, alert in record.after(self.pipeline.state / "measure.db", 0)]

    def firing(self, *kinds: str) -> list[Alert]:
        return [alert for alert in self.alerts() if alert.state == "firing" and alert.kind in kinds]

    def request(self, **more: Any) -> Request:
        """A streamed chat; words: of the prompt."""
        rng = random.Random(self.seed * 1_000_000 + self.sent)
        self.sent += 1
        words = rng.choices(SENTENCE.split(), k=more.pop("words", rng.randint(5, 30)))
        body = {
            "model": MODEL_NAME,
            "messages": [{"role": "user", "content": " ".join(words)}],
            "max_tokens": rng.randint(16, 32),
            "ignore_eos": True,
            "stream": True,
        }
        return Request(
            f"{more.pop('name', 'quiet')}-{self.sent}", "POST", "/v1/chat/completions", json.dumps(body | more).encode()
        )


async def steady(watched: Watched, seconds: float, every_s: float, **more: Any) -> None:
    """Requests at random moments, on average one in `every_s`, whatever the server does with them."""
    async with asyncio.TaskGroup() as tasks:
        async for _ in moments(seconds, every_s, watched.seed):
            tasks.create_task(send(watched.server.port, watched.request(**more)))


async def moments(seconds: float, every_s: float, seed: int) -> AsyncIterator[None]:
    rng, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(min(rng.expovariate(1 / every_s), 3 * every_s))
        yield


async def crowd(watched: Watched, seconds: float, parallel: int, **more: Any) -> None:
    """So many clients, each with one request after the other."""
    end = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < end:
            await send(watched.server.port, watched.request(**more))

    await asyncio.gather(*(client() for _ in range(parallel)))


async def both(one: Any, other: Any) -> None:
    await asyncio.gather(one, other)


def calibrated(folder: Path, log: Path) -> dict[str, Any]:
    """The settings' thresholds as `report --calibrate` prints them, and absolute ones well above what was seen."""
    once = Pipeline(folder, [str(log)])
    assert once.run("--once").returncode == 0
    report = [sys.executable, "-m", "logproc", "report", str(once.file)]
    printed = subprocess.run([*report, "--calibrate"], check=True, capture_output=True, text=True, timeout=60).stdout
    card = subprocess.run([*report, "--as", "json"], check=False, capture_output=True, text=True, timeout=60).stdout
    figures = json.loads(card)["cards"][0]["figures"]
    thresholds: dict[str, Any] = yaml.safe_load(printed)["thresholds"]
    thresholds["duration_s"] = round(2 * figures["duration_p99_s"]["value"], 3)
    thresholds["duration_p95_s"] = None
    thresholds["ttft_s"] = round(3 * figures["ttft_p95_s"]["value"], 3)
    thresholds["tokens_per_second"] = round(figures["tokens_per_second_p5"]["value"] / 4, 3)
    return thresholds


@pytest.fixture(scope="module")
def servers(vllm_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, Watched]]:
    """(many places, one place), after their quiet time, watched live."""
    folder = tmp_path_factory.mktemp("incidents")
    with ExitStack() as stack:
        found = []
        for seed, (name, places) in enumerate((("many", "4"), ("one", "1"))):
            server = VllmServer(folder / name, arguments=("--max-num-seqs", places, "--no-enable-prefix-caching"))
            stack.enter_context(server)
            found.append(Watched(server, Pipeline(folder / name, []), seed))
        many, one = found
        asyncio.run(both(steady(many, QUIET_S, 0.5), steady(one, QUIET_S, 1.8)))
        for watched in found:
            log = watched.server.access_log
            (scratch := watched.server.folder / "calibrate").mkdir()
            watched.pipeline = Pipeline(
                watched.server.folder, [str(log)], thresholds=calibrated(scratch, log)
            )  # fmt: skip
            watched.pipeline.start()
            until(watched.pipeline.is_up, "logproc to answer")
            stack.callback(watched.pipeline.stop)
        assert [watched.alerts() for watched in found] == [[], []], "the quiet time was not silent"
        yield many, one


def requests_of(watched: Watched, alert: Alert) -> list[str]:
    """The client's ids of the alert's examples."""
    lines = {line["id"]: line for line in read_lines(watched.server.access_log) if "event" not in line}
    return [lines[example]["request_id"] for example in alert.examples]


SLOW = ("latency_p99", "ttft", "tokens_per_second")


def test_more_requests_than_places_is_a_queue(servers: tuple[Watched, Watched]) -> None:
    _, one = servers
    asyncio.run(both(crowd(one, INCIDENT_S, 12, name="crowd"), steady(one, INCIDENT_S, 1.8)))
    until(lambda: bool(one.firing(*SLOW)), "an alert that requests are slow")
    alert = one.firing(*SLOW)[0]
    assert alert.cause == "queue", alert
    assert max(alert.shares, key=lambda name: alert.shares[name]) == "queue", alert
    assert alert.examples
    assert "queue" in alert.text["en"].lower()
    assert alert.text["zh"]


def test_answers_that_end_at_once_are_empty(servers: tuple[Watched, Watched]) -> None:
    many, _ = servers
    empty = {"ignore_eos": False, **ENDS_AT_ONCE}
    asyncio.run(both(steady(many, INCIDENT_S, 0.5), steady(many, INCIDENT_S, 1.0, name="empty", **empty)))
    until(lambda: bool(many.firing("empty")), "an alert that answers are empty")
    alert = many.firing("empty")[0]
    assert all(name.startswith("empty-") for name in requests_of(many, alert)), alert
    assert not many.firing(*SLOW, "errors")


def test_a_flood_of_long_prompts_is_named_so(servers: tuple[Watched, Watched]) -> None:
    many, _ = servers
    time.sleep(PAUSE_S)
    asyncio.run(
        both(steady(many, INCIDENT_S, 0.5), crowd(many, INCIDENT_S, 10, name="flood", words=LONG_WORDS, max_tokens=4))
    )
    until(lambda: bool(many.firing(*SLOW)), "an alert that requests are slow")
    alert = many.firing(*SLOW)[0]
    assert alert.cause == "long_prompts", alert
    # Those that took longest for their size may be the short ones that waited behind the long.
    assert {name.partition("-")[0] for name in requests_of(many, alert)} <= {"flood", "quiet"}, alert
    assert alert.examples
    assert "prompt" in alert.text["en"].lower()
