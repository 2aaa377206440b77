"""docker-compose.yml as docker-compose itself reads it: every variable filled in, everything merged."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
BIN = Path(sys.executable).parent
PIPELINE = ROOT / "pipelines" / "compose" / "logproc.yaml"


def config(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`docker-compose config`, in an environment that sets none of its variables but `env`."""
    command = [str(BIN / "docker-compose"), "--project-directory", str(ROOT), "--file", str(FILE)]
    kept = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COMPOSE_DISABLE_ENV_FILE": "1"}
    command += ["config", *arguments]
    return subprocess.run(command, env=kept | (env or {}), capture_output=True, text=True, check=False, timeout=60)


@functools.cache
def services() -> dict[str, dict[str, Any]]:
    """Every service by its name, those of the profile `gpu` too."""
    return dict(project()["services"])


@functools.cache
def project() -> dict[str, Any]:
    """The whole file."""
    done = config("--format", "json", env={"COMPOSE_PROFILES": "gpu"})
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def mounts(service: str) -> dict[str, str]:
    """Where a service sees what: its path → the file of ours (from the root of the checkout), or the volume."""
    return {
        each["target"]: str(Path(each["source"]).relative_to(ROOT)) if each["type"] == "bind" and
        Path(each["source"]).is_relative_to(ROOT) else each["source"]
        for each in services()[service].get("volumes", [])
    }  # fmt: skip
