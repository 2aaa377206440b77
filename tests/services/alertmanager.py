"""Starts a real Alertmanager (Debian's 0.25) alone, on a folder of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.services.process import ServerProcess


def why_missing() -> str | None:
    """What keeps the tests from starting it; None when all is there."""
    missing = [tool for tool in ("prometheus-alertmanager", "amtool") if shutil.which(tool) is None]
    return f"{missing[0]} is not installed (apt-get install prometheus-alertmanager)" if missing else None


def amtool(*arguments: str | Path) -> str:
    """Run amtool; what it printed on stdout."""
    command = ["amtool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


class Alertmanager(ServerProcess):
    """One server on a free port of 127.0.0.1; use it as a context manager. `config` is the text of its settings."""

    def __init__(self, folder: Path, config: str) -> None:
        super().__init__(folder, "alertmanager.log")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "alertmanager.yml").write_text(config)

    def start(self) -> None:
        """Start it; it answers a little later."""
        command = ["prometheus-alertmanager", f"--config.file={self.folder}/alertmanager.yml"]
        command += [f"--storage.path={self.folder}/data", f"--web.listen-address={self.address}"]
        command += ["--cluster.listen-address="]  # alone
        self.launch(command)

    def is_ready(self) -> bool:
        """Whether it answers; fails where it has ended."""
        assert self.returncode is None, self.output_tail()
        return self._call("/-/ready") is not None

    def post(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Tell it of alerts as Prometheus does: each has `labels`, may have `annotations`, `startsAt`, `endsAt`."""
        assert self._call("/api/v2/alerts", json.dumps(list(alerts)).encode()) is not None

    def alerts(self) -> list[dict[str, Any]]:
        """What it knows of, with `status.state` and `status.inhibitedBy`."""
        found = self._call("/api/v2/alerts")
        return [] if found is None else json.loads(found)

    def _call(self, path: str, body: bytes | None = None) -> bytes | None:
        request = urllib.request.Request(
            f"http://{self.address}{path}", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                read: bytes = answer.read()
                return read
        except (OSError, urllib.error.HTTPError):
            return None
