"""The load for Locust sees what a client sees: first content, gaps, and answers that are none behind a 200."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from benchmarks.answer_times import AnswerTimes, read_answer
from logproc.demo.stand_in_process import StandInProcess
from tests.pipeline import until


def read(*events: Any) -> AnswerTimes:
    """What is seen of these events, when each content comes a second after the one before."""
    seconds: Iterator[int] = count(1)
    lines = [b"data: " + (each if isinstance(each, bytes) else json.dumps(each).encode()) for each in events]
    return read_answer([each for line in lines for each in (line, b"")], 0.0, lambda: next(seconds))


def piece(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}], **more}


ROLE = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
USAGE = {"choices": [], "usage": {"completion_tokens": 7}}


def test_the_first_content_and_the_gaps_after_it_are_timed() -> None:
    seen = read(ROLE, piece("a"), piece("b"), {"choices": [{"delta": {"reasoning": "c"}}]}, USAGE, b"[DONE]")
    assert seen == AnswerTimes(first_s=1.0, gaps_s=[1.0, 1.0], completion_tokens=7)
    assert read({"choices": [{"text": "a"}]}, b"[DONE]").first_s == 1.0


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([ROLE, USAGE, b"[DONE]"], "no content"),
        ([ROLE, piece(" "), piece("\n"), USAGE, b"[DONE]"], "no content"),  # nothing that a reader could see
        ([piece("a")], "the stream broke off"),
        ([piece("a"), {"error": {"type": "InternalServerError", "code": 500}}, b"[DONE]"], "InternalServerError"),
        ([{"error": {"code": 503}}, b"[DONE]"], "503"),
    ],
)
def test_an_answer_that_is_none_is_a_failure_whatever_its_status(events: list[Any], error: str) -> None:
    assert error in (read(*events).error or "")


def test_locust_runs_it_and_has_a_row_for_each(tmp_path: Path) -> None:
    if find_spec("locust") is None:  # importing it would turn every thread of this process into a greenlet
        pytest.skip("the extra `load` is not installed")
    server = StandInProcess(tmp_path / "access.jsonl", 0.0)
    try:
        command = [sys.executable, "-m", "locust", "-f", "benchmarks/locustfile.py", "--headless", "--users", "3"]
        command += ["--spawn-rate", "3", "--run-time", "4s", "--stop-timeout", "20", "--answer-tokens", "20"]
        command += ["--host", f"http://127.0.0.1:{server.port}", "--csv", str(tmp_path / "load")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, cwd=_ROOT)
        with (tmp_path / "load_stats.csv").open() as file:
            rows = {row["Type"]: row for row in csv.DictReader(file)}
        asked = int(rows["POST"]["Request Count"])
        assert asked > 0, done.stderr
        until(
            lambda: (tmp_path / "access.jsonl").read_text().count('"ttft_ms"') >= int(rows["TTFT"]["Request Count"]),
            "lines",
        )
    finally:
        server.stop()
    assert int(rows["TTFT"]["Request Count"]) <= asked
    assert int(rows["gap"]["Request Count"]) > 0
    assert float(rows["TTFT"]["Average Response Time"]) <= float(rows["POST"]["Average Response Time"])


_ROOT = Path(__file__).parent.parent
