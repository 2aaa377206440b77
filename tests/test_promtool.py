"""Prometheus' own tools agree: `promtool check metrics` finds nothing to say, and a real server scrapes the page."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import make_log
from tests.pipeline import Pipeline, by_label, started, until

pytestmark = pytest.mark.service


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    """A running pipeline that has read a log with everything in it: bad lines, heartbeats, hostile names."""
    for tool in ("promtool", "prometheus"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (apt-get install prometheus)")
    hours_ago = int(time.time() * 1000) - 3_600_000
    lines = list(make_log.lines(2000, full=True, bad=77, start_ms=hours_ago))
    lines.append(lines[0].replace(b'"model":"', b'"model":"a\\"b\\\\c\\n{}=,'))
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    one = Pipeline(tmp_path, [str(tmp_path / "a.jsonl")])
    one.start()
    until(one.is_up, "the server")
    until(lambda: one.has_read(2001), "all lines")
    yield one
    assert one.stop() == 0
    for process in started:
        process.kill()
        process.wait()
    started.clear()


def test_promtool_has_nothing_to_say(pipeline: Pipeline) -> None:
    page = pipeline.get("/metrics")[1]

    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_real_prometheus_scrapes_the_counts(pipeline: Pipeline, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "scrape_configs": [
            {
                "job_name": "logproc",
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "static_configs": [{"targets": [f"127.0.0.1:{pipeline.port}"]}],
            }
        ]
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    command = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "prometheus.log").open("wb") as log:
        started.append(subprocess.Popen(command, stdout=log, stderr=log))

    def ask(query: str) -> list[list[str]]:
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return [each["value"] for each in json.load(answer)["data"]["result"]]
        except OSError:
            return []

    until(lambda: bool(ask("llm_requests_total")), "a scrape")

    expected = sum(by_label(pipeline.metrics(), "llm_requests_total", "status").values())
    assert float(ask("sum(llm_requests_total)")[0][1]) == expected
    assert float(ask('sum(llm_request_duration_seconds_bucket{le="3.0"})')[0][1]) > 0
