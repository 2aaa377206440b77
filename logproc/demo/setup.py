"""What the demo needs before it begins: a directory of its own, the pipeline and its settings file, the command."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from logproc.app import App
from logproc.settings import ElasticsearchStore, Settings
from logproc.stores.elasticsearch_client import ClientMissingError, Connection
from logproc.stores.elasticsearch_setup import SetupRefusedError, install
from logproc.stores.store import StoreUnavailableError
from logproc.web.server import ListenError

FOLDER: Final = Path("var/demo")
SERVICE: Final = "logproc-demo"
FIRST_PORT: Final = 9470
PORTS: Final = 20
INDEX: Final = "logproc-demo"
"""In Elasticsearch: no demo meets documents of real requests."""
REACH_S: Final = 5.0
"""A server that does not answer for so long is not there."""
WARM_UP_S: Final = 10
"""Nobody wants to wait in front of a demo until it is judged."""


class NoStoreError(Exception):
    """Elasticsearch cannot be used; the message says why."""


def make_folder(parent: Path = FOLDER) -> Path:
    """A new directory for log and state: the next number below `parent`, or a temporary one where none can be made.

    So a demo never meets the state of another, and what older ones left can still be searched.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            with contextlib.suppress(FileExistsError):
                folder = parent / str(number)
                folder.mkdir()
                return folder.absolute()
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="logproc-demo-"))


def set_up_elasticsearch(url: str) -> ElasticsearchStore:
    """A store at this URL, with its templates.

    Raises:
        NoStoreError: the URL is none, the client is missing, or the server is not there or refuses.
    """
    said: list[str] = []
    try:
        store = ElasticsearchStore(kind="elasticsearch", urls=[url], index=INDEX, keep_days=30)
        with contextlib.closing(Connection(store, timeout_s=REACH_S)) as server:
            if not install(server, store, SERVICE, said.append):
                raise NoStoreError("\n".join(said))
    except ValidationError as error:
        raise NoStoreError(f"{url}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    except (ClientMissingError, StoreUnavailableError, SetupRefusedError) as error:
        raise NoStoreError(str(error)) from error
    return store


def open_pipeline(folder: Path, store: ElasticsearchStore | None = None) -> tuple[App, Path]:
    """The pipeline at the first free port, and the file of its settings, which other commands can be given.

    Raises:
        ListenError: no port is free.
    """
    for port in itertools.count(FIRST_PORT):
        values = {
            "service": SERVICE,
            "logs": {"paths": [glob.escape(str(folder / "access.jsonl"))]},
            "state": str(folder),
            "http": {"listen": f"127.0.0.1:{port}"},
            "alerts": {"warm_up": WARM_UP_S},
            **({} if store is None else {"store": store.model_dump(exclude_defaults=True)}),
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
