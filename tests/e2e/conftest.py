"""The run on a real vLLM that several tests look at from different sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.traffic import COUNTED_ONCE, KINDS
from tests.e2e.witness import Witness, serve_and_watch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def witness(vllm_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Witness:
    """More than 300 requests, four and more of each kind, many at the same time; and the log that was written."""
    folder: Path = tmp_path_factory.mktemp("vllm")
    return serve_and_watch(folder, counted=COUNTED_ONCE * 6, mixed=KINDS * 4, parallel=12, seed=1)
