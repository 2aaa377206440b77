"""The tables that the benchmark prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.detection.benchmark import OURS, Scores
from benchmarks.detection.incidents import SORTS, STRENGTHS
from benchmarks.detection.scoring import Score, as_json


def print_tables(scores: Scores) -> None:
    """All detectors side by side; then ours by sort of incident and by traffic."""
    console = Console(width=120, highlight=False)
    console.print(_detectors(scores))
    console.print(_sorts(scores[OURS]))
    console.print(_levels(scores[OURS]))


def _detectors(scores: Scores) -> Table:
    table = Table(title="Detectors", title_justify="left", box=None)
    for title in ("detector", *(f"recall {each}" for each in STRENGTHS), "precision", "median s", "right cause",
                  "false a week: quiet", "else", "alerts an incident", "alarm time"):  # fmt: skip
        table.add_column(title, justify="left" if title == "detector" else "right")
    for name, score in scores.items():
        told: dict[str, Any] = as_json(score)
        false = told["false_alerts_a_week"]
        table.add_row(
            name,
            *(number(told["recall"][each]) for each in STRENGTHS),
            number(told["precision"]),
            number(told["seconds_to_detect"]["median"], 0),
            number(told["right_cause"]) if name == OURS else "–",
            number(false["quiet"], 1),
            number(false["with_incidents"], 1),
            number(told["alerts_per_found_incident"], 1),
            number(told["share_of_quiet_time_in_alarm"], 4),
        )
    return table


def _sorts(score: Score) -> Table:
    table = Table(title="\nOurs, by incident: found / played", title_justify="left", box=None)
    for title in ("incident", *STRENGTHS, "median s", "right cause"):
        table.add_column(title, justify="left" if title == "incident" else "right")
    for sort in SORTS:
        table.add_row(sort.name, *_row(score, sort.name))
    table.add_row("all", *_row(score, None))
    return table


def _row(score: Score, sort: str | None) -> list[str]:
    chosen = [each for each in score.chosen(sort=sort) if each.delay_s is not None]
    delays = sorted(each.delay_s for each in chosen if each.delay_s is not None)
    counts = ["{}/{}".format(*score.found(strength, sort)) for strength in STRENGTHS]
    median = delays[len(delays) // 2] if delays else None
    return [*counts, number(median, 0), f"{sum(bool(each.is_right) for each in chosen)}/{len(chosen)}"]


def _levels(score: Score) -> Table:
    table = Table(title="\nOurs, by traffic: found / played", title_justify="left", box=None)
    for title in ("requests/s", "model", *STRENGTHS, "median s", "right cause"):
        table.add_column(title, justify="right" if title != "model" else "left")
    for level, is_large in sorted({(each.level, each.is_large) for each in score.verdicts}):
        part = Score([each for each in score.verdicts if (each.level, each.is_large) == (level, is_large)])
        table.add_row(f"{level:g}", "large" if is_large else "small", *_row(part, None))
    return table


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
