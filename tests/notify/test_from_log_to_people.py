"""From lines of a real log to the group of people: by logproc's own alerts, and by Prometheus and Alertmanager."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logproc.alerts import record
from logproc.alerts.alert import Alert
from logproc.decode import time_ms
from logproc.rules.output import rules_text
from logproc.settings_file import load
from tests.doubles.dingtalk import DingTalkDouble, error
from tests.notify.incident import Traffic
from tests.pipeline import Pipeline, started, until
from tests.rules.test_alertmanager import CONFIG
from tests.services import alertmanager, prometheus
from tests.services.alertmanager import Alertmanager
from tests.services.prometheus import Prometheus


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    for process in started:
        process.kill()
        process.wait()
    started.clear()


@pytest.fixture
def robot() -> Iterator[DingTalkDouble]:
    with DingTalkDouble(secret="SECdouble") as double:
        yield double


def entries(pipeline: Pipeline, model: str) -> list[Alert]:
    return [each for _, each in record.after(pipeline.state / "measure.db", 0) if each.model == model]


def test_failing_requests_in_a_log_reach_the_group_by_our_own_alerts(tmp_path: Path, robot: DingTalkDouble) -> None:
    traffic = Traffic(tmp_path / "access.jsonl", ["well", "ill"])
    traffic.failing.add("ill")
    traffic.past(400, failing_s=15)
    pipeline = Pipeline(
        tmp_path,
        [str(tmp_path / "access.jsonl")],
        alerts={"routes": {"ops": {"severity": ["warning", "critical"], "to": ["ops"]}}},
        notifiers={"ops": {"kind": "dingtalk", "url": robot.url, "secret": "SECdouble"}},
        thresholds={"error_ratio": {"warning": 0.05}},  # were it graver meanwhile, the second message would say so
    )
    robot.next_replies.append(error(-1, "系统繁忙"))

    with traffic:
        pipeline.start()
        assert robot.wait_for(lambda: bool(robot.taken), 90), pipeline.output.read_text()

    first, second = robot.posts[:2]
    assert first.json == second.json, "what the robot was too busy for is sent again"
    assert "ill" in robot.texts()[0]
    fired = next(each for each in entries(pipeline, "ill") if each.state == "firing")
    assert fired.kind == "errors"
    written = traffic.first_failure["ill", time_ms(fired.time, 1 << 47) // 1000]
    assert written < first.at
    print(f"from the first line of the second in which the guard tipped to the robot: {first.at - written:.2f} s")
    assert pipeline.stop() == 0


@pytest.mark.service
def test_failing_requests_in_a_log_reach_the_group_by_prometheus_and_alertmanager(
    tmp_path: Path, robot: DingTalkDouble
) -> None:
    if reason := prometheus.why_missing() or alertmanager.why_missing():
        pytest.skip(reason)
    traffic = Traffic(tmp_path / "access.jsonl", ["well", "ill"])
    traffic.past(60)
    token = tmp_path / "token"
    token.write_text("token-of-the-relay")
    pipeline = Pipeline(
        tmp_path,
        [str(tmp_path / "access.jsonl")],
        alerts={
            "decide": "prometheus",
            "routes": {
                "chat": {"severity": ["warning", "critical"], "to": ["ops"]},
                "phone": {"severity": [], "to": []},
                "auto-scaling": {"severity": [], "to": []},
                "dead-mans-switch": {"severity": [], "to": []},
            },
        },
        notifiers={"ops": {"kind": "dingtalk", "url": robot.url, "secret": "SECdouble"}},
    )
    told = CONFIG.read_text().replace("http://127.0.0.1:9470", f"http://127.0.0.1:{pipeline.port}")
    told = told.replace("/run/secrets/logproc_token", str(token)).replace("group_wait: 5s", "group_wait: 0s")
    with traffic, Alertmanager(tmp_path / "alertmanager", told) as manager:
        pipeline.start()
        until(lambda: pipeline.is_up() and pipeline.has_read(1200), "the log")
        rules = rules_text(load(pipeline.file, {}))
        with Prometheus(tmp_path / "prometheus", scraping(pipeline, manager), rules=rules) as server:
            until(lambda: bool(server.ask('model:llm_requests_answerable:increase5m{model="ill"}')), "the first rates")
            assert not robot.taken
            traffic.failing.add("ill")
            assert robot.wait_for(lambda: any("ill" in text for text in robot.texts()), 90), pipeline.output.read_text()

    assert "ill" in robot.texts()[0]
    assert not entries(pipeline, "well")
    assert not any("well" in text for text in robot.texts())
    assert pipeline.stop() == 0


def scraping(pipeline: Pipeline, manager: Alertmanager) -> dict[str, Any]:
    """The settings of a Prometheus that looks twice a second."""
    return {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "scrape_configs": [
            {"job_name": "logproc", "static_configs": [{"targets": [f"127.0.0.1:{pipeline.port}"]}]},
        ],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager.address]}]}]},
    }
