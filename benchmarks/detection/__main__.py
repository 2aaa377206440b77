"""How good the alerts are: simulated weeks with known incidents, and quiet ones, played to our detectors and to others.

python -m benchmarks.detection                # the published half of the seeds; writes detection.json
python -m benchmarks.detection --tuning       # the other half, on which the detectors were tuned
python -m benchmarks.detection --seeds 1 3    # these
python -m benchmarks.detection --quick        # one week of little traffic
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress

from benchmarks.detection.benchmark import run, together
from benchmarks.detection.scoring import as_json
from benchmarks.detection.tables import print_tables
from benchmarks.detection.week import Week

TUNING: Final = tuple(range(0, 16, 2))
PUBLISHED: Final = tuple(range(1, 16, 2))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=PUBLISHED)
    parser.add_argument("--tuning", action="store_const", const=TUNING, dest="seeds", help="The even seeds.")
    parser.add_argument("--quick", action="store_true", help="Only the first of the seeds.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path("detection.json"), help="Where the numbers are written.")
    given = parser.parse_args()
    seeds = given.seeds[:1] if given.quick else given.seeds
    weeks = [Week(seed, with_incidents) for seed in seeds for with_incidents in (True, False)]
    found = []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("weeks", total=len(weeks))
        for _, scores in run(weeks, given.processes):
            found.append(scores)
            bar.advance(task)
    scores = together(found)
    print_tables(scores)
    told = {"seeds": list(seeds), "detectors": {name: as_json(score) for name, score in scores.items()}}
    given.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
