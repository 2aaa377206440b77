"""A load test as a gate: Locust drives a real vLLM, and the scorecard of its log says whether the release may go."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.services.vllm import MODEL_NAME, VllmServer

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parent.parent.parent


@dataclass
class Load:
    """What Locust told of each kind of row, and the folder with the pipeline that read the log."""

    rows: dict[str, dict[str, Any]]
    folder: Path

    def report(self, form: str, **targets: float) -> subprocess.CompletedProcess[str]:
        settings = json.loads((self.folder / "pipeline.yaml").read_text()) | {"targets": targets}
        chosen = self.folder / "chosen.yaml"
        chosen.write_text(json.dumps(settings))
        return _logproc("report", str(chosen), "--as", form)


def _logproc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "logproc", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def load(vllm_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Load:
    if find_spec("locust") is None:  # to import it here would turn every thread of this process into a greenlet
        pytest.skip("the extra `load` is not installed")
    folder: Path = tmp_path_factory.mktemp("gate")
    with VllmServer(folder) as server:
        command = [sys.executable, "-m", "locust", "-f", "benchmarks/locustfile.py", "--host", server.base_url]
        command += ["--headless", "--users", "4", "--spawn-rate", "4", "--run-time", "15s", "--stop-timeout", "60"]
        command += ["--prompt-words", "60", "--answer-tokens", "30", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
    print(done.stderr[-4000:])
    rows = {row["method"]: row for row in json.loads(done.stdout)}
    off: dict[str, Any] = {"duration_s": None, "duration_p95_s": None, "tokens_per_second": None, "empty_ratio": None}
    settings: dict[str, Any] = {"logs": {"paths": [str(server.access_log)]}, "thresholds": off}
    settings |= {"state": str(folder / "state"), "http": {"listen": "127.0.0.1:0"}}
    (folder / "pipeline.yaml").write_text(json.dumps(settings))
    read = _logproc("run", str(folder / "pipeline.yaml"), "--once")
    assert read.returncode == 0, read.stderr
    return Load(rows, folder)


def test_the_log_has_what_locust_asked_for(load: Load) -> None:
    cards = json.loads(load.report("json").stdout)["cards"]
    (card,) = (each for each in cards if each["model"] == MODEL_NAME)
    assert card["requests"] == load.rows["POST"]["num_requests"] > 0
    assert card["outcomes"].get("empty", 0) == load.rows["POST"]["num_failures"]
    first_ms = card["figures"]["ttft_p50_s"]["value"] * 1000
    seen = load.rows["TTFT"]["total_response_time"] / load.rows["TTFT"]["num_requests"]
    assert 0 < first_ms < 10 * seen  # the client sees it later; medians of so few differ from means


def test_the_gate_opens_when_the_targets_are_met_and_stays_shut_when_not(load: Load) -> None:
    easy = load.report("table", ttft_s=300, server_tokens_per_second=0.1, requests_per_second=0.01)
    assert (easy.returncode, "MISSED" in easy.stdout) == (0, False), easy.stdout
    hard = load.report("table", ttft_s=0.0001, server_tokens_per_second=0.1, requests_per_second=0.01)
    assert (hard.returncode, "MISSED" in hard.stdout) == (1, True), hard.stdout
    print(easy.stdout, hard.stdout)
