"""What `logproc replay` shows a person: a progress bar, then a summary."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from logproc.harmless import harmless
from logproc.query_output import seconds


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
    """The summary as a table for people; a word on the error stream where nothing was an access line."""
    console = Console()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    lines, took_s = result["lines"], result["seconds"]
    speed = f", {sum(lines.values()) / took_s:,.0f} lines/s" if took_s else ""
    table.add_row("lines", f"{lines['ok']:,} ok, {lines['rejected']:,} rejected ({result['bytes']:,} bytes{speed})")
    if result["rejected"]:
        table.add_row("rejected", _counts(result["rejected"]))
    if "documents" in result:
        table.add_row("documents", _counts(result["documents"]))
    others = lines["ok"] - result["requests"]
    table.add_row(
        "requests",
        f"{result['requests']:,}"
        + (f", and {others:,} line{'s' if others > 1 else ''} of the server's own" if others else ""),
    )
    table.add_row("outcomes", _counts(result["outcomes"]))
    table.add_row("statuses", _counts(result["statuses"]))
    tokens = (f"{count:,} {name}" for name, count in result["tokens"].items() if count)
    table.add_row("tokens", ", ".join(tokens) or "none")
    table.add_row("flags", _counts(result["flags"]))
    for name, title in (("duration_ms", "duration"), ("ttft_ms", "first token")):
        found = {key: value for key, value in result[name].items() if value is not None}
        times = (
            f"{'max' if key == 'max' else key.upper()} {seconds(round(value * 1e6))}" for key, value in found.items()
        )
        table.add_row(title, "  ".join(times) or "unknown")
    console.print(table)
    _print_alerts(console, result["alerts"])
    if not lines["ok"]:
        what = f"none of {lines['rejected']:,} lines is an access line" if lines["rejected"] else "there is no line"
        sys.stderr.write(f"logproc: {what}: is this the log that `serve` writes?\n")


def _print_alerts(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """Every alert once, by its newest entry, in the order in which they began; not what never came to fire."""
    fired = {each["id"] for each in entries if each["state"] == "firing"}
    newest = {each["id"]: each for each in entries if each["id"] in fired}
    if not newest:
        console.print("[bold]alerts[/]     none")
        return
    console.print(f"[bold]alerts[/]     {len(newest)}")
    for each in sorted(newest.values(), key=lambda alert: str(alert["since"])):
        until = str(each.get("until", ""))
        text = escape(harmless(each["text"]["en"]))
        console.print(
            f"  {str(each['since'])[:19].replace('T', ' ')} to {until[11:19] or 'the end':8}  "
            f"[{_STYLES[each['severity']]}]{each['severity']}[/] {each['kind']}\n    {text}",
            highlight=False,
        )


_STYLES: Final = {"warning": "yellow", "critical": "red", "disaster": "bold red"}


def _counts(counts: dict[str, int]) -> str:
    told = (f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count)
    return "  ".join(told) or "none"
