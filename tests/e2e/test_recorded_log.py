"""The small log that a real vLLM wrote once (see tests/services/record_log.py), for machines that have no vLLM."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from logproc.record import OUTCOMES, REQUEST_FIELDS, ServerRecord
from logproc.replay import replay
from logproc.settings import Settings
from tests.oracle import recount

LOG = Path(__file__).parents[1] / "fixtures" / "vllm_access.jsonl"


def test_replay_of_the_recorded_log_agrees_with_a_recount() -> None:
    counted = recount(LOG.read_bytes().splitlines())
    result = replay([LOG], Settings.model_validate({"logs": {"paths": ["-"]}}))
    assert result["lines"] == {"ok": counted.lines, "rejected": 0, "unrelated": 0}
    outcomes: Counter[str] = Counter()
    for (_, _, _, outcome), count in counted.requests.items():
        outcomes[outcome] += count
    assert {name: count for name, count in result["outcomes"].items() if count} == outcomes
    assert result["requests"] == outcomes.total() >= 200
    assert result["tokens"]["prompt"] == counted.tokens["tiny", "prompt"]
    assert result["tokens"]["completion"] == counted.tokens["tiny", "completion"]


def test_the_recorded_log_holds_only_fields_of_the_contract_in_their_order() -> None:
    seen_outcomes = set()
    for text in LOG.read_text().splitlines():
        line = json.loads(text)
        names = ServerRecord.__struct_fields__ if "event" in line else REQUEST_FIELDS
        assert list(line) == [name for name in names if name in line]
        seen_outcomes.add(line.get("outcome"))
    assert {"ok", "empty", "truncated", "rejected", "client_disconnect"} <= seen_outcomes <= {*OUTCOMES, None}
