"""Every line that a real vLLM writes, held against what its clients saw and against vLLM's own counters."""

from __future__ import annotations

import base64
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e import traffic
from tests.e2e.traffic import KINDS

if TYPE_CHECKING:
    from tests.e2e.seen import Seen
    from tests.e2e.traffic import Call
    from tests.e2e.witness import Witness

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

ROUNDING_MS = 0.01

USUAL_SLACK_MS = 5.0
BUSY_SLACK_MS = 3000.0
"""A client may have read the last byte, or have left, before a busy server comes to look at its clock again."""


def disagreements(witness: Witness, facts: dict[str, Any]) -> list[str]:
    """For every answered call, each field that is not what the client saw; `facts` maps a field to a reader."""
    found = []
    for call, seen in witness.calls:
        if not seen.complete:
            continue
        line = witness.line_of(call)
        for name, fact in facts.items():
            if line.get(name) != fact(call, seen):
                found.append(f"{call.kind}: {name} is {line.get(name)!r}, the client saw {fact(call, seen)!r}: {line}")
    return found


def test_each_request_has_exactly_one_line(witness: Witness) -> None:
    assert len(witness.calls) >= 200
    lines = Counter(line.get("request_id") for line in witness.request_lines)
    assert lines == Counter(call.request.request_id for call, _ in witness.calls)


def test_every_kind_of_request_was_answered_as_its_name_says(witness: Witness) -> None:
    """Else the other tests would compare something other than they claim."""
    outcomes: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for call, seen in witness.calls:
        outcomes[call.kind].add(seen.outcome)
    for kind, found in outcomes.items():
        if kind in traffic.ABANDONED:
            assert "client_disconnect" in found, kind
        elif kind in traffic.ONE_ANSWER or kind in traffic.SEVERAL_ANSWERS:
            assert found <= {"ok", "truncated", "empty"}, kind
        else:
            assert found == {"rejected"}, kind
    assert outcomes["chat, empty"] == outcomes["chat, streamed, empty"] == {"empty"}
    assert "ok" in outcomes["chat, ended by the model"]
    assert "ok" in outcomes["chat, streamed, ended by a stop string"]
    assert "truncated" in outcomes["chat"]


def test_status_outcome_and_finish_reason_are_what_the_client_saw(witness: Witness) -> None:
    facts = {
        "status": lambda _call, seen: seen.status,
        "outcome": lambda _call, seen: seen.outcome,
        "finish_reason": lambda _call, seen: seen.finish_reason,
    }
    assert disagreements(witness, facts) == []


def test_tokens_are_what_the_client_counted_also_in_streams_without_usage(witness: Witness) -> None:
    facts = {
        "prompt_tokens": lambda _call, seen: seen.prompt_tokens,
        "completion_tokens": lambda _call, seen: seen.completion_tokens,
    }
    assert disagreements(witness, facts) == []
    counted = [seen for call, seen in witness.calls if call.kind == "chat, streamed"]
    assert all(seen.completion_tokens for seen in counted)


def test_a_line_says_which_request_it_was(witness: Witness) -> None:
    operations = {"/v1/completions": "text_completion"}

    def path(call: Call, _seen: Seen) -> str:
        return "/__unmatched__" if call.kind == "unknown path" else call.request.path

    facts = {
        "method": lambda call, _seen: call.request.method,
        "path": path,
        "operation": lambda call, seen: (
            None if call.kind == "unknown path" else operations.get(path(call, seen), "chat")
        ),
        "stream": lambda _call, seen: seen.stream,
        "model": lambda _call, seen: seen.model,
        "response_id": lambda _call, seen: seen.response_id,
    }
    assert disagreements(witness, facts) == []


def assert_not_above(times_ms: list[tuple[float, float]]) -> None:
    """Each first time is at most its second, but for what a busy machine adds to a few of them."""
    excess = sorted(mine - most for mine, most in times_ms)
    assert len(excess) >= 20
    assert excess[int(len(excess) * 0.9)] <= USUAL_SLACK_MS
    assert excess[-1] <= BUSY_SLACK_MS


