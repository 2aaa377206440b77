"""The configurations of Prometheus beside the stack's: promtool accepts them, and they name what there is."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from logproc.settings_file import load
from tests.pipeline import until
from tests.services.process import free_port
from tests.services.prometheus import Prometheus, promtool, why_missing
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


@pytest.mark.service
def test_a_fleets_prometheus_sends_what_it_has_to_a_store_with_the_names_of_cluster_and_replica(tmp_path: Path) -> None:
    """Another real Prometheus takes the part of Mimir or Thanos: it speaks the same protocol."""
    if (reason := why_missing()) is not None:
        pytest.skip(reason)
    config = yaml.safe_load((FOLDER / "prometheus-fleet.yml").read_text())
    port = free_port()
    config["remote_write"][0]["url"] = f"http://127.0.0.1:{port}/api/v1/write"
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    config["alerting"]["alertmanagers"] = []
    config["global"]["scrape_interval"] = "1s"
    (tmp_path / "store.yml").write_text("{}")
    command = ["prometheus", f"--config.file={tmp_path}/store.yml", f"--storage.tsdb.path={tmp_path}/store"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"]
    with (tmp_path / "store.log").open("wb") as log:
        store = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        sender = Prometheus(tmp_path / "sender", config)
        config["scrape_configs"] = [
            {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{sender.port}"]}]}
        ]
        (tmp_path / "sender" / "prometheus.yml").write_text(json.dumps(config))
        with sender:
            until(lambda: bool(_asked(port, "prometheus_build_info")), "samples in the store", 90)
            (found,) = _asked(port, "prometheus_build_info")
        assert (found["cluster"], found["replica"]) == ("gpu-fleet", "a")
        assert not _asked(port, "go_info"), "is left out, as the configuration says"
    finally:
        store.kill()
        store.wait()


def _asked(port: int, query: str) -> list[dict[str, Any]]:
    """The labels of what the store has; nothing while it does not answer."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return [each["metric"] for each in json.loads(answer.read())["data"]["result"]]
    except OSError:
        return []
