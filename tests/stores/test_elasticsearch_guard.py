"""What is wrong with an index template, and what a person can do about it."""

from __future__ import annotations

from typing import Any

import pytest

from logproc.stores.elasticsearch_guard import template_problem
from logproc.stores.elasticsearch_names import TEMPLATE_VERSION, meta


def answer(meta: Any) -> dict[str, Any]:
    return {"index_templates": [{"name": "llm-access", "index_template": {"_meta": meta}}]}


def test_our_template_of_this_version_and_period_is_well() -> None:
    assert template_problem(200, answer(meta("week")), "llm-access", "week") is None


@pytest.mark.parametrize(
    ("status", "found", "words"),
    [
        (404, None, ["`llm-access` is missing", "logproc setup elasticsearch"]),
        (403, {"error": {}}, ["cannot be read", "the right to read templates"]),
        (503, None, ["cannot be read", "503"]),
        (200, answer({"someone": "else"}), ["is not ours", "another `store.index`"]),
        (200, answer({"logproc": {"version": 0, "period": "week"}}), ["of version 0", "logproc setup elasticsearch"]),
        (200, answer({"logproc": {"version": TEMPLATE_VERSION + 1, "period": "week"}}), ["newer logproc"]),
        (200, answer(meta("day")), ["`store.period` is week", "Set `period: day`"]),
        (200, {"index_templates": []}, ["not one of Elasticsearch"]),
        (200, "text", ["not one of Elasticsearch"]),
        (200, answer(["a list"]), ["not one of Elasticsearch"]),
    ],
)
def test_each_fault_is_said_with_what_helps(status: int, found: Any, words: list[str]) -> None:
    problem = template_problem(status, found, "llm-access", "week")
    assert problem is not None
    for word in words:
        assert word in problem
