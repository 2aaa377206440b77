"""The services of docker-compose.yml as programs on this machine: their own commands and configurations, run by hand.

Only what a container changes is changed back: folders, addresses, and how often Prometheus looks.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.services.process import free_port
from tests.stack.compose import PIPELINE, ROOT, mounts, services

PROGRAMS = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}
PORTS = {"stand-in": 8000, "logproc": 9470, "prometheus": 9090, "alertmanager": 9093}


class Stack:
    """The services that there are programs for, each on a port of its own."""

    def __init__(self, folder: Path, elasticsearch: str) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.mkdir()
        self.secrets = folder / "secrets"
        subprocess.run(["sh", ROOT / "deploy/make-secrets.sh", self.secrets], check=True, capture_output=True)
        self.ports = {name: free_port() for name in PORTS}
        self.changes = {
            "/var/log/vllm": str(self.log),
            "/var/lib/logproc": str(folder / "state"),
            "/run/secrets": str(self.secrets),
            "http://elasticsearch:9200": elasticsearch,
            "/etc/logproc/logproc.yaml": str(folder / "logproc.yaml"),
            "/etc/prometheus/rules.yml": str(ROOT / mounts("prometheus")["/etc/prometheus/rules.yml"]),
            "/etc/": f"{folder}/",
            "--storage.tsdb.path=/prometheus": f"--storage.tsdb.path={folder}/tsdb",
            "--storage.path=/alertmanager": f"--storage.path={folder}/alertmanager-data",
            "scrape_interval: 15s": "scrape_interval: 1s",
            "evaluation_interval: 15s": "evaluation_interval: 1s",
            "- rules.yml": f"- {ROOT / mounts('prometheus')['/etc/prometheus/rules.yml']}",
        }
        for name, port in PORTS.items():
            for host in (name, "0.0.0.0", "127.0.0.1"):
                self.changes[f"{host}:{port}"] = f"127.0.0.1:{self.ports[name]}"
        settings = yaml.safe_load(self.local(PIPELINE.read_text()))
        settings["store"]["index"] = "stack-access"
        settings["notifiers"] = {"nobody": {"kind": "webhook", "url": "http://127.0.0.1:9/"}}
        settings["alerts"]["routes"]["chat"]["to"] = ["nobody"]
        settings["alerts"]["warm_up"] = 10  # or no alert would come before the second incident
        (folder / "logproc.yaml").write_text(yaml.safe_dump(settings))
        for name in PROGRAMS:
            (folder / name).mkdir()
            text = (ROOT / "pipelines" / "compose" / f"{name}.yml").read_text()
            (folder / name / f"{name}.yml").write_text(self.local(text))
        self._running = contextlib.ExitStack()

    def local(self, text: str) -> str:
        """The text for this machine."""
        for there, here in self.changes.items():
            text = text.replace(there, here)
        return text

    def command(self, name: str) -> list[str]:
        """What the service runs, from docker-compose.yml and our image's entry point."""
        service = services()[name]
        if name in PROGRAMS:
            start = [PROGRAMS[name]]
        elif service["entrypoint"]:
            start = [sys.executable, *service["entrypoint"][1:]]
        else:
            start = [sys.executable, "-m", "logproc"]
        command = [*start, *map(self.local, service["command"])]
        here = {"0.0.0.0": "127.0.0.1", str(PORTS.get(name)): str(self.ports.get(name))}
        return [here.get(word, word) for word in command]

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """A service that ends by itself."""
        return subprocess.run(self.command(name), capture_output=True, text=True, check=False, timeout=60)

    def start(self, name: str) -> None:
        """A service that goes on until the stack is stopped."""
        environment = {
            key: self.local(str(value)) for key, value in (services()[name].get("environment") or {}).items()
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(name), stdout=log, stderr=log, env={**os.environ, **environment}, cwd=self.folder
            )
        self._running.callback(_end, process)

    def output(self) -> str:
        """The last words of every service."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        """End all of them."""
        self._running.close()

    def add_what_the_stand_in_lacks(self) -> None:
        """A GPU and tokens from caches and thoughts; and a line that is no record."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with (self.log / "access-1.jsonl").open("a") as log:
            for line in (_heartbeat(now), _request(now)):
                log.write(json.dumps(line) + "\n")
            log.write("no record\n")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _heartbeat(now: str) -> Mapping[str, Any]:
    gpu = {"gpu": "GPU-0", "memory_used_bytes": 70 * 10**9, "memory_total_bytes": 80 * 10**9, "utilization": 0.9}
    gpu |= {"temperature_c": 61, "power_w": 402.5}
    engine = {"engine": 0, "running": 3, "waiting": 0, "kv_cache_usage": 0.2}
    return {"time": now, "event": "heartbeat", "host": "gpu-box", "pid": 1, "service": "vllm", "in_flight": 3,
            "oldest_in_flight_ms": 10.0, "lines_lost": 0, "engines": [engine], "gpus": [gpu]}  # fmt: skip


def _request(now: str) -> Mapping[str, Any]:
    return {"time": now, "method": "POST", "path": "/v1/chat/completions", "status": 200, "prompt_tokens": 100,
            "completion_tokens": 50, "duration_ms": 900.0, "model": "thinker", "operation": "chat", "outcome": "ok",
            "cached_tokens": 64, "reasoning_tokens": 20, "finish_reason": "stop"}  # fmt: skip


@contextlib.contextmanager
def running(folder: Path, elasticsearch: str) -> Iterator[Stack]:
    """The stack at work, in the order of its file: set up, then everything else."""
    stack = Stack(folder, elasticsearch)
    try:
        done = stack.run("setup-elasticsearch")
        assert done.returncode == 0, done.stdout + done.stderr
        for name in PORTS:
            stack.start(name)
        yield stack
    finally:
        stack.stop()
