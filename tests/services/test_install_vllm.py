"""What the tests on a real vLLM stand on: the installation beside it, and the rule for machines without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import install_vllm

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.service
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("vllm_installed")
def test_installing_logproc_beside_vllm_changes_no_installed_version() -> None:
    before = install_vllm.versions_before_logproc()
    after = install_vllm.versions()
    assert len(before) > 100
    assert "logproc" not in before
    assert "logproc" in after
    assert {name: after.get(name) for name in before} == before


@pytest.mark.parametrize(("ci", "word"), [("", "skipped"), ("true", "error")])
def test_a_missing_server_skips_its_tests_and_fails_them_in_ci(tmp_path: Path, ci: str, word: str) -> None:
    name = "test_installing_logproc_beside_vllm_changes_no_installed_version"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{__file__}::{name}"]
    environment = {**os.environ, "LOGPROC_CACHE": str(tmp_path), "CI": ci}
    result = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert f"1 {word}" in result.stdout.splitlines()[-1]
    assert f"vLLM is not installed in {tmp_path}" in result.stdout
    assert result.returncode == (1 if ci else 0)
