"""The command: `python -m tests.torture.notify --rounds 1000 --seed 1`; exit status 1 when anything differs."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.torture.notify.torture import Torture

MOST_SHOWN = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--folder", type=Path, help="an empty folder; it is kept")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="logproc-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    console.print(f"seed {given.seed}, in {folder}")
    with Progress(console=console) as progress:
        task = progress.add_task("kills", total=given.rounds)
        verdict = Torture(folder, given.seed).run(given.rounds, lambda: progress.advance(task))
    for difference in verdict.differences[:MOST_SHOWN]:
        console.print(f"[red]{difference}", markup=True)
    console.print(verdict.line)
    if not verdict.differences and given.folder is None:
        shutil.rmtree(folder)
    return 1 if verdict.differences else 0


if __name__ == "__main__":
    sys.exit(main())
