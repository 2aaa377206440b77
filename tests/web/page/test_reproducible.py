"""The page in the package is what its sources make, small enough, and asks nobody but logproc for anything."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
ASSETS = CHECKOUT / "logproc/web/assets"
PAGE = CHECKOUT / "page"
MOST_BYTES = 300_000


@pytest.mark.service
def test_the_sources_make_the_same_page_to_the_byte(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (PAGE / "node_modules/esbuild").exists():
        pytest.skip("what builds the page is missing: make page")

    subprocess.run(["node_modules/.bin/tsc"], cwd=PAGE, check=True, timeout=100)
    subprocess.run(["node", "build.js", str(tmp_path)], cwd=PAGE, check=True, timeout=100)

    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in ASSETS.iterdir()}
    assert built.keys() == committed.keys(), "make page, and commit what it makes"
    assert built == committed


def test_the_page_is_small_and_wants_nothing_from_elsewhere() -> None:
    files = {path.name: path.read_bytes() for path in ASSETS.iterdir()}

    assert sum(map(len, files.values())) < MOST_BYTES
    for name, body in files.items():
        if not name.endswith(".txt"):
            addresses = set(re.findall(rb"https?://[^\"'`\s)]+", body))
            assert {each for each in addresses if not each.startswith(b"http://www.w3.org/")} == set(), name


def test_the_lock_file_names_every_version_and_no_place() -> None:
    lock = (PAGE / "package-lock.json").read_text("utf-8")

    assert '"resolved"' not in lock
    assert '"integrity"' in lock
