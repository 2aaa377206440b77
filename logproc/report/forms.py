"""The scorecard as people and programs read it: a table, JSON, Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from logproc.harmless import harmless
from logproc.report.scorecard import Card, Figure, Unit
from logproc.stores.archive import Span
from logproc.stores.documents import time_text

MARKS = {True: "met", False: "MISSED", None: ""}


def shown(value: float | None, unit: Unit) -> str:
    """A value with its unit; `unknown` where there is none."""
    if value is None:
        return "unknown"
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
    if unit == "ratio":
        return f"{value:.2%}"
    if unit == "bytes":
        return f"{value / 1e9:.1f} GB"
    return f"{value:,.1f} {unit}" if value >= 10 else f"{value:.3g} {unit}"


def target(figure: Figure) -> str:
    """The target as a sentence would say it; empty where there is none."""
    if figure.target is None:
        return ""
    return f"{'at least' if figure.at_least else 'at most'} {shown(figure.target, figure.unit)}"


def trend(figure: Figure) -> str:
    """The change against the range before; empty where that is not known."""
    return "" if figure.trend is None else f"{figure.trend:+.0%}"


def heading(card: Card) -> str:
    """What the figures are of, in one line."""
    outcomes = ", ".join(
        f"{count:,} {name}" for name, count in sorted(card.outcomes.items(), key=lambda each: -each[1])
    )
    return f"{harmless(card.model)}: {card.requests:,} requests in {card.seconds:,.0f} s ({outcomes})"


def as_table(cards: Sequence[Card], span: Span, out: TextIO) -> None:
    """Print a table a card."""
    console = Console(file=out, highlight=False, emoji=False, width=None if out.isatty() else 120)
    console.print(f"{time_text(span.since_ms)} to {time_text(span.until_ms)}")
    for card in cards:
        console.print()
        console.print(Text(heading(card)))
        table = Table(box=None, pad_edge=False)
        for name in ("figure", "value", "target", "", "before"):
            table.add_column(name, justify="left" if name == "figure" else "right")
        for figure in card.figures:
            style = "bold red" if figure.met is False else ""
            row = (figure.title, shown(figure.value, figure.unit), target(figure), MARKS[figure.met], trend(figure))
            table.add_row(*(Text(cell) for cell in row), style=style)
        console.print(table)


def as_json(cards: Sequence[Card], span: Span) -> str:
    """One object: the range, the cards with their figures, and whether every target is met."""
    return json.dumps(
        {
            "from": time_text(span.since_ms),
            "to": time_text(span.until_ms),
            "met": not any(card.missed for card in cards),
            "cards": [
                {
                    "model": card.model,
                    "requests": card.requests,
                    "outcomes": dict(card.outcomes),
                    "seconds": round(card.seconds, 3),
                    "figures": {figure.name: _document(figure) for figure in card.figures},
                }
                for card in cards
            ],
        },
        indent=1,
    )


def _document(figure: Figure) -> dict[str, Any]:
    return {
        "value": figure.value,
        "unit": figure.unit,
        "before": figure.before,
        "target": figure.target,
        "at_least": figure.at_least if figure.target is not None else None,
        "met": figure.met,
    }


def as_markdown(cards: Sequence[Card], span: Span) -> str:
    """A table a card, as a pull request or a page of a wiki shows it."""
    lines = [f"# Scorecard, {time_text(span.since_ms)} to {time_text(span.until_ms)}", ""]
    for card in cards:
        lines += [
            f"## {_plain(heading(card))}",
            "",
            "| figure | value | target | | before |",
            "|---|---:|---:|---|---:|",
        ]
        lines += [
            f"| {figure.title} | {shown(figure.value, figure.unit)} | {target(figure)} | {MARKS[figure.met]} "
            f"| {trend(figure)} |"
            for figure in card.figures
        ]
        lines.append("")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """A model's name is not ours: what Markdown or HTML would read in it is escaped."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+!|<>&~" else letter for letter in text)
