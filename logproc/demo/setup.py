"""What the demo needs before it begins: a directory of its own, the pipeline and its settings file, the command."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import yaml

from logproc.app import App
from logproc.settings import Settings
from logproc.web.server import ListenError

FOLDER: Final = Path("var/demo")
FIRST_PORT: Final = 9470
PORTS: Final = 20
WARM_UP_S: Final = 10
"""Nobody wants to wait in front of a demo until it is judged."""


def make_folder(parent: Path = FOLDER) -> Path:
    """A new directory for log and state: the next number below `parent`, or a temporary one where none can be made.

    So a demo never meets the state of another, and what older ones left can still be searched.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            with suppress(FileExistsError):
                folder = parent / str(number)
                folder.mkdir()
                return folder.absolute()
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="logproc-demo-"))


def open_pipeline(folder: Path) -> tuple[App, Path]:
    """The pipeline at the first free port, and the file of its settings, which other commands can be given.

    Raises:
        ListenError: no port is free.
    """
    for port in itertools.count(FIRST_PORT):
        values = {
            "service": "logproc-demo",
            "logs": {"paths": [glob.escape(str(folder / "access.jsonl"))]},
            "state": str(folder),
            "http": {"listen": f"127.0.0.1:{port}"},
            "alerts": {"warm_up": WARM_UP_S},
        }
        try:
            app = App(Settings.model_validate(values))
        except ListenError:
            if port + 1 == FIRST_PORT + PORTS or "METRICS_PORT" in os.environ:  # which overrides any other port
                raise
            continue
        break
    file = folder.with_suffix(".yaml")
    file.write_text(f"# Written by `logproc demo`.\n{yaml.safe_dump(values, sort_keys=False)}", "utf-8")
    return app, file


def query_command(pipeline: Path) -> str:
    """The command that shows the slow requests, as it can be typed here."""
    program = Path(sys.argv[0])
    found = shutil.which("logproc")
    if program.exists() and not (found is not None and Path(found).samefile(program)):
        name = short(program)
    else:
        name = "logproc"
    return f"{name} query --pipeline {short(pipeline)} --last 1h --flag slow"


def short(path: Path) -> str:
    """The path as seen from here."""
    path = path.absolute()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
