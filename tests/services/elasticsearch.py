"""Starts and stops a real Elasticsearch of one node, with its data in one folder; no other run can meet it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.services import install_elasticsearch
from tests.services.install_vllm import cache_folder
from tests.services.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

START_LIMIT_S: Final = 180.0
MOST_CONTENT_MB: Final = 8
"""`http.max_content_length`: a larger request is answered 413."""

_SETTINGS: Final = {
    "cluster.name": "logproc-tests",
    "discovery.type": "single-node",
    "network.host": "127.0.0.1",
    "xpack.security.enabled": "false",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
    "action.destructive_requires_name": "false",
    "http.max_content_length": f"{MOST_CONTENT_MB}mb",
}


class ElasticsearchServer(ServerProcess):
    """One server on a free port of 127.0.0.1; use it as a context manager. Stopped and started again it has its data.

    It lives in a new folder below the system's temporary folder, its programs too (144 MB): it refuses to run as root,
    so root runs it as `nobody`, who cannot enter root's cache folder. `close` removes the folder.

    With `quick_start` Java compiles quickly and not well: good for tests, not for measuring.
    """

    def __init__(
        self, *, heap: str = "1g", quick_start: bool = True, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="logproc-elasticsearch-")), "output.txt")
        self._java_options = f"-Xms{heap} -Xmx{heap}" + (" -XX:TieredStopAtLevel=1" if quick_start else "")
        self._settings = {**_SETTINGS, "http.port": str(self.port), **(settings or {})}

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server and wait until it is well (about 15 seconds).

        Raises:
            RuntimeError: it ended, or was not well in time; the message holds the end of its output.
        """
        programs, java = self.folder / "programs", self.folder / "java"
        if not programs.exists():
            self._prepare(programs, java)
        command = ["setpriv", "--pdeathsig", "KILL"]  # it does not outlive a killed test run
        if os.geteuid() == 0:
            command += ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
        command.append(str(programs / "bin" / "elasticsearch"))
        environment = {
            "PATH": os.environ["PATH"],
            "ES_JAVA_HOME": str(java),
            "ES_JAVA_OPTS": self._java_options,
            "ES_TMPDIR": str(self.folder / "tmp"),
        }
        self.launch(command, environment)
        try:
            self._wait_until_well()
        except BaseException:
            self.stop()
            raise

    def close(self) -> None:
        """End it, and remove everything it wrote."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """What the server answers (JSON, also of an error): `body` goes as JSON, or as it is when it is bytes.

        Raises:
            OSError: there was no answer.
        """
        return call(self.url, method, path, body)

    def _prepare(self, programs: Path, java: Path) -> None:
        shutil.copytree(install_elasticsearch.distribution(), programs)
        home = install_elasticsearch.java_home()
        assert home is not None, install_elasticsearch.why_missing()
        if home.is_relative_to(cache_folder()):
            shutil.copytree(home, java)
            options = programs / "config" / "jvm.options"  # this Java has not every module
            options.write_text(re.sub(r".*jdk\.incubator\.vector.*\n", "", options.read_text()))
        else:
            java.symlink_to(home)
        places = {"path.data": str(self.folder / "data"), "path.logs": str(self.folder / "logs")}
        lines = [f"{name}: {json.dumps(value)}" for name, value in {**self._settings, **places}.items()]
        (programs / "config" / "elasticsearch.yml").write_text("\n".join(lines) + "\n")
        (self.folder / "tmp").mkdir()
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                if not path.is_symlink():
                    shutil.chown(path, "nobody", "nogroup")

    def _wait_until_well(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self.returncode is not None:
                raise RuntimeError(f"Elasticsearch ended with {self.returncode}\n{self.output_tail()}")
            with contextlib.suppress(OSError):
                if self.call("GET", "/_cluster/health").get("status") in {"green", "yellow"}:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"Elasticsearch was not well in {START_LIMIT_S:.0f} s\n{self.output_tail()}")


def call(url: str, method: str, path: str, body: object = None) -> Any:
    """As `ElasticsearchServer.call`, of the server at `url`."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        text = error.read()
    return json.loads(text) if text else None
