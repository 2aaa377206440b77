"""From lines of a log to an alert in Prometheus, by the rules that `logproc rules` prints for the same settings."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.lines import raw, request
from tests.pipeline import Pipeline, until
from tests.rules.test_real_prometheus import names_of
from tests.services import prometheus
from tests.services.prometheus import Prometheus


def slow_for(duration_ms: float, count: int) -> bytes:
    """So many lines of requests that have just ended."""
    time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return raw(*(request(time=time, duration_ms=duration_ms, model="m") for _ in range(count)))


def printed(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "logproc", "rules", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_prints_rules_and_their_tests_and_names_settings_that_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("logs: {paths: [a.jsonl]}")

    assert "groups" in yaml.safe_load(printed(str(file)).stdout)
    assert yaml.safe_load(printed(str(file), "--tests").stdout)["rule_files"] == ["rules.yml"]
    missing = printed(str(tmp_path / "other.yaml"))
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "other.yaml" in missing.stderr


@pytest.mark.service
def test_slow_requests_in_a_log_fire_the_rule_and_usual_ones_do_not(tmp_path: Path) -> None:
    if reason := prometheus.why_missing():
        pytest.skip(reason)
    log = tmp_path / "access.jsonl"
    log.write_bytes(slow_for(900, 500))
    pipeline = Pipeline(tmp_path, [str(log)], alerts={"decide": "prometheus"}, thresholds={"duration_s": 1.7})
    pipeline.start()
    until(lambda: pipeline.is_up() and pipeline.has_read(500), "the log")
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "scrape_configs": [
            {"job_name": "logproc", "static_configs": [{"targets": [f"127.0.0.1:{pipeline.port}"]}]},
        ],
    }
    rules = printed(str(pipeline.file)).stdout
    alert = ("LatencyP99", "warning", "")

    def add(duration_ms: float) -> None:
        with log.open("ab") as file:
            file.write(slow_for(duration_ms, 20))

    with Prometheus(tmp_path / "prometheus", config, rules=rules) as server:

        def counted(more: float) -> bool:
            add(more)
            found = server.ask('model:llm_request_duration_seconds_count:increase5m{model="m"}')
            return bool(found) and found[0][1] > 200

        until(lambda: counted(1700), "requests of just that length")
        assert alert not in names_of(server.alerts())
        until(lambda: counted(1701) and alert in names_of(server.alerts()), "the alert")
    assert pipeline.stop() == 0
