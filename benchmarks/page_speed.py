"""How soon the page is there over a day with a million requests: each view three times, in a real Chromium.

python benchmarks/make_log.py 1000000 var/bench/million_full.jsonl --full
python -m benchmarks.page_speed var/bench/million_full.jsonl
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from tests.pipeline import Pipeline
from tests.web.page.browser import Browser, why_missing
from tests.web.page.speed import READY, visit

VISITS = 3


def span_of(log: Path) -> str:
    """The day that ends with the last request of a log, as parameters of the page."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        last = json.loads(file.read().splitlines()[-1])["time"]
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_seconds(last) + 1))
    return f"from={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(_seconds(last) - 86_400))}&to={end}"


def _seconds(text: str) -> float:
    return time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone


def read_all(pipeline: Pipeline, seconds: float = 1800) -> None:
    """Wait until everything can be found."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            consumers = json.loads(pipeline.get("/readyz")[1])["consumers"]
            if all(each["lag_bytes"] == 0 for each in consumers.values()) and len(consumers) == 3:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise TimeoutError("logproc has not read its log")


def main() -> None:
    """Print a table of ms: the least of the visits, and all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    log = parser.parse_args().log.resolve()
    if (reason := why_missing()) is not None:
        parser.error(reason)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        pipeline = Pipeline(Path(folder), [str(log)])
        pipeline.start()
        browser = Browser(Path(folder) / "chromium")
        try:
            read_all(pipeline)
            print(f"{'view':9} {'first paint':>16} {'with data':>22} {'slowest answer':>22}  which")
            for view in READY:
                visits = [
                    visit(browser, f"http://127.0.0.1:{pipeline.port}", view, span_of(log)) for _ in range(VISITS)
                ]
                columns = [
                    [getattr(each, name) for each in visits] for name in ("first_paint_ms", "data_ms", "slowest_ms")
                ]
                told = [f"{min(column):.0f} ({' '.join(f'{each:.0f}' for each in column)})" for column in columns]
                question = min(visits, key=lambda each: each.slowest_ms).question.partition("?")[0]
                print(f"{view:9} {told[0]:>16} {told[1]:>22} {told[2]:>22}  {question}")
        finally:
            browser.close()
            pipeline.kill()


if __name__ == "__main__":
    main()
