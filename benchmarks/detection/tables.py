"""The tables that the benchmark prints, and puts into the page that publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.detection.benchmark import OURS, PLAIN, Results
from benchmarks.detection.incidents import SORTS, STRENGTHS
from benchmarks.detection.scoring import Score, Verdict
from logproc.alerts.guard import wilson_lower

BEGIN: Final = "<!-- tables: written by python -m benchmarks.detection --page -->"
END: Final = "<!-- end of tables -->"


@dataclass(frozen=True)
class Sheet:
    """One table as text; the first `names` columns are names, the others numbers."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    names: int = 1


def sheets(results: Results) -> list[Sheet]:
    """What was wanted and what came out; all detectors side by side; then ours by sort of incident and by traffic."""
    ours = Score([Verdict(**each) for each in results["incidents"]])
    return [_targets(ours, results["detectors"][OURS]), _detectors(results["detectors"]), _sorts(ours), _traffic(ours)]


def print_tables(found: Sequence[Sheet]) -> None:
    """Print them on the terminal."""
    console = Console(width=132, highlight=False)
    for sheet in found:
        table = Table(title=sheet.title, title_justify="left", box=None)
        for place, title in enumerate(sheet.head):
            table.add_column(title, justify="left" if place < sheet.names else "right")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table, "")


def markdown(found: Sequence[Sheet]) -> str:
    """The same for a page."""
    parts = []
    for sheet in found:
        rule = ("---" if place < sheet.names else "---:" for place in range(len(sheet.head)))
        lines = [sheet.head, tuple(rule), *sheet.rows]
        parts += [f"**{sheet.title}**", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join(parts)


def with_tables(page: str, found: Sequence[Sheet]) -> str:
    """The text of a page with these tables in place of those that stand between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the page lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{markdown(found)}\n\n{END}{after}"


def _targets(ours: Score, told: dict[str, Any]) -> Sheet:
    detected = [each for each in ours.verdicts if each.delay_s is not None]
    shares = [
        ("strong incidents that are found", 0.95, ours.found("strong")),
        ("medium incidents that are found", 0.8, ours.found("medium")),
        ("right cause, of what is found", 0.9, (sum(bool(each.is_right) for each in detected), len(detected))),
    ]
    rows: list[tuple[str, ...]] = []
    for what, wanted, (good, every) in shares:
        low, high = wilson_lower(good, every, 1.96), 1 - wilson_lower(every - good, every, 1.96)
        share = good / every if every else 0.0
        interval = f"{low:.2f} – {high:.2f}"
        rows.append((what, f"≥ {wanted:.2f}", number(share), interval, "yes" if share >= wanted else "no"))
    most = (
        ("median seconds to detect", 60, told["seconds_to_detect"]["median"], 0),
        ("false alerts in a quiet week", 1, told["false_alerts_a_week"]["quiet"], 2),
    )
    for what, limit, found, digits in most:
        reached = found is not None and found <= limit
        rows.append((what, f"≤ {limit}", number(found, digits), "", "yes" if reached else "no"))
    return Sheet("At default settings", ("what", "wanted", "found", "95 % interval", "reached"), rows)


def _detectors(detectors: dict[str, Any]) -> Sheet:
    head = ("detector", *(f"recall, {each}" for each in STRENGTHS), "precision", "s to detect", "right cause",
            "false a week, quiet", "false a week, else", "alerts an incident", "in alarm, quiet")  # fmt: skip
    rows = []
    for name, told in detectors.items():
        false = told["false_alerts_a_week"]
        row = (
            name,
            *(number(told["recall"][each]) for each in STRENGTHS),
            number(told["precision"]),
            number(told["seconds_to_detect"]["median"], 0),
            number(told["right_cause"]) if name in {OURS, PLAIN} else "–",
            number(false["quiet"], 1),
            number(false["with_incidents"], 1),
            number(told["alerts_per_found_incident"], 1),
            number(told["share_of_quiet_time_in_alarm"], 4),
        )
        rows.append(row)
    return Sheet("All detectors", head, rows)


def _sorts(score: Score) -> Sheet:
    rows = [
        (sort.title, *(f"{value:g}" for value in sort.values), *_found(score, sort.name), *_told(score, sort.name))
        for sort in SORTS
    ]
    rows.append(("all", "", "", "", *_found(score, None), *_told(score, None)))
    head = ("what goes wrong", *STRENGTHS, *(f"found, {each}" for each in STRENGTHS), "s to detect", "right cause")
    return Sheet("logproc, by incident: how strong, and how many of those played were found", head, rows)


def _traffic(score: Score) -> Sheet:
    rows = []
    for level, is_large in sorted({(each.level, each.is_large) for each in score.verdicts}):
        part = Score([each for each in score.verdicts if (each.level, each.is_large) == (level, is_large)])
        rows.append(("large" if is_large else "small", f"{level:g}", *_found(part, None), *_told(part, None)))
    head = ("models", "requests/s", *(f"found, {each}" for each in STRENGTHS), "s to detect", "right cause")
    return Sheet("logproc, by traffic", head, rows)


def _found(score: Score, sort: str | None) -> list[str]:
    return ["{}/{}".format(*score.found(strength, sort)) for strength in STRENGTHS]


def _told(score: Score, sort: str | None) -> list[str]:
    """Median seconds to detect, and how often the cause was right."""
    chosen = [each for each in score.chosen(sort=sort) if each.delay_s is not None]
    delays = sorted(each.delay_s for each in chosen if each.delay_s is not None)
    median = delays[len(delays) // 2] if delays else None
    return [number(median, 0), f"{sum(bool(each.is_right) for each in chosen)}/{len(chosen)}"]


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
