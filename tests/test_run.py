"""`logproc run` as a user runs it: real processes, real files, killed and started again; all agrees with a recount."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from benchmarks import make_log
from tests.lines import raw, request
from tests.oracle import Recount, recount
from tests.pipeline import Pipeline, Samples, by_label, started, until


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    for process in started:
        process.kill()
        process.wait()
    started.clear()


def recent(count: int, **options: object) -> list[bytes]:
    """Lines of the last hours, so that none is too old to be kept."""
    return list(make_log.lines(count, start_ms=int(time.time() * 1000) - 12 * 3_600_000, **options))  # type: ignore[arg-type]


def now_line(**fields: object) -> bytes:
    return raw(request(time=time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()), **fields))


def assert_counted(found: Samples, expected: Recount) -> None:
    """Everything on /metrics that the recount knows."""
    requests = Counter(
        {
            tuple(dict(labels)[name] for name in ("model", "operation", "status", "outcome")): int(value)
            for (metric, labels), value in found.items()
            if metric == "llm_requests_total"
        }
    )
    assert requests == expected.requests
    assert by_label(found, "llm_tokens_total", "type") == {
        name: sum(count for (_, kind), count in expected.tokens.items() if kind == name)
        for name in ("prompt", "completion")
    }
    for (model, operation), values in expected.durations.items():
        labels = (("model", model), ("operation", operation))
        name = "llm_request_duration_seconds"
        assert found[f"{name}_count", labels] == len(values)
        assert found[f"{name}_sum", labels] == sum(round(value * 1000) for value in values) / 1e6
        assert found[f"{name}_bucket", (("le", "3.0"), *labels)] == sum(value <= 3000 for value in values)
    for consumer in ("measure", "index"):
        lines = {
            dict(labels)["result"]: value
            for (metric, labels), value in found.items()
            if metric == "logproc_lines_total" and dict(labels)["consumer"] == consumer
        }
        assert (lines["ok"], lines["rejected"]) == (expected.lines, expected.rejected)
    assert sum(by_label(found, "logproc_lines_rejected_total", "reason").values()) == expected.rejected


def assert_documents(pipeline: Pipeline, expected: Recount) -> None:
    documents = pipeline.documents()
    assert len({identity for identity, *_ in documents}) == len(documents) == sum(expected.requests.values())
    assert Counter(str(status) for _, status, _, _ in documents) == Counter(
        {
            status: sum(n for key, n in expected.requests.items() if key[2] == status)
            for _, _, status, _ in expected.requests
        }
    )
    assert sum(prompt or 0 for _, _, prompt, _ in documents) == sum(
        count for (_, kind), count in expected.tokens.items() if kind == "prompt"
    )


def test_a_growing_log_becomes_metrics_and_documents_and_sigterm_ends_well(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    lines = recent(2000, full=True, bad=83)
    log.write_bytes(b"".join(lines[:500]))
    pipeline = Pipeline(tmp_path, [str(tmp_path / "access*.jsonl")])
    pipeline.start()
    until(pipeline.is_up, "the server")
    until(lambda: pipeline.get("/readyz")[0] == 200, "ready")
    with log.open("ab", buffering=0) as file:
        for line in lines[500:]:
            half = random.randrange(len(line))
            file.write(line[:half])
            file.write(line[half:])
    until(lambda: pipeline.has_read(2000), "all lines")

    found = pipeline.metrics()
    status = pipeline.stop()

    expected = recount(lines)
    assert status == 0
    assert_counted(found, expected)
    assert_documents(pipeline, expected)
    assert found["logproc_lag_bytes", (("consumer", "measure"),)] == 0
    reasons = Counter(json.loads(each)["reason"] for each in (pipeline.state / "rejected/measure.jsonl").open())
    assert sum(reasons.values()) == expected.rejected


def test_sigterm_while_it_is_still_starting_ends_well_too(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, [str(tmp_path / "access.jsonl")])
    script = (
        "import os, signal, logproc.app, logproc.cli\n"
        "logproc.app.App = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)\n"
        "logproc.cli.main()"
    )

    done = subprocess.run([sys.executable, "-c", script, "run", str(pipeline.file)], check=False, timeout=60)

    assert done.returncode == 0


def test_once_reads_what_is_there_and_a_second_time_nothing_more(tmp_path: Path) -> None:
    lines = recent(3000, bad=50)
    (tmp_path / "access.jsonl").write_bytes(b"".join(lines))
    pipeline = Pipeline(tmp_path, [str(tmp_path / "access*.jsonl")])

    first, second = pipeline.run("--once"), pipeline.run("--once")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    pipeline.start()
    until(pipeline.is_up, "the server")
    assert_counted(pipeline.metrics(), recount(lines))
    assert_documents(pipeline, recount(lines))
    assert pipeline.stop() == 0


def test_killed_again_and_again_it_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    lines = recent(60_000, full=True, bad=997)
    log = tmp_path / "access.jsonl"
    pipeline = Pipeline(tmp_path, [str(tmp_path / "access*.jsonl")])
    rng = random.Random(5)
    at, highest = 0, 0.0
    for _ in range(8):
        more = at + len(lines) // 8
        with log.open("ab") as file:
            file.writelines(lines[at:more])
        at = more
        pipeline.start()
        until(pipeline.is_up, "the server")
        shown = sum(by_label(pipeline.metrics(), "llm_requests_total", "status").values())
        assert shown >= highest, "a counter went backwards"
        highest = shown
        time.sleep(rng.random() * 0.4)  # the moment of the kill is meant to be random
        pipeline.kill()
    pipeline.start()
    until(pipeline.is_up, "the server")
    until(lambda: pipeline.has_read(len(lines)), "all lines")

    found = pipeline.metrics()
    assert pipeline.stop() == 0

    assert_counted(found, recount(lines))
    assert_documents(pipeline, recount(lines))
    assert len((pipeline.state / "rejected/measure.jsonl").read_bytes().splitlines()) == recount(lines).rejected


def test_a_log_is_followed_through_its_rotation(tmp_path: Path) -> None:
    lines = recent(3000)
    log = tmp_path / "access.jsonl"
    pipeline = Pipeline(tmp_path, [str(tmp_path / "access*.jsonl")])
    pipeline.start()
    until(pipeline.is_up, "the server")
    for number in range(3):
        with log.open("ab") as file:
            file.writelines(lines[number * 1000 : number * 1000 + 900])
            if number:
                (tmp_path / "access.jsonl.1").rename(tmp_path / f"access.jsonl.{number + 1}")
            log.rename(tmp_path / "access.jsonl.1")
            file.writelines(
                lines[number * 1000 + 900 : number * 1000 + 1000]
            )  # the writer keeps its descriptor a while
    until(lambda: pipeline.has_read(3000), "all lines")

    found = pipeline.metrics()

    assert pipeline.stop() == 0
    assert_counted(found, recount(lines))
    assert_documents(pipeline, recount(lines))


@pytest.mark.parametrize("only", ["measure", "index"])
def test_each_consumer_runs_alone_and_metrics_join_what_both_have(tmp_path: Path, only: str) -> None:
    lines = recent(500)
    (tmp_path / "access.jsonl").write_bytes(b"".join(lines))
    pipeline = Pipeline(tmp_path, [str(tmp_path / "access*.jsonl")])
    other = {"measure": "index", "index": "measure"}[only]

    assert pipeline.run("--once", "--only", only).returncode == 0
    assert (pipeline.state / f"{only}.db").exists()
    assert not (pipeline.state / f"{other}.db").exists()

    assert pipeline.run("--once", "--only", other).returncode == 0
    pipeline.start("--only", "measure")
    until(pipeline.is_up, "the server")
    assert_counted(pipeline.metrics(), recount(lines))
    assert pipeline.stop() == 0


def test_the_lag_of_an_index_in_another_process_is_shown_and_goes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(now_line() * 3)
    pipeline = Pipeline(tmp_path, [str(tmp_path / "*.jsonl")])
    assert pipeline.run("--once", "--only", "index").returncode == 0
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(now_line() * 2)
    (tmp_path / "b.jsonl").write_bytes(now_line(model="b"))
    pipeline.start("--only", "measure")
    until(pipeline.is_up, "the server")
    until(lambda: sum(by_label(pipeline.metrics(), "llm_requests_total", "model").values()) == 6, "metrics")
    behind = 2 * len(now_line()) + len(now_line(model="b"))

    labels = (("consumer", "index"),)
    assert pipeline.metrics()["logproc_lag_bytes", labels] == behind
    until(lambda: pipeline.metrics()["logproc_lag_seconds", labels] > 0, "the lag grows")

    assert pipeline.run("--once", "--only", "index").returncode == 0
    found = pipeline.metrics()
    assert (found["logproc_lag_bytes", labels], found["logproc_lag_seconds", labels]) == (0, 0)
    assert pipeline.stop() == 0


def test_what_is_stored_is_no_more_open_than_the_log(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(now_line() + b"bad\n")
    pipeline = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])
    assert pipeline.run("--once").returncode == 0

    modes = {path.name: path.stat().st_mode & 0o007 for path in pipeline.state.rglob("*") if path.is_file()}

    assert {"measure.db", "index.db", "measure.jsonl"} < modes.keys()
    assert set(modes.values()) == {0}, modes


def test_a_second_run_on_the_same_state_is_refused_and_says_by_whom(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])
    pipeline.start()
    until(pipeline.is_up, "the server")
    assert pipeline.process

    second = pipeline.run()

    assert second.returncode == 1
    assert f"in use by process {pipeline.process.pid}" in second.stderr.decode()
    assert pipeline.stop() == 0


def test_a_store_that_cannot_be_written_delays_no_metric_and_goes_on_when_mended(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])
    (pipeline.state).mkdir()
    (pipeline.state / "documents").write_text("a file where a folder should be")
    (tmp_path / "a.jsonl").write_bytes(now_line() * 3)
    pipeline.start()
    until(pipeline.is_up, "the server")
    until(lambda: sum(by_label(pipeline.metrics(), "llm_requests_total", "status").values()) == 3, "metrics")
    until(lambda: json.loads(pipeline.get("/readyz")[1])["status"] == "degraded", "degraded")
    found = pipeline.metrics()
    assert found["logproc_paused", (("consumer", "index"),)] == 1
    assert found["logproc_lag_bytes", (("consumer", "index"),)] > 0
    assert pipeline.get("/readyz")[0] == 200

    (pipeline.state / "documents").unlink()

    until(lambda: json.loads(pipeline.get("/readyz")[1])["status"] == "ready", "ready")
    until(lambda: len(pipeline.documents()) == 3, "documents")
    assert pipeline.stop() == 0


def test_a_log_that_cannot_be_read_is_named_until_it_can_be(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, [str(tmp_path / "*.jsonl")])
    (tmp_path / "a.jsonl").write_bytes(now_line())
    endless = tmp_path / "b.jsonl"
    endless.symlink_to(endless)
    pipeline.start()
    until(pipeline.is_up, "the server")
    until(lambda: json.loads(pipeline.get("/readyz")[1])["status"] == "degraded", "degraded")
    told = json.loads(pipeline.get("/readyz")[1])["consumers"]["measure"]["unreadable"]
    assert list(told) == [str(endless)]
    assert "symbolic links" in told[str(endless)]

    endless.unlink()

    until(lambda: json.loads(pipeline.get("/readyz")[1])["status"] == "ready", "ready")
    assert pipeline.stop() == 0


def test_start_end_skips_what_was_there_on_the_very_first_start_only(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    log.write_bytes(now_line() * 5)
    settings = {"logs": {"paths": [str(log)], "start": "end"}}
    pipeline = Pipeline(tmp_path, [], **settings)
    assert pipeline.run("--once").returncode == 0
    with log.open("ab") as file:
        file.write(now_line() * 2)
    (tmp_path / "a.jsonl.1").write_bytes(now_line(model="b") * 4)  # appears later: read from its beginning

    assert pipeline.run("--once").returncode == 0

    assert len(pipeline.documents()) == 6


def page_of(pipeline: Pipeline, accept: str) -> str:
    return pipeline.get("/metrics", Accept=accept)[1]


def test_metrics_are_lint_free_text_and_openmetrics(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"".join(recent(300, full=True)))
    pipeline = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])
    pipeline.start()
    until(pipeline.is_up, "the server")
    until(lambda: pipeline.has_read(300), "all lines")

    text = page_of(pipeline, "text/plain")
    openmetrics = page_of(pipeline, "application/openmetrics-text;version=1.0.0")

    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    names = {family.name for family in text_string_to_metric_families(openmetrics)}
    assert {"llm_requests", "llm_request_duration_seconds", "logproc_lag_seconds", "process_cpu_seconds"} <= names
    assert "# TYPE llm_requests_total counter" in text
    assert pipeline.stop() == 0


def test_a_token_is_needed_beyond_health_where_one_is_set(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("marker-0815\n")
    pipeline = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])
    settings = json.loads(pipeline.file.read_text())
    settings["http"]["token_file"] = str(token)
    pipeline.file.write_text(json.dumps(settings))
    pipeline.start()
    until(pipeline.is_up, "the server")

    statuses = [
        pipeline.get("/metrics")[0],
        pipeline.get("/metrics", Authorization="Bearer wrong")[0],
        pipeline.get("/metrics", Authorization="Bearer marker-0815")[0],
        pipeline.get("/readyz")[0],
    ]

    assert statuses == [401, 401, 200, 200]
    assert pipeline.stop() == 0
    assert "marker" not in pipeline.output.read_text()


def lines_in(paths: Iterable[Path]) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]


def test_a_log_directory_may_come_later_and_a_half_line_waits(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    pipeline = Pipeline(tmp_path, [str(folder / "*.jsonl")])
    pipeline.start()
    until(pipeline.is_up, "the server")
    folder.mkdir()
    line = now_line(model="späť")
    cut = line.index(b"\\u") + 3
    with (folder / "a.jsonl").open("ab", buffering=0) as file:
        file.write(line + line[:cut])
        os.fsync(file.fileno())
        until(lambda: pipeline.has_read(1), "the whole line")
        assert by_label(pipeline.metrics(), "logproc_lines_total", "result")["rejected"] == 0
        file.write(line[cut:])
    until(lambda: pipeline.has_read(2), "both lines")

    assert pipeline.stop() == 0
    assert recount(lines_in([folder / "a.jsonl"])).lines == len(pipeline.documents()) == 2


def wrapped_as_cri(line: bytes, part: int) -> list[bytes]:
    """As containerd writes a line to the log of a container, split into parts."""
    text = line.rstrip(b"\n")
    pieces = [text[at : at + part] for at in range(0, len(text), part)] or [b""]
    flags = [b"P"] * (len(pieces) - 1) + [b"F"]
    return [b"2026-04-05T10:23:45.1Z stdout %s %s\n" % each for each in zip(flags, pieces, strict=True)]


def test_a_container_log_is_unwrapped_and_a_kill_between_two_parts_loses_nothing(tmp_path: Path) -> None:
    lines = [line for line in recent(400, full=True, bad=41) if b"\0" not in line]
    rejected = [line for line in lines if not line.startswith(b"{")]
    parts = [part for line in lines for part in wrapped_as_cri(line, 90)]
    parts += wrapped_as_cri(b"INFO:     Application startup complete.\n", 90)
    log = tmp_path / "0.log"
    pipeline = Pipeline(tmp_path, [], logs={"paths": [str(log)], "format": "cri"})
    middle = next(at for at in range(len(parts) // 2, len(parts)) if b" P " in parts[at]) + 1
    log.write_bytes(b"".join(parts[:middle]))
    pipeline.start()
    until(pipeline.is_up, "the server")
    until(lambda: by_label(pipeline.metrics(), "logproc_lag_bytes", "consumer")["measure"] == 0, "all parts")
    pipeline.kill()
    with log.open("ab") as file:
        file.writelines(parts[middle:])

    pipeline.start()
    until(pipeline.is_up, "the server")
    until(lambda: by_label(pipeline.metrics(), "logproc_lines_total", "result")["unrelated"] >= 2, "the last line")
    found = pipeline.metrics()

    assert pipeline.stop() == 0
    counts = by_label(found, "logproc_lines_total", "result")
    expected = recount(line for line in lines if line not in rejected)
    assert counts["ok"] == 2 * expected.lines
    assert counts["rejected"] == 2 * expected.rejected
    assert counts["unrelated"] == 2 * (len(rejected) + 1)
    assert len(pipeline.documents()) == sum(expected.requests.values())
