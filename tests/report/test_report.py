"""`logproc report` over a real store: every form tells the same figures, and a missed target is exit code 1."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.lines import raw, request
from tests.pipeline import Pipeline

HOSTILE = "<script>alert(1)</script>|\u202emodel"


def report(pipeline: Pipeline, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "logproc", "report", str(pipeline.file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Two hours of requests: 0.5 s in the first hour, 4 s in the second; a request every 10 s."""
    folder = tmp_path_factory.mktemp("report")
    log = folder / "access.jsonl"
    with log.open("wb") as out:
        for number in range(720):
            hour, rest = divmod(number * 10, 3600)
            time = f"2026-03-01T{10 + hour:02d}:{rest // 60:02d}:{rest % 60:02d}.000Z"
            slow = hour == 1
            out.write(
                raw(
                    request(
                        time=time,
                        model=HOSTILE if number % 4 == 0 else "plain",
                        duration_ms=4000 if slow else 500,
                        ttft_ms=3000 if slow else 100,
                        completion_tokens=20,
                        stream=True,
                    )
                )
            )
        for time, used in (("10:30", 90), ("11:30", 60)):
            gpus = [{"gpu": "0", "memory_used_bytes": used, "memory_total_bytes": 100}]
            out.write(raw({"time": f"2026-03-01T{time}:00Z", "event": "heartbeat", "gpus": gpus}))
    targets = {"ttft_s": 0.8, "server_tokens_per_second": 1, "requests_per_second": 0.05}
    pipeline = Pipeline(folder, [str(log)], targets=targets, store={"keep_days": 9999})
    assert pipeline.run("--once").returncode == 0
    return pipeline


def test_a_missed_target_ends_with_1_and_says_which(stored: Pipeline) -> None:
    second = report(stored, "--from", "2026-03-01T11:00:00Z", "--to", "2026-03-01T12:00:00Z")
    assert second.returncode == 1, second.stderr
    assert "MISSED" in second.stdout
    first = report(stored, "--from", "2026-03-01T10:00:00Z", "--to", "2026-03-01T11:00:00Z")
    assert (first.returncode, "MISSED" in first.stdout) == (0, False), first.stdout


def test_json_tells_figures_targets_and_the_trend(stored: Pipeline) -> None:
    done = report(stored, "--from", "2026-03-01T11:00:00Z", "--to", "2026-03-01T12:00:00Z", "--as", "json")
    found = json.loads(done.stdout)
    assert found["met"] is False
    everything = found["cards"][0]
    assert everything["requests"] == 360
    p99 = everything["figures"]["duration_p99_s"]
    assert (p99["value"], p99["before"], p99["target"], p99["met"]) == (4.0, 0.5, 3.0, False)
    assert {card["model"]: card["requests"] for card in found["cards"][1:]} == {"plain": 270, HOSTILE: 90}


def test_the_most_gpu_memory_in_use_is_that_of_the_range(stored: Pipeline) -> None:
    for start, end, used in (("10:00", "11:00", 90), ("11:00", "12:00", 60)):
        span = ["--from", f"2026-03-01T{start}:00Z", "--to", f"2026-03-01T{end}:00Z"]
        done = report(stored, *span, "--as", "json")
        figures = json.loads(done.stdout)["cards"][0]["figures"]
        assert figures["gpu_memory_bytes"]["value"] == used
        assert figures["gpu_memory_ratio"]["value"] == used / 100


def test_a_hostile_model_name_is_shown_harmlessly_in_every_form(stored: Pipeline) -> None:
    for form in ("table", "markdown", "html"):
        shown = report(stored, "--as", form).stdout
        assert "alert" in shown
        assert form == "table" or "<script" not in shown.replace("\\<script", ""), form
        assert "\u202e" not in shown, form


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_html_file_stands_alone_and_has_its_pictures(stored: Pipeline) -> None:
    page = report(stored, "--as", "html").stdout
    tags = Tags()
    tags.feed(page)
    assert tags.links == []
    assert "script" not in tags.tags
    assert tags.tags.count("svg") == 4
    assert tags.tags.count("polyline") >= 8


def test_calibrate_prints_settings_and_ends_with_0(stored: Pipeline) -> None:
    done = report(stored, "--calibrate", "--model", "plain", "--to", "2026-03-01T11:00:00Z")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"plain": # 270 requests' in done.stdout


def test_a_range_without_requests_and_a_wrong_range_are_said(stored: Pipeline) -> None:
    nothing = report(stored, "--from", "2025-01-01", "--to", "2025-01-02")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no request in this range" in nothing.stderr
    wrong = report(stored, "--last", "soon")
    assert wrong.returncode == 2
    assert "--last" in wrong.stderr


def test_before_anything_is_stored_it_says_so(tmp_path: Path) -> None:
    done = report(Pipeline(tmp_path, [str(tmp_path / "none.jsonl")]))
    assert done.returncode == 1
    assert "logproc:" in done.stderr
