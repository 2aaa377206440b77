"""Importing `serve` beside a model server brings in nothing but what it promises, and never fails there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]

LIST_IMPORTED = """
import sys
import msgspec
before = set(sys.modules)
import serve
import serve.log_writer, serve.heartbeat, serve.timings, logproc.record
import json
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def test_serve_imports_the_standard_library_and_msgspec_alone() -> None:
    output = subprocess.run([sys.executable, "-c", LIST_IMPORTED], cwd=CHECKOUT, capture_output=True, check=True).stdout
    imported = set(json.loads(output))
    foreign = {name for name in imported if name not in sys.stdlib_module_names and not name.startswith("__")}
    assert foreign == {"serve", "logproc"}  # msgspec was there, with what it brings itself


def test_importing_and_wrapping_an_app_reads_and_writes_no_file(tmp_path: Path) -> None:
    code = "import serve; serve.AccessLogMiddleware(None)"
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT), "LOGPROC_ACCESS_LOG": str(tmp_path / "new" / "access.jsonl")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, check=True)
    assert list(tmp_path.iterdir()) == []
