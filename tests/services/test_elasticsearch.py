"""What the tests on a real Elasticsearch stand on: it is the real one, it keeps its data, and a missing one is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.elasticsearch import call

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.service
@pytest.mark.timeout(300)
def test_an_id_that_was_created_once_is_refused_the_second_time(elasticsearch: str) -> None:
    assert call(elasticsearch, "PUT", "/fixture/_create/1", {"n": 1})["result"] == "created"
    assert call(elasticsearch, "PUT", "/fixture/_create/1", {"n": 2})["status"] == 409


@pytest.mark.parametrize(("ci", "word"), [("", "skipped"), ("true", "error")])
def test_a_missing_server_skips_its_tests_and_fails_them_in_ci(tmp_path: Path, ci: str, word: str) -> None:
    name = "test_an_id_that_was_created_once_is_refused_the_second_time"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{__file__}::{name}"]
    environment = {**os.environ, "LOGPROC_CACHE": str(tmp_path), "CI": ci}
    result = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert f"1 {word}" in result.stdout.splitlines()[-1]
    assert f"Elasticsearch is not installed in {tmp_path}" in result.stdout
    assert result.returncode == (1 if ci else 0)
