"""The configurations of Prometheus beside the stack's: promtool accepts them, and they name what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from logproc.settings_file import load
from tests.services.prometheus import promtool, why_missing
from tests.stack.compose import ROOT

FOLDER = ROOT / "pipelines" / "prometheus"
CONFIGS = ("pipelines/prometheus/prometheus.yml", "pipelines/prometheus/prometheus-fleet.yml",
           "pipelines/compose/prometheus.yml")  # fmt: skip


@pytest.mark.service
@pytest.mark.parametrize("path", CONFIGS)
def test_promtool_accepts_every_configuration(path: str) -> None:
    if (reason := why_missing()) is not None:
        pytest.skip(reason)
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", ROOT / path)


def test_a_host_scrapes_logproc_where_it_listens_and_vllm_node_and_gpus_beside_it() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}

    assert targets.pop("logproc") == [load(ROOT / "pipelines/local.yaml", {}).http.listen]
    assert targets == {"vllm": ["127.0.0.1:8000"], "node": ["127.0.0.1:9100"], "dcgm": ["127.0.0.1:9400"]}


def test_a_pair_sends_the_same_alerts_to_both_alertmanagers_and_its_samples_with_a_name_each() -> None:
    config = yaml.safe_load((FOLDER / "prometheus-fleet.yml").read_text())
    alerting = config["alerting"]

    assert {"cluster", "replica"} == set(config["global"]["external_labels"])
    assert alerting["alert_relabel_configs"] == [{"action": "labeldrop", "regex": "replica"}]
    assert len(alerting["alertmanagers"][0]["static_configs"][0]["targets"]) == 2
    queue = config["remote_write"][0]["queue_config"]
    assert 3 <= queue["capacity"] / queue["max_samples_per_send"] <= 10, "as the comment beside it says"
    assert all((FOLDER / Path(name)).exists() for name in config["rule_files"])
