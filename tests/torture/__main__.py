"""The command: `python -m tests.torture --kills 1000 --seed 1`; exit status 1 when anything differs."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.torture.torture import Torture

MOST_SHOWN = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--rate", type=float, default=2000, help="lines a second, on average")
    parser.add_argument("--check-every", type=int, default=50, help="compare the counters after so many kills")
    parser.add_argument("--folder", type=Path, help="an empty folder; it is kept")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="logproc-torture-"))
    console = Console(highlight=False)
    console.print(f"seed {given.seed}, in {folder}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("kills", total=given.kills)
        torture = Torture(folder, seed=given.seed, rate=given.rate, check_every=given.check_every)
        verdict = torture.run(given.kills, lambda said: progress.update(task, advance=said == "kill", description=said))
    for difference in verdict.differences[:MOST_SHOWN]:
        console.print(f"[red]{difference}")
    console.print(verdict.line)
    if not verdict.differences and given.folder is None:
        shutil.rmtree(folder)
    return 1 if verdict.differences else 0


if __name__ == "__main__":
    sys.exit(main())
