"""What `logproc replay` shows a person: a progress bar, then a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table


@contextmanager
def progress(doing: str, files: Sequence[Path], *, hidden: bool) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal's error stream, over the bytes of all files; packed files have no known end."""
    packed = any(path.suffix in {".gz", ".zst"} or not path.is_file() for path in files)
    total = None if packed else sum(path.stat().st_size for path in files)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=hidden, transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda count: bar.advance(task, count)


def print_summary(result: dict[str, Any]) -> None:
    """The summary as a table for people."""
    console = Console()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    lines, seconds = result["lines"], result["seconds"]
    speed = f", {sum(lines.values()) / seconds:,.0f} lines/s" if seconds else ""
    table.add_row("lines", f"{lines['ok']:,} ok, {lines['rejected']:,} rejected ({result['bytes']:,} bytes{speed})")
    if result["rejected"]:
        table.add_row("rejected", _counts(result["rejected"]))
    if "documents" in result:
        table.add_row("documents", _counts(result["documents"]) or "none")
    table.add_row("requests", f"{result['requests']:,}")
    table.add_row("outcomes", _counts(result["outcomes"]))
    table.add_row("statuses", _counts(result["statuses"]))
    table.add_row("tokens", _counts(result["tokens"]))
    table.add_row("flags", _counts(result["flags"]) or "none")
    for name, title in (("duration_ms", "duration"), ("ttft_ms", "time to first token")):
        found = {key: value for key, value in result[name].items() if value is not None}
        table.add_row(
            title,
            "  ".join(f"{key.upper() if key != 'max' else key} {value:,.0f} ms" for key, value in found.items())
            or "unknown",
        )
    console.print(table)


def _counts(counts: dict[str, int]) -> str:
    return "  ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count)
