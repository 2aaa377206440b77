"""How good the alerts are: simulated weeks with known incidents, and quiet ones, played to our detectors and to others.

python -m benchmarks.detection                # the published half of the seeds; writes into var/detection/
python -m benchmarks.detection --page         # and docs/detection.md gets the tables and the picture
python -m benchmarks.detection --tuning       # the other half, on which the detectors were tuned
python -m benchmarks.detection --seeds 1 3    # these
python -m benchmarks.detection --quick        # two weeks of little traffic
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.detection.benchmark import OURS, run, together
from benchmarks.detection.picture import picture
from benchmarks.detection.scoring import as_json
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
    parser.add_argument("--page", action="store_true", help="Put tables and picture into docs/detection.md.")
    given = parser.parse_args()
    seeds = given.seeds[:1] if given.quick else given.seeds
    weeks = [Week(seed, with_incidents) for seed in seeds for with_incidents in (True, False)]
    found, begin = [], time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("weeks", total=sum(week.work for week in weeks))
        for week, scores in run(weeks, given.processes):
            found.append(scores)
            bar.advance(task, week.work)
    scores = together(found)
    tables = sheets(scores)
    print_tables(tables)
    told = {
        "seeds": list(seeds),
        "wall_s": round(time.monotonic() - begin),
        "detectors": {name: as_json(score) for name, score in scores.items()},
        "incidents": [asdict(each) for each in scores[OURS].verdicts],
        "false": scores[OURS].false,
        "false_quiet": scores[OURS].false_quiet,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "results.json").write_text(json.dumps(told, indent=1) + "\n")
    (given.out / "detection.svg").write_text(picture(scores))
    if given.page:
        page = DOCS / "detection.md"
        page.write_text(with_tables(page.read_text(), tables))
        (DOCS / "detection.svg").write_text(picture(scores))


if __name__ == "__main__":
    main()
