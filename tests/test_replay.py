"""`logproc replay`, `check`, `schema` as a user calls them: output, exit codes, and agreement with the recount."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard

from benchmarks import make_log
from logproc import replay
from logproc.settings import Settings
from tests.lines import raw, request
from tests.oracle import recount
from tests.pipeline import Pipeline, until


def logproc(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "logproc", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=100)


def summary(*arguments: object) -> dict[str, Any]:
    done = logproc("replay", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_replay_agrees_with_the_recount(tmp_path: Path) -> None:
    lines = list(make_log.lines(20_000, full=True, bad=97))
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))

    found = summary(tmp_path / "a.jsonl")

    expected = recount(lines)
    statuses: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for (_, _, status, outcome), count in expected.requests.items():
        statuses[status] += count
        outcomes[outcome] += count
    assert found["files"] == 1
    assert found["bytes"] == sum(map(len, lines))
    assert found["lines"] == {"ok": expected.lines, "rejected": expected.rejected, "unrelated": 0}
    assert found["requests"] == statuses.total()
    assert found["statuses"] == dict(statuses)
    assert {name: count for name, count in found["outcomes"].items() if count} == dict(outcomes)
    for kind in ("prompt", "completion"):
        assert found["tokens"][kind] == sum(n for (_, each), n in expected.tokens.items() if each == kind)
    durations = sorted(value for values in expected.durations.values() for value in values)
    assert found["duration_ms"]["max"] == durations[-1]
    assert found["duration_ms"]["p99"] == pytest.approx(durations[int(len(durations) * 0.99)], rel=0.02)
    assert sum(found["rejected"].values()) == expected.rejected


def test_packed_files_and_several_files_come_to_the_same(tmp_path: Path) -> None:
    data = b"".join(make_log.lines(3000, bad=71))
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "a.jsonl.1.gz").write_bytes(gzip.compress(data))
    (tmp_path / "a.jsonl.2.zst").write_bytes(zstandard.compress(data))

    one = summary(tmp_path / "a.jsonl")
    three = summary(*sorted(tmp_path.iterdir()))

    assert three["files"] == 3
    assert three["lines"] == {name: 3 * count for name, count in one["lines"].items()}
    assert three["statuses"] == {status: 3 * count for status, count in one["statuses"].items()}
    assert three["duration_ms"] == one["duration_ms"]


def test_workers_share_one_file_and_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(make_log.lines(4000, bad=71)))
    monkeypatch.setattr(replay, "LEAST_SHARE", 10_000)
    settings = Settings.model_validate({"logs": {"paths": ["-"]}})
    told: list[int] = []

    one, many = replay.replay([path], settings), replay.replay([path], settings, workers=7, told=told.append)

    assert {**one, "seconds": 0} == {**many, "seconds": 0}
    assert sum(told) == path.stat().st_size


def test_a_packed_file_is_known_by_its_content_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl.1"
    path.write_bytes(gzip.compress(b"".join(make_log.lines(2000)), compresslevel=0))
    monkeypatch.setattr(replay, "LEAST_SHARE", 10_000)
    settings = Settings.model_validate({"logs": {"paths": ["-"]}})

    assert replay.replay([path], settings, workers=3)["requests"] == 2000


def test_workers_do_not_lose_the_standard_input(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(raw(request()))
    command = [sys.executable, "-m", "logproc", "replay", "--json", "--workers", "2", "-", str(tmp_path / "a.jsonl")]

    done = subprocess.run(command, input=raw(request(), request()), capture_output=True, check=False, timeout=100)

    assert json.loads(done.stdout)["requests"] == 3


def test_a_pipe_cannot_be_stored_and_summed_up_and_nothing_is_done(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])
    command = [sys.executable, "-m", "logproc", "replay", "--json", "--store", str(pipeline.file), "-"]

    done = subprocess.run(command, input=raw(request()), capture_output=True, check=False, timeout=100)

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"-: a pipe cannot be read twice" in done.stderr
    assert not pipeline.state.exists()


def test_a_last_line_without_newline_counts_in_a_replay(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(raw(request(), request())[:-1])

    assert summary(tmp_path / "a.jsonl")["requests"] == 2


def test_more_label_sets_than_a_scraper_may_see_are_still_told_apart(tmp_path: Path) -> None:
    lines = [raw(request(model=f"m{number}", status=200 + number % 2)) for number in range(5000)]
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))

    assert summary(tmp_path / "a.jsonl")["statuses"] == {"200": 2500, "201": 2500}


def test_people_get_a_table_and_a_missing_file_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"".join(make_log.lines(100)))

    shown, missing = logproc("replay", tmp_path / "a.jsonl"), logproc("replay", tmp_path / "b.jsonl")

    assert shown.returncode == 0
    assert "requests" in shown.stdout
    assert "P99" in shown.stdout
    assert missing.returncode == 1
    assert missing.stderr == f"logproc: {tmp_path}/b.jsonl: No such file or directory\n"


def test_a_directory_instead_of_a_file_is_said_too(tmp_path: Path) -> None:
    done = logproc("replay", tmp_path)

    assert done.returncode == 1
    assert "Is a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(
        f"logs: {{paths: ['{tmp_path}/*.jsonl']}}\nstate: {tmp_path}/state\nhttp: {{listen: '127.0.0.1:0'}}\n"
    )
    bad.write_text("logs:\n  path: [a]\n")

    fine, wrong = logproc("check", good), logproc("check", bad)

    assert fine.returncode == 0
    assert "matches no file yet" in fine.stdout
    assert wrong.returncode == 2
    assert f"{bad}:2: unknown key `logs.path`: did you mean `paths`?" in wrong.stderr


def test_without_settings_the_way_out_is_named(tmp_path: Path) -> None:
    done = logproc("run", cwd=tmp_path)

    assert done.returncode == 2
    assert "set LOGPROC_PIPELINE" in done.stderr


def test_an_unknown_command_is_wrong_usage() -> None:
    assert logproc("explode").returncode == 2


def test_the_schema_for_editors_is_json() -> None:
    assert json.loads(logproc("schema").stdout)["properties"]["logs"]


def test_documents_of_old_logs_are_those_that_a_run_would_have_written(tmp_path: Path) -> None:
    lines = list(make_log.lines(1500, full=True, bad=77, start_ms=int(time.time() * 1000) - 3_600_000))
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    pipeline = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])

    first = summary("--store", pipeline.file, tmp_path / "a.jsonl")
    replayed = pipeline.documents()
    assert pipeline.run("--once").returncode == 0
    again = summary("--store", pipeline.file, tmp_path / "a.jsonl")

    expected = recount(lines).lines
    assert first["documents"] == {"stored": expected, "duplicate": 0, "expired": 0, "rejected": 0}
    assert again["documents"] == {"stored": 0, "duplicate": expected, "expired": 0, "rejected": 0}
    assert sorted(pipeline.documents()) == sorted(replayed)


def test_a_document_names_its_file_by_its_whole_path(tmp_path: Path) -> None:
    lines = make_log.lines(1, start_ms=int(time.time() * 1000) - 3_600_000)
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    pipeline = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])

    logproc("replay", "--store", pipeline.file, "a.jsonl", cwd=tmp_path)
    found = logproc("query", "--pipeline", pipeline.file, "--json")

    assert json.loads(found.stdout)["log.file.path"] == str((tmp_path / "a.jsonl").resolve())


def test_a_store_that_is_in_use_is_refused_and_its_holder_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(raw(request()))
    pipeline = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])
    pipeline.start()
    try:
        until(pipeline.is_up, "the server")
        done = logproc("replay", "--store", pipeline.file, tmp_path / "a.jsonl")
        assert pipeline.process
        assert done.returncode == 1
        assert f"index.db is in use by process {pipeline.process.pid}" in done.stderr
    finally:
        pipeline.kill()


def test_a_packed_log_that_is_cut_off_is_read_as_far_as_it_goes_and_that_is_said(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(make_log.lines(3000)))
    (tmp_path / "a.jsonl.1.gz").write_bytes(packed[: len(packed) // 2])

    done = logproc("replay", "--json", tmp_path / "a.jsonl.1.gz")

    assert done.returncode == 0
    assert 0 < json.loads(done.stdout)["requests"] < 3000
    assert "a.jsonl.1.gz is cut off or broken" in done.stderr
