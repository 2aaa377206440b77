"""A browser, and running pipelines to look at: each is started once for all tests of the page."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline import Pipeline, started, until
from tests.web.page import traffic
from tests.web.page.browser import Browser, why_missing

NODE_MODULES = Path(__file__).parents[3] / "page/node_modules"


class Site:
    """A running logproc whose logs are known: `lines` are what it was given, `end_ms` is when the last of them was."""

    def __init__(self, folder: Path, lines: list[dict[str, Any]], end_ms: int, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "access.jsonl"
        self.lines = list(lines)
        self.end_ms = end_ms
        self.log.write_bytes(traffic.written(iter(lines)))
        self.pipeline = Pipeline(folder, [str(self.log)], **settings)
        self.url = f"http://127.0.0.1:{self.pipeline.port}"

    def start(self, headers: dict[str, str] | None = None, seconds: float = 60) -> Site:
        """Run until everything that is there has been read and can be found."""
        self.pipeline.start()
        assert self.pipeline.process is not None
        started.remove(self.pipeline.process)  # it outlives the test that happens to be the first
        wanted = sum("method" in line for line in self.lines)
        until(lambda: self._is_done(wanted, headers or {}), "logproc to have read its log", seconds)
        return self

    def _is_done(self, wanted: int, headers: dict[str, str]) -> bool:
        process = self.pipeline.process
        assert process is not None
        assert process.poll() is None, self.pipeline.output.read_text()[-2000:]
        try:
            if self.pipeline.get("/readyz")[0] != 200:
                return False
            status, text = self.pipeline.get("/api/v1/summary?from=2020-01-01", **headers)
        except OSError:
            return False
        total = json.loads(text)["total"] if status == 200 else None
        return wanted == 0 or (total is not None and total["requests"] == wanted)

    def append(self, *lines: dict[str, Any]) -> None:
        """More lines, as a server would write them."""
        self.lines += lines
        with self.log.open("ab") as log:
            log.write(traffic.written(iter(lines)))

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The lines of requests."""
        return [line for line in self.lines if "method" in line]

    def between(self, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        """The requests of a range of time."""
        since, until_ = traffic.time_text(from_ms), traffic.time_text(to_ms)
        return [line for line in self.requests if since <= line["time"] < until_]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The window that all tests share. Else the test is skipped."""
    reason = why_missing()
    if reason is not None:
        pytest.skip(reason)
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """The window, with nothing left of the test before."""
    chromium.open("about:blank")
    chromium.size(1360, 860)
    chromium.devtools("Network.enable")
    chromium.devtools("Network.clearBrowserCookies")
    chromium.devtools("Network.clearBrowserCache")
    chromium.complaints()
    return chromium


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An hour of a busy server, which was heard of last two minutes ago, and has two alerts behind it."""
    end_ms = int(time.time() * 1000) - 2 * traffic.MINUTE_MS
    site = Site(
        tmp_path_factory.mktemp("busy"),
        list(traffic.hour(end_ms)),
        end_ms,
        prices={"qwen3-32b": {"input": 0.4, "output": 1.2}, "llama-4-8b": {"input": 0.1, "output": 0.2}},
    )
    yield site.start()
    site.pipeline.kill()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which looks for what keeps people out. Else the test is skipped."""
    path = NODE_MODULES / "axe-core/axe.min.js"
    if not path.exists():
        pytest.skip("axe-core is missing: make page")
    return path.read_text("utf-8")
