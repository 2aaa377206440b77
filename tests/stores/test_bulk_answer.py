"""What each answer to a bulk request means: one row a test, and whatever comes, no document is forgotten or doubled."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logproc.stores.bulk_answer import FEW_REFUSED, LATELY, Refusal, RefusedLately, Verdict, judge


def item(status: int, kind: str = "", reason: str = "", **more: Any) -> dict[str, Any]:
    error = {"error": {"type": kind, "reason": reason}} if kind else {}
    return {"create": {"status": status, **error, **more}}


def answer(*items: dict[str, Any]) -> bytes:
    errors = any("error" in each["create"] for each in items)
    return json.dumps({"errors": errors, "items": items}, separators=(",", ":")).encode()


def error(kind: str, reason: str = "because") -> bytes:
    return json.dumps({"error": {"type": kind, "reason": reason}, "status": 400}).encode()


CONFLICT = item(409, "version_conflict_engine_exception", "[a]: version conflict, document already exists")


@pytest.mark.parametrize("status", [200, 201])
def test_200_and_201_are_stored(status: int) -> None:
    verdict = judge(200, answer(item(status), item(status)), 2)
    assert (verdict.stored, verdict.again, verdict.problem) == (2, [], None)


def test_a_conflict_of_versions_is_a_duplicate_and_a_success() -> None:
    verdict = judge(200, answer(item(201), CONFLICT), 2)
    assert (verdict.stored, verdict.duplicate, verdict.again, verdict.problem) == (1, 1, [], None)


def test_a_document_in_the_failure_store_is_stored_but_rejected() -> None:
    verdict = judge(200, answer(item(201), item(201, failure_store="used")), 2)
    assert verdict.stored == 1
    assert [(each.place, each.error_type) for each in verdict.refused] == [(1, "failure_store")]
    assert verdict.again == []


@pytest.mark.parametrize(("status", "kind"), [(429, "es_rejected_execution_exception"), (503, "unavailable_shards")])
def test_documents_that_a_busy_server_rejects_are_tried_again_alone(status: int, kind: str) -> None:
    verdict = judge(200, answer(item(201), item(status, kind), CONFLICT, item(status, kind)), 4)
    assert (verdict.stored, verdict.duplicate, verdict.again) == (1, 1, [1, 3])
    assert verdict.busy == (status == 429)
    assert not verdict.pause


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("document_parsing_exception", "[1:12] failed to parse field [a] of type [long] in document with id '2'"),
        ("mapper_parsing_exception", "failed to parse"),
        ("strict_dynamic_mapping_exception", "[1:2] mapping set to strict"),
        ("illegal_argument_exception", 'Document contains at least one immense term in field="a"'),
    ],
)
def test_a_document_with_a_fault_of_its_own_is_refused(kind: str, reason: str) -> None:
    verdict = judge(200, answer(item(201), item(400, kind, reason)), 2)
    assert (verdict.stored, verdict.again, verdict.problem) == (1, [], None)
    assert verdict.refused == [Refusal(1, kind, reason)]


@pytest.mark.parametrize(
    ("status", "kind", "reason", "advice"),
    [
        (403, "cluster_block_exception", "index [a] blocked by: [FORBIDDEN/8/index write (api)];", "Take the block"),
        (429, "cluster_block_exception", "disk usage exceeded flood-stage watermark", "Take the block"),
        (400, "index_closed_exception", "closed", "Open the index"),
        (400, "validation_exception", "this action would add [1] shards, but this cluster has", "more shards"),
        (403, "security_exception", "action is unauthorized", "the right to write"),
        (404, "index_not_found_exception", "no such index [a]", "create indices"),
        (400, "illegal_argument_exception", "no write index is defined for alias [a]", "tried again"),
        (400, "document_parsing_exception", "Limit of total fields [9] has been exceeded", "tried again"),
        (409, "something_new", "", "tried again"),
    ],
)
def test_every_other_4xx_is_the_clusters_fault_and_pauses(status: int, kind: str, reason: str, advice: str) -> None:
    verdict = judge(200, answer(item(201), item(status, kind, reason)), 2)
    assert (verdict.stored, verdict.refused, verdict.again, verdict.pause) == (1, [], [1], True)
    assert verdict.problem is not None
    assert kind in verdict.problem
    assert reason[:30] in verdict.problem
    assert advice in verdict.problem


def test_the_clusters_fault_is_said_even_if_a_busy_document_comes_first() -> None:
    body = answer(item(429, "es_rejected_execution_exception"), item(400, "index_closed_exception"))
    verdict = judge(200, body, 2)
    assert verdict.pause
    assert "index_closed_exception" in (verdict.problem or "")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_whole_4xx_pauses_and_loses_nothing(status: int) -> None:
    verdict = judge(status, error("some_exception"), 3)
    assert (verdict.again, verdict.pause) == ([0, 1, 2], True)
    assert f"{status} some_exception: because" in (verdict.problem or "")


def test_413_splits_and_a_single_document_that_is_too_large_is_refused() -> None:
    verdict = judge(413, b"", 2)
    assert verdict.split
    verdict = judge(413, b"", 1)
    assert not verdict.split
    assert [each.error_type for each in verdict.refused] == ["too_large"]


def test_a_whole_429_slows_down_and_a_full_disk_pauses() -> None:
    verdict = judge(429, error("es_rejected_execution_exception"), 2)
    assert (verdict.again, verdict.busy, verdict.pause) == ([0, 1], True, False)
    assert judge(429, error("cluster_block_exception"), 2).pause


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_whole_5xx_is_tried_again_without_a_pause(status: int) -> None:
    verdict = judge(status, b"<html>Bad Gateway</html>", 2)
    assert (verdict.again, verdict.pause) == ([0, 1], False)
    assert str(status) in (verdict.problem or "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"errors":false}',
        b'{"errors":false,"items":[]}',
        answer(item(201)),
        answer(item(201), item(201), item(201)),
        answer(item(201), CONFLICT)[:-3],
        b'{"errors":true,"items":[{"create":{"status":201}},{"index":{"status":201}}]}',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_cut_or_of_another_kind_repeats_the_whole(body: bytes) -> None:
    verdict = judge(200, body, 2)
    assert (verdict.stored, verdict.duplicate, verdict.refused, verdict.again) == (0, 0, [], [0, 1])
    assert not verdict.pause


ITEMS = st.one_of(
    st.just(item(201)),
    st.just(CONFLICT),
    st.builds(item, st.sampled_from([400, 403, 404, 429, 500, 503]), st.text(min_size=1), st.text()),
    st.builds(item, st.sampled_from([200, 201]), failure_store=st.sampled_from(["used", "not_enabled"])),
)


@given(st.lists(ITEMS, min_size=1, max_size=20))
def test_every_document_is_counted_once_or_tried_again(items: list[dict[str, Any]]) -> None:
    verdict = judge(200, answer(*items), len(items))
    places = [each.place for each in verdict.refused] + verdict.again
    assert len(set(places)) == len(places)
    assert verdict.stored + verdict.duplicate + len(places) == len(items)
    assert (verdict.problem is None) == (not verdict.again)


@given(st.integers(100, 599), st.binary(max_size=60), st.integers(1, 5))
def test_no_answer_breaks_the_judge(status: int, body: bytes, count: int) -> None:
    verdict = judge(status, body, count)
    assert verdict.stored + verdict.duplicate + len(verdict.refused) + len(verdict.again) == count


INDEX = "llm-access-2026.01.05"


def refused(count: int, reason: str = "failed to parse field [a] of type [long]") -> Verdict:
    return Verdict(refused=[Refusal(place, "document_parsing_exception", reason) for place in range(count)])


@pytest.mark.parametrize(("bad", "count"), [(50, 5000), (FEW_REFUSED, 20)])
def test_more_than_one_in_a_hundred_refused_is_the_mappings_fault_unless_they_are_few(bad: int, count: int) -> None:
    assert RefusedLately().problem(refused(bad), count, INDEX) is None
    assert RefusedLately().problem(refused(bad + 1), count, INDEX) is not None


def test_a_mapping_that_refuses_everything_is_noticed_where_a_request_has_but_one_document() -> None:
    lately = RefusedLately()
    assert [lately.problem(refused(1), 1, INDEX) is None for _ in range(FEW_REFUSED + 3)] == [True] * FEW_REFUSED + [
        False
    ] * 3
    lately.mended()
    assert lately.problem(refused(1), 1, INDEX) is None


def test_one_refused_now_and_then_is_never_the_mappings_fault() -> None:
    lately = RefusedLately()
    for _ in range(20 * LATELY // 150):
        assert lately.problem(refused(1), 150, INDEX) is None


@pytest.mark.parametrize("word", ["Duplicate field 'a'", "exceeds the maximum allowed (from `StreamReadConstraints`)"])
def test_what_no_mapping_could_take_does_not_make_the_mapping_suspect(word: str) -> None:
    assert RefusedLately().problem(refused(100, f"[1:2] failed to parse: {word}"), 100, INDEX) is None


@pytest.mark.parametrize(
    "reason",
    [
        "failed to parse field [user.id] of type [long] in document with id 'x'. Preview of field's value: 'ann'",
        'failed to parse: [1:3] user.id [long] at [Source: (byte[])"{"user.id":"ann"}',
        'failed to parse field [user.id] of type [long]: For input string: "ann"',
    ],
)
def test_the_problem_of_a_mapping_does_not_say_what_the_documents_hold(reason: str) -> None:
    problem = RefusedLately().problem(refused(20, reason), 100, INDEX)
    assert problem is not None
    assert "20 of the last 100" in problem
    assert "user.id" in problem
    assert "[long]" in problem
    assert INDEX in problem
    assert "ann" not in problem
