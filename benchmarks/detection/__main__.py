"""How good the alerts are: simulated weeks with known incidents, and quiet ones, played to our detectors and to others.

python -m benchmarks.detection                # the published half of the seeds; writes into var/detection/
python -m benchmarks.detection --page         # and docs/detection.md gets the tables and the picture
python -m benchmarks.detection --tuning       # the other half, on which the detectors were tuned
python -m benchmarks.detection --seeds 1 3    # these
python -m benchmarks.detection --quick        # two weeks of little traffic
python -m benchmarks.detection --show var/detection/results.json --page    # what was found before
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.detection.benchmark import Results, results, run, together
from benchmarks.detection.picture import picture
from benchmarks.detection.tables import print_tables, sheets, with_tables
from benchmarks.detection.week import Week

TUNING: Final = tuple(range(0, 16, 2))
PUBLISHED: Final = tuple(range(1, 16, 2))
DOCS: Final = Path(__file__).parents[2] / "docs"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=PUBLISHED)
    parser.add_argument("--tuning", action="store_const", const=TUNING, dest="seeds", help="The even seeds.")
    parser.add_argument("--quick", action="store_true", help="Only the first of the seeds.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("var/detection"), help="Where the results are written.")
    parser.add_argument("--show", type=Path, dest="shown", help="Play nothing: show these results.json.")
    parser.add_argument("--page", action="store_true", help="Put tables and picture into docs/detection.md.")
    given = parser.parse_args()
    found = json.loads(given.shown.read_text()) if given.shown else _played(given)
    tables = sheets(found)
    print_tables(tables)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.out / "detection.svg").write_text(picture(found))
    if given.page:
        page = DOCS / "detection.md"
        page.write_text(with_tables(page.read_text(), tables))
        (DOCS / "detection.svg").write_text(picture(found))


def _played(given: argparse.Namespace) -> Results:
    seeds = given.seeds[:1] if given.quick else given.seeds
    weeks = [Week(seed, with_incidents) for seed in seeds for with_incidents in (True, False)]
    found = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("weeks", total=sum(week.work for week in weeks))
        for week, scores in run(weeks, given.processes):
            found.append(scores)
            bar.advance(task, week.work)
    return results(weeks, together(found))


if __name__ == "__main__":
    main()
