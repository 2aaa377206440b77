"""The manifests for Kubernetes: kustomize builds them, the schemas of the API accept them, and the code agrees.

The resources of the Prometheus operator have no schema here: their rules are checked by promtool.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.kubernetes.generate import FILE, settings_of_the_fleet, text
from logproc.settings import Settings
from logproc.settings_file import load
from tests.services.prometheus import promtool, why_missing
from tests.stack.compose import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.34")
PORT = Settings.model_validate({"logs": {"paths": ["-"]}}).http.port
WORKLOADS = {"base": "DaemonSet", "sidecar": "StatefulSet"}


@functools.cache
def built(name: str) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed (apt-get install kubernetes-client)")
    command = ["kubectl", "kustomize", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pod(name: str) -> dict[str, Any]:
    (workload,) = (each for each in built(name) if each["kind"] == WORKLOADS[name])
    return dict(workload["spec"]["template"]["spec"])


def logproc(name: str) -> dict[str, Any]:
    containers = pod(name)["containers"] + pod(name)["initContainers"]
    return dict(next(each for each in containers if each["name"] == "logproc"))


def paths(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["mountPath"]: each for each in container["volumeMounts"]}


@pytest.mark.service
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_schemas_of_the_api_accept_every_resource(name: str, version: str) -> None:
    for resource in built(name):
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.service
@pytest.mark.parametrize("name", WORKLOADS)
def test_logproc_is_started_probed_and_found_as_it_is(name: str) -> None:
    container = logproc(name)
    settings = load(FOLDER / name / "logproc.yaml", {})
    port = {each["name"]: each["containerPort"] for each in container["ports"]}["metrics"]

    asked = [sys.executable, "-m", "logproc", container["args"][0], "--help"]
    assert subprocess.run(asked, capture_output=True, check=False).returncode == 0
    assert port == settings.http.port == PORT
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    services = [each for each in built(name) if each["kind"] == "Service" and each["metadata"]["name"] == "logproc"]
    assert services[0]["spec"]["ports"][0]["port"] == PORT
    files = [key for each in built(name) if each["kind"] == "ConfigMap" for key in each["data"]]
    assert container["args"][1] == f"/etc/logproc/{files[0]}"


@pytest.mark.service
@pytest.mark.parametrize("name", WORKLOADS)
def test_logproc_reads_its_log_keeps_its_state_and_can_do_nothing_else(name: str) -> None:
    container = logproc(name)
    settings = load(FOLDER / name / "logproc.yaml", {})
    mounted = paths(container)
    security = container["securityContext"] | pod(name)["securityContext"]

    assert mounted["/var/log/vllm"]["readOnly"]
    assert settings.logs.paths[0].startswith("/var/log/vllm/")
    assert str(settings.state) in mounted
    assert settings.http.token_file is not None
    assert str(settings.http.token_file.parent) in mounted
    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not pod(name)["automountServiceAccountToken"]
    assert container["resources"]["limits"]["memory"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in (ROOT / "Dockerfile").read_text()


@pytest.mark.service
def test_the_server_in_the_pod_writes_where_logproc_reads() -> None:
    (vllm,) = pod("sidecar")["containers"]
    written = Path({each["name"]: each["value"] for each in vllm["env"]}["LOGPROC_ACCESS_LOG"])
    folder = paths(vllm)[str(written.parent)]
    read = paths(logproc("sidecar"))[str(written.parent)]

    assert written.match(load(FOLDER / "sidecar" / "logproc.yaml", {}).logs.paths[0])
    assert (folder["name"], folder["subPath"]) == (read["name"], read["subPath"])


@pytest.mark.service
def test_the_operator_scrapes_logproc_and_loads_the_rules_of_its_thresholds(tmp_path: Path) -> None:
    if (reason := why_missing()) is not None:
        pytest.skip(reason)
    resources = {each["kind"]: each for each in built("monitoring")}
    rules, monitor = resources["PrometheusRule"], resources["ServiceMonitor"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules["spec"]))

    assert FILE.read_text() == text(settings_of_the_fleet())
    assert "SUCCESS" in promtool("check", "rules", "--lint=none", tmp_path / "rules.yml")
    for name in WORKLOADS:
        (service,) = (
            each for each in built(name)
            if each["kind"] == "Service"
            and monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
        )  # fmt: skip
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {each["name"] for each in service["spec"]["ports"]}
        assert "logproc" in service["metadata"]["name"], "becomes the job, which the rules look for"
        (secret,) = (each["secret"]["secretName"] for each in pod(name)["volumes"] if "secret" in each)
        assert endpoint["authorization"]["credentials"] == {"name": secret, "key": "token"}
