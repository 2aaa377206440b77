"""Starts the real `logproc run` as a user would, and reads what it shows."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def until(true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for something that must come; the limit is only there so that a failure ends."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for: {what}"
        time.sleep(0.01)


started: list[subprocess.Popen[bytes]] = []
"""Every process that a test has started: killed at its end, however it ends."""


class Pipeline:
    """One state directory, one settings file, and the processes that were started on it one after the other."""

    def __init__(self, directory: Path, paths: Iterable[str], **more: Any) -> None:
        self.directory = directory
        self.state = directory / "state"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            "logs": {"paths": list(paths)},
            "state": str(self.state),
            "http": {"listen": f"127.0.0.1:{self.port}"},
            **more,
        }
        self.file = directory / "pipeline.yaml"
        self.file.write_text(json.dumps(settings))
        self.output = directory / "logproc.log"
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str, limit_s: float = 110) -> subprocess.CompletedProcess[bytes]:
        """`logproc run` to its own end."""
        return subprocess.run(self._command(arguments), capture_output=True, check=False, timeout=limit_s)

    def start(self, *arguments: str) -> None:
        with self.output.open("ab") as log:
            self.process = subprocess.Popen(self._command(arguments), stdout=log, stderr=log)
        started.append(self.process)

    def _command(self, arguments: Iterable[str]) -> list[str]:
        return [sys.executable, "-m", "logproc", "run", str(self.file), *arguments]

    def kill(self) -> None:
        """SIGKILL: no chance to finish anything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> Samples:
        """Every sample of /metrics."""
        return samples(self.get("/metrics")[1])

    def is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output.read_text()
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def has_read(self, lines: int) -> bool:
        """Whether both consumers have committed so many lines (good and bad)."""
        found = by_label(self.metrics(), "logproc_lines_total", "consumer")
        return min(found.get("measure", 0), found.get("index", 0)) >= lines

    def documents(self) -> list[tuple[str, int, int | None, int | None]]:
        """(id in hex, status, prompt tokens, completion tokens) of every document in the store."""
        rows = []
        for path in sorted((self.state / "documents").glob("2*.db")):
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            rows += connection.execute(
                "SELECT hex(id), status, prompt_tokens, completion_tokens FROM requests"
            ).fetchall()
            connection.close()
        return rows


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def by_label(found: Samples, name: str, label: str) -> dict[str, float]:
    """Sums of one metric by one of its labels."""
    sums: dict[str, float] = {}
    for (metric, labels), value in found.items():
        if metric == name:
            key = dict(labels)[label]
            sums[key] = sums.get(key, 0) + value
    return sums
