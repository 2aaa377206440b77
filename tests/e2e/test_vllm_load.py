"""Ten thousand mixed requests, two hundred at a time: exactly as many lines, and not one token too few or too many."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.e2e import traffic
from tests.e2e.traffic import ABANDONED, KINDS, ONE_ANSWER, SEVERAL_ANSWERS
from tests.e2e.witness import Witness, serve_and_watch

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]

REQUESTS = 10_000
PARALLEL = 200


@pytest.fixture(scope="module")
def load(vllm_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Witness:
    """Each kind as often as any other, but for the last few that make the number round."""
    folder: Path = tmp_path_factory.mktemp("load")
    kinds = [KINDS[number % len(KINDS)] for number in range(REQUESTS)]
    return serve_and_watch(folder, kinds, parallel=PARALLEL, seed=2)


def test_ten_thousand_requests_give_ten_thousand_lines(load: Witness) -> None:
    assert len(load.request_lines) == REQUESTS
    lines = Counter(line["request_id"] for line in load.request_lines)
    assert lines == Counter(call.request.request_id for call, _ in load.calls)
    assert all(line["lines_lost"] == 0 for line in load.lines if line.get("event") == "heartbeat")


def test_under_load_the_token_sums_equal_vllm_s_own(load: Witness) -> None:
    lines = {line["request_id"]: line for line in load.request_lines}
    finished = [lines[call.request.request_id] for call, _ in load.one_answer]
    sums = sum(line["prompt_tokens"] for line in finished), sum(line["completion_tokens"] for line in finished)
    assert sums == load.vllm_sums


def test_under_load_every_line_tells_what_its_client_saw(load: Witness) -> None:
    lines = {line["request_id"]: line for line in load.request_lines}
    wrong = []
    for call, seen in load.calls:
        line = lines[call.request.request_id]
        told = line["outcome"], line["prompt_tokens"], line["completion_tokens"]
        if call.kind in ABANDONED:
            expected = ("client_disconnect", *told[1:])
        elif call.kind in ONE_ANSWER or call.kind in SEVERAL_ANSWERS:
            expected = (seen.outcome, seen.prompt_tokens, seen.completion_tokens)
        else:
            expected = ("rejected", None, None)
        if told != expected:
            wrong.append((call.kind, told, expected))
    assert wrong == []
    assert {call.kind for call, _ in load.calls} == set(traffic.KINDS)
