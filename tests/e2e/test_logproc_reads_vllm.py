"""What logproc makes of the log that a real vLLM wrote: /metrics, documents and replay, each against a recount."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.oracle import Recount, recount
from tests.pipeline import Pipeline, Samples, by_label, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.witness import Witness

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

DOCUMENT_FIELDS = {
    "http.request.method": "method",
    "http.response.status_code": "status",
    "url.path": "path",
    "gen_ai.operation.name": "operation",
    "gen_ai.request.model": "model",
    "gen_ai.usage.input_tokens": "prompt_tokens",
    "gen_ai.usage.output_tokens": "completion_tokens",
    "llm.outcome": "outcome",
    "llm.request_id": "request_id",
    "llm.response_id": "response_id",
    "service.name": "service",
    "process.pid": "pid",
}
DOCUMENT_DURATIONS = {"event.duration": "duration_ms", "llm.ttft": "ttft_ms", "llm.queue_time": "queue_ms"}


def logproc(*arguments: str) -> str:
    """What the command prints; it must end well."""
    command = [sys.executable, "-m", "logproc", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.fixture(scope="module")
def counted(witness: Witness) -> Recount:
    return recount(witness.log.read_bytes().splitlines())


@pytest.fixture(scope="module")
def pipeline(witness: Witness, counted: Recount, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A running pipeline that has read the whole log."""
    pipeline = Pipeline(tmp_path_factory.mktemp("logproc"), [str(witness.log)])
    pipeline.start()
    until(pipeline.is_up, "logproc to answer")
    until(lambda: pipeline.has_read(counted.lines), "both consumers to read the log")
    yield pipeline
    assert pipeline.stop() == 0


def by_labels(found: Samples, name: str, *names: str) -> dict[tuple[str, ...], float]:
    """The samples of one metric by some of its labels."""
    return {
        tuple(dict(labels)[label] for label in names): value
        for (metric, labels), value in found.items()
        if metric == name
    }


def test_every_line_of_vllm_is_understood(pipeline: Pipeline, witness: Witness, counted: Recount) -> None:
    assert counted.rejected == 0
    found = pipeline.metrics()
    lines = by_labels(found, "logproc_lines_total", "consumer", "result")
    for consumer in ("measure", "index"):
        assert lines[consumer, "ok"] == len(witness.lines)
        assert lines.get((consumer, "rejected"), 0) == 0


def test_the_counters_on_the_metrics_page_equal_a_recount(pipeline: Pipeline, counted: Recount) -> None:
    found = pipeline.metrics()
    assert by_labels(found, "llm_requests_total", "model", "operation", "status", "outcome") == counted.requests
    tokens = by_labels(found, "llm_tokens_total", "model", "type")
    assert {labels: value for labels, value in tokens.items() if value} == +counted.tokens
    assert by_labels(found, "llm_finish_reasons_total", "model", "reason") == counted.finish


@pytest.mark.parametrize(
    ("name", "part"),
    [("llm_request_duration_seconds", "durations"), ("llm_time_to_first_token_seconds", "ttft")],
)
def test_the_histograms_on_the_metrics_page_equal_a_recount(
    pipeline: Pipeline, counted: Recount, name: str, part: str
) -> None:
    found = pipeline.metrics()
    expected: dict[tuple[str, str], list[float]] = getattr(counted, part)
    assert by_labels(found, f"{name}_count", "model", "operation") == {k: len(v) for k, v in expected.items()}
    for (model, operation), values in expected.items():
        total = found[f"{name}_sum", (("model", model), ("operation", operation))]
        assert total == pytest.approx(sum(values) / 1000, abs=1e-6)
        buckets = by_labels(found, f"{name}_bucket", "le", "model", "operation")
        mine = sorted((float(le), int(n)) for (le, *labels), n in buckets.items() if labels == [model, operation])
        edges = [edge for edge, _ in mine if edge != float("inf")]
        assert [count for _, count in mine] == counted.bucket_counts(values, edges)


def test_empty_truncated_and_broken_answers_are_flagged(pipeline: Pipeline, witness: Witness) -> None:
    found = by_label(pipeline.metrics(), "llm_flags_total", "kind")
    for flag, outcome in {"truncated": "truncated", "stream_error": "stream_error"}.items():
        assert found.get(flag, 0) == sum(line["outcome"] == outcome for line in witness.request_lines)
    empty = [line for line in witness.request_lines if line["outcome"] == "empty"]
    assert found["empty_completion"] == sum(line.get("max_tokens", 2) > 1 for line in empty) > 0


def test_each_line_is_one_document_with_its_values(pipeline: Pipeline, witness: Witness) -> None:
    printed = logproc("query", "--pipeline", str(pipeline.file), "--limit", "0", "--json")
    documents: list[dict[str, Any]] = [json.loads(line) for line in printed.splitlines()]
    by_id = {document["event.id"]: document for document in documents}
    assert len(by_id) == len(documents)
    assert by_id.keys() == {line["id"] for line in witness.request_lines}
    for line in witness.request_lines:
        document = by_id[line["id"]]
        assert {name: document.get(name) for name in DOCUMENT_FIELDS} == {
            name: line.get(source) for name, source in DOCUMENT_FIELDS.items()
        }
        for name, source in DOCUMENT_DURATIONS.items():
            assert document.get(name) == (round(line[source] * 1e6) if source in line else None)


def test_the_metrics_and_the_documents_are_the_same_after_a_second_run(
    witness: Witness, counted: Recount, tmp_path: Path
) -> None:
    pipeline = Pipeline(tmp_path, [str(witness.log)])
    for _ in range(2):
        ended = pipeline.run("--once")
        assert ended.returncode == 0, ended.stderr.decode()
        assert len(pipeline.documents()) == len(witness.request_lines)
    pipeline.start()
    until(pipeline.is_up, "logproc to answer")
    found = pipeline.metrics()
    assert by_labels(found, "llm_requests_total", "model", "operation", "status", "outcome") == counted.requests
    assert pipeline.stop() == 0


def test_replay_of_the_log_says_the_same(witness: Witness, counted: Recount) -> None:
    result = json.loads(logproc("replay", "--json", str(witness.log)))
    assert result["lines"] == {"ok": counted.lines, "rejected": 0, "unrelated": 0}
    assert result["requests"] == len(witness.request_lines)
    for place, part in ((2, "statuses"), (3, "outcomes")):
        expected: dict[str, int] = {}
        for labels, count in counted.requests.items():
            expected[labels[place]] = expected.get(labels[place], 0) + count
        assert {name: count for name, count in result[part].items() if count} == expected
    for kind in ("prompt", "completion"):
        assert result["tokens"][kind] == sum(line[f"{kind}_tokens"] or 0 for line in witness.request_lines)
    assert result["bytes"] == witness.log.stat().st_size
    assert result["duration_ms"]["max"] == max(
        line["duration_ms"] for line in witness.request_lines if line["outcome"] != "rejected"
    )
