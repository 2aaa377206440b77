"""Fixtures and rules that all tests share: a real server that is missing skips a test, and fails it in CI."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.services import install_elasticsearch, install_vllm
from tests.services.elasticsearch import ElasticsearchServer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

CHECKOUT = Path(__file__).parents[1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true a test that needs a real server may not be skipped: there the server must be installed."""
    report = yield
    if report.skipped and item.get_closest_marker("service") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nWith CI=true every service must be there."
    return report


@pytest.fixture(autouse=True)
def commands_in_this_process_leave_its_messages_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typer's runner gives a command streams that it closes: messages bound to them would fail in later tests."""
    monkeypatch.setattr("logproc.messages.log_to_stderr", lambda: None)


@pytest.fixture(scope="session")
def vllm_installed() -> None:
    """Have vLLM with its tiny model installed, and this checkout of logproc beside it; else the test is skipped."""
    reason = install_vllm.why_missing()
    if reason is not None:
        pytest.skip(reason)
    install_vllm.install_checkout(CHECKOUT)


@pytest.fixture(scope="session")
def elasticsearch_server() -> Iterator[ElasticsearchServer]:
    """A real Elasticsearch for all tests of this run: each uses index names of its own. Else the test is skipped."""
    reason = install_elasticsearch.why_missing()
    if reason is not None:
        pytest.skip(reason)
    with ElasticsearchServer() as server:
        yield server


@pytest.fixture(scope="session")
def elasticsearch(elasticsearch_server: ElasticsearchServer) -> str:
    """Its URL."""
    return elasticsearch_server.url
