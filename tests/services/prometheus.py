"""Starts a real Prometheus (Debian's 2.42) on a folder of its own, fills its past, and asks it."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.services.process import ServerProcess

Labels = Mapping[str, str]
Past = Iterable[tuple[str, Labels, Iterable[tuple[float, float]]]]
"""Series by name and labels, each with (seconds since 1970, value) in order of time."""


def why_missing() -> str | None:
    """What keeps the tests from starting it; None when all is there."""
    missing = [tool for tool in ("prometheus", "promtool") if shutil.which(tool) is None]
    return f"{missing[0]} is not installed (apt-get install prometheus)" if missing else None


def promtool(*arguments: str | Path, folder: Path | None = None) -> str:
    """Run promtool; what it printed, with its exit status as an error where that is not 0."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(command)}\n{told[-8000:]}"
    return told


class Prometheus(ServerProcess):
    """One server on a free port of 127.0.0.1; use it as a context manager. `config` is that of prometheus.yml."""

    def __init__(self, folder: Path, config: Mapping[str, Any], *, rules: str | None = None, past: Past = ()) -> None:
        super().__init__(folder, "prometheus.log")
        folder.mkdir(parents=True, exist_ok=True)
        if rules is not None:
            (folder / "rules.yml").write_text(rules)
            config = {**config, "rule_files": [str(folder / "rules.yml")]}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        _fill(folder, past)

    def start(self) -> None:
        """Start it; it answers a little later."""
        command = ["prometheus", f"--config.file={self.folder}/prometheus.yml"]
        command += [f"--storage.tsdb.path={self.folder}/tsdb", f"--web.listen-address=127.0.0.1:{self.port}"]
        self.launch(command)

    def is_ready(self) -> bool:
        """Whether it answers; fails where it has ended."""
        assert self.returncode is None, self.output_tail()
        return self._get("/-/ready") is not None

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """The result of an instant query: labels and values; empty while there is none."""
        found = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": query}))
        return [] if found is None else [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Every alert that is pending or fires, with its labels, annotations and state."""
        found = self._get("/api/v1/alerts")
        return [] if found is None else list(found["alerts"])

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its health and last error."""
        found = self._get("/api/v1/rules")
        return [] if found is None else [rule for group in found["groups"] for rule in group["rules"]]

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                body = answer.read()
        except (OSError, urllib.error.HTTPError):
            return None
        return json.loads(body)["data"] if path.startswith("/api/") else body


def _fill(folder: Path, past: Past) -> None:
    """Give the server a past: blocks made of OpenMetrics text, before it first starts."""
    lines = [f"{name}{_braces(labels)} {value} {when:.3f}" for name, labels, points in past for when, value in points]
    if lines:
        (folder / "past.txt").write_text("\n".join([*lines, "# EOF", ""]))
        promtool("tsdb", "create-blocks-from", "openmetrics", folder / "past.txt", folder / "tsdb")


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"
