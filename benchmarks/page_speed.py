"""How soon the page is there over a day with a million requests: each view three times, in a real Chromium.

    python -m benchmarks.page_speed

The log ends now, and logproc was given the time to read it and to count it ahead, as after a start in the morning.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.make_log import lines
from benchmarks.measuring import cpu_seconds
from tests.pipeline import Pipeline, until
from tests.web.page.browser import Browser, why_missing
from tests.web.page.speed import READY, visit

VISITS = 3
APART_MS = 20
"""Between two lines of `make_log`, on average."""
IDLE = 0.1
"""A process that needs less of a core has nothing more to do."""
WHILE_S = 2.0
LONGEST_S = 1800.0


@contextmanager
def a_day(folder: Path, requests: int) -> Iterator[tuple[str, str]]:
    """A logproc that has read so many requests, the newest of now: its URL, and the day as parameters of the page."""
    log = folder / "access.jsonl"
    with log.open("wb") as file:
        file.writelines(lines(requests, full=True, start_ms=int(time.time() * 1000) - APART_MS * requests - 60_000))
    pipeline = Pipeline(folder, [str(log)])
    pipeline.start()
    try:
        until(lambda: _is_idle(pipeline) and _has_read_all(pipeline), "the log to be read and counted", LONGEST_S)
        now = time.time()
        first, last = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each)) for each in (now - 86_400, now))
        yield f"http://127.0.0.1:{pipeline.port}", f"from={first}&to={last}"
    finally:
        pipeline.kill()
        for path in (log, *(each for each in pipeline.state.rglob("*") if each.is_file())):
            path.unlink(missing_ok=True)  # a gigabyte that nobody looks at again


def _is_idle(pipeline: Pipeline) -> bool:
    """Whether it hardly needs a core for a while."""
    assert pipeline.process is not None
    used, began = cpu_seconds(pipeline.process.pid), time.monotonic()
    time.sleep(WHILE_S)
    return cpu_seconds(pipeline.process.pid) - used < IDLE * (time.monotonic() - began)


def _has_read_all(pipeline: Pipeline) -> bool:
    try:
        consumers = json.loads(pipeline.get("/readyz")[1])["consumers"]
    except OSError:
        return False
    return len(consumers) == 3 and all(each["lag_bytes"] == 0 for each in consumers.values())


def main() -> None:
    """Print a table of ms: the least of the visits, and all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    given = parser.parse_args()
    if (reason := why_missing()) is not None:
        parser.error(reason)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(Path(folder) / "chromium")
        try:
            with a_day(Path(folder), given.requests) as (url, day):
                print(f"{'view':9} {'first paint':>16} {'with data':>22} {'slowest answer':>22}  which")
                for view in READY:
                    visits = [visit(browser, url, view, day) for _ in range(VISITS)]
                    columns = [
                        [getattr(each, name) for each in visits] for name in ("first_paint_ms", "data_ms", "slowest_ms")
                    ]
                    told = [f"{min(column):.0f} ({' '.join(f'{each:.0f}' for each in column)})" for column in columns]
                    question = min(visits, key=lambda each: each.slowest_ms).question.partition("?")[0]
                    print(f"{view:9} {told[0]:>16} {told[1]:>22} {told[2]:>22}  {question}")
        finally:
            browser.close()


if __name__ == "__main__":
    main()
