"""Ten thousand mixed requests, two hundred at a time: exactly as many lines, and not one token too few or too many."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, islice
from typing import TYPE_CHECKING

import pytest

from tests.e2e.traffic import COUNTED_ONCE, KINDS, LONG_TOKENS
from tests.e2e.witness import Witness, serve_and_watch

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]

REQUESTS = 10_000
PARALLEL = 200


@pytest.fixture(scope="module")
def load(vllm_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Witness:
    folder: Path = tmp_path_factory.mktemp("load")
    counted = list(islice(cycle(COUNTED_ONCE), REQUESTS // 2))
    mixed = list(islice(cycle(KINDS), REQUESTS // 2))
    return serve_and_watch(folder, counted=counted, mixed=mixed, parallel=PARALLEL, seed=2)


def test_ten_thousand_requests_give_ten_thousand_lines(load: Witness) -> None:
    assert len(load.request_lines) == REQUESTS
    lines = Counter(line["request_id"] for line in load.request_lines)
    assert lines == Counter(call.request.request_id for call, _ in load.calls)


def test_under_load_the_heart_goes_on_beating_and_no_line_is_lost(load: Witness) -> None:
    heartbeats = [line for line in load.lines if line.get("event") == "heartbeat"]
    assert heartbeats
    assert all(line["lines_lost"] == 0 for line in heartbeats)
    assert max(line["in_flight"] for line in heartbeats) > 10
    assert max(engine["running"] for line in heartbeats for engine in line["engines"]) > 0


def test_under_load_the_token_sums_equal_vllm_s_own(load: Witness) -> None:
    assert load.line_sums == load.vllm_sums
    assert min(load.vllm_sums) > REQUESTS


def test_under_load_every_line_tells_what_its_client_saw(load: Witness) -> None:
    wrong = []
    for call, seen in load.calls:
        line = load.line_of(call)
        told = line["outcome"], line["prompt_tokens"], line["completion_tokens"]
        if seen.complete:
            expected = (seen.outcome, seen.prompt_tokens, seen.completion_tokens)
        elif line["completion_tokens"] == LONG_TOKENS:
            expected = ("truncated", *told[1:])  # it left when everything was sent to it, but not yet read
        else:
            expected = ("client_disconnect", *told[1:])
        if told != expected:
            wrong.append((call.kind, told, expected))
    assert wrong == []