def test_no_request_lasted_longer_than_its_client_saw(witness: Witness) -> None:
    calls = [(witness.line_of(call), seen) for call, seen in witness.calls]
    assert_not_above([(line["duration_ms"], seen.seconds * 1000) for line, seen in calls])
    for line, _ in calls:
        first, stall = line.get("ttft_ms", 0), line.get("stall_max_ms", 0)
        assert 0 <= first + stall <= line["duration_ms"] + ROUNDING_MS, line
        assert line["duration_ms"] > 0


def test_streams_have_their_time_to_first_content_and_only_those_with_content(witness: Witness) -> None:
    streams = [(witness.line_of(call), seen) for call, seen in witness.calls if seen.stream and seen.complete]
    for line, seen in streams:
        assert ("ttft_ms" in line) == (seen.first_content_s is not None), line
    told = [
        (line["ttft_ms"], seen.first_content_s * 1000) for line, seen in streams if seen.first_content_s is not None
    ]
    assert min(ttft for ttft, _ in told) > 0
    assert_not_above(told)


def test_a_client_that_left_is_told_as_such_with_unknown_tokens_left_unknown(witness: Witness) -> None:
    for call, seen in witness.calls:
        if not seen.complete:
            line = witness.line_of(call)
            assert line["outcome"] == "client_disconnect", line
            # A start that was sent to a client who left before reading it is still a start.
            assert line["status"] in ({200} if seen.status == 200 else {200, 499}), line
            assert "finish_reason" not in line, line
            assert line["prompt_tokens"] != 0, line
            assert line["completion_tokens"] != 0, line


def test_a_client_that_left_before_any_answer_gets_no_status_of_success(witness: Witness) -> None:
    kind = "chat, abandoned while it is computed"
    unanswered = [call for call, seen in witness.calls if call.kind == kind and not seen.complete]
    assert {witness.line_of(call)["status"] for call in unanswered} == {499}


def test_the_tokens_of_finished_requests_add_up_to_what_vllm_counted(witness: Witness) -> None:
    assert witness.line_sums == witness.vllm_sums
    assert min(witness.vllm_sums) > 300


def test_finished_generations_carry_the_engine_s_own_timings(witness: Witness) -> None:
    for call, _ in witness.calls:
        if call.kind in traffic.ONE_ANSWER or call.kind in traffic.SEVERAL_ANSWERS:
            line = witness.line_of(call)
            parts = [line[name] for name in ("queue_ms", "prefill_ms", "decode_ms")]
            assert min(parts) >= 0, line
            assert sum(parts) <= line["duration_ms"] + ROUNDING_MS, line


def test_the_number_of_choices_is_told_where_there_are_several(witness: Witness) -> None:
    expected = {"chat": None, "chat, two choices": 2, "chat, streamed, two choices": 2, "text, three choices": 3}
    found = {call.kind: witness.line_of(call).get("n") for call, _ in witness.calls if call.kind in expected}
    assert found == expected


def test_errors_are_named_but_their_messages_stay_out(witness: Witness) -> None:
    for call, seen in witness.calls:
        if seen.error is not None:
            line = witness.line_of(call)
            assert line.get("error_type") == seen.error.get("type"), line
            assert line.get("error_code") == seen.error.get("code"), line
            assert seen.error["message"] not in str(line)


def test_ids_are_unique_and_hold_the_time_of_their_line(witness: Witness) -> None:
    lines = witness.request_lines
    assert len({line["id"] for line in lines}) == len(lines)
    for line in lines:
        finished = datetime.fromisoformat(line["time"]).timestamp()
        assert witness.began <= finished <= witness.ended
        assert int.from_bytes(base64.urlsafe_b64decode(line["id"] + "==")[:6], "big") == round(finished * 1000)


def test_the_server_s_life_is_in_the_log(witness: Witness) -> None:
    events = [line["event"] for line in witness.lines if "event" in line]
    assert events[0] == "server_started"
    assert events[-1] == "server_stopped"
    assert set(events[1:-1]) == {"heartbeat"}
    started, *_ = (line for line in witness.lines if line.get("event") == "server_started")
    assert (started["version"], started["model"]) == ("0.32.0", "tiny")
    assert started["startup_s"] > 1


def test_probes_and_metrics_leave_no_line(witness: Witness) -> None:
    """The harness itself asked for both."""
    assert {line["path"] for line in witness.request_lines}.isdisjoint({"/health", "/metrics"})
