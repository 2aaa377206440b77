"""The scorecard as one self-contained HTML file: tables, and plots as inline SVG; no script, nothing to load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from logproc.report.forms import MARKS, heading, shown, target, trend
from logproc.report.scorecard import Card, Unit
from logproc.stores.archive import Series, Span, Step
from logproc.stores.documents import time_text

WIDTH: Final = 720
HEIGHT: Final = 180
_LEFT: Final = 60
_BOTTOM: Final = 24
_TOP: Final = 8
STEPS: Final = 60
"""About so many steps of time are drawn."""

Curve = tuple[str, Callable[[Step], float | None]]

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --bad: #c22; --a: #2266cc; --b: #b8860b; --c: #b03060; }
@media (prefers-color-scheme: dark) { :root { --bad: #f77; --a: #7ab0ff; --b: #e8c060; --c: #ff90b0; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; overflow-wrap: anywhere; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .5rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.missed { color: var(--bad); font-weight: 600; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg .grid { stroke: var(--line); } svg polyline { fill: none; stroke-width: 1.6; }
svg .bound { stroke: var(--bad); stroke-dasharray: 5 4; }
.c0 { stroke: var(--a); } .c1 { stroke: var(--b); stroke-dasharray: 6 3; }
.c2 { stroke: var(--c); stroke-dasharray: 2 3; }
figure { margin: 0 0 2rem; }
"""


def as_html(cards: Sequence[Card], span: Span, series: Series, step_ms: int) -> str:
    """The whole file as text."""
    missed = [figure.title for card in cards for figure in card.missed]
    verdict = f"Missed: {', '.join(dict.fromkeys(missed))}." if missed else "Every target is met."
    title = f"Scorecard, {time_text(span.since_ms)} to {time_text(span.until_ms)}"
    bounds = {figure.name: figure.target for figure in cards[0].figures}
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>",
        f'<p class="{"missed" if missed else ""}">{escape(verdict)}</p>',
        *(_table(card) for card in cards),
        *(_plot(*plot, series.steps, span, step_ms) for plot in _plots(step_ms, bounds)),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _table(card: Card) -> str:
    rows = [
        f'<tr class="{"missed" if figure.met is False else ""}"><td>{escape(figure.title)}</td>'
        f"<td>{shown(figure.value, figure.unit)}</td><td>{target(figure)}</td><td>{MARKS[figure.met]}</td>"
        f"<td>{trend(figure)}</td></tr>"
        for figure in card.figures
    ]
    head = "".join(f'<th scope="col">{name}</th>' for name in ("figure", "value", "target", "", "before"))
    return f"<table><caption>{escape(heading(card))}</caption><tr>{head}</tr>{''.join(rows)}</table>"


def _plots(step_ms: int, bounds: dict[str, float | None]) -> list[tuple[str, Unit, tuple[Curve, ...], float | None]]:
    step_s = step_ms / 1000
    bad = {"server_error", "stream_error", "rejected"}

    def percentile(of: str, place: int) -> Callable[[Step], float | None]:
        def value(step: Step) -> float | None:
            found = getattr(step, of)
            return None if found is None else found[place] / 1000

        return value

    return [
        ("Requests a second", "1/s", (("requests", lambda step: step.requests / step_s),
            ("of them errors", lambda step: sum(n for name, n in step.outcomes.items() if name in bad) / step_s)),
            None),
        ("Duration", "s", tuple((name, percentile("duration_ms", place)) for place, name in enumerate(_PERCENTILES)),
            bounds.get("duration_p99_s")),
        ("Time to first token", "s",
            tuple((name, percentile("ttft_ms", place)) for place, name in enumerate(_PERCENTILES)),
            bounds.get("ttft_p95_s")),
        ("Tokens a second", "tokens/s", (("completion", lambda step: step.completion_tokens / step_s),
            ("prompt", lambda step: step.prompt_tokens / step_s)), None),
    ]  # fmt: skip


_PERCENTILES: Final = ("P50", "P95", "P99")


def _plot(
    title: str,
    unit: Unit,
    curves: Sequence[Curve],
    bound: float | None,
    steps: Sequence[Step],
    span: Span,
    step_ms: int,
) -> str:
    values = [[value(step) for step in steps] for _, value in curves]
    known = [value for line in values for value in line if value is not None]
    most = max([*known, *([bound] if bound is not None and known and bound < 3 * max(known) else [])], default=0.0) or 1
    wide, high = WIDTH - _LEFT - 8, HEIGHT - _TOP - _BOTTOM

    def x(time_ms: float) -> float:
        return _LEFT + wide * (time_ms - span.since_ms) / max(1, span.until_ms - span.since_ms)

    def y(value: float) -> float:
        return _TOP + high * (1 - value / most)

    drawn = []
    right = WIDTH - 8
    for value in (0.0, most / 2, most):
        drawn.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        drawn.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{shown(value, unit)}</text>')
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        when = span.since_ms + share * (span.until_ms - span.since_ms)
        text = f"{datetime.fromtimestamp(when / 1000, UTC):%m-%d %H:%M}"
        drawn.append(f'<text x="{x(when):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{text}</text>')
    if bound is not None and bound <= most:
        drawn.append(f'<line class="bound" x1="{_LEFT}" x2="{right}" y1="{y(bound):.1f}" y2="{y(bound):.1f}"/>')
    for number, line in enumerate(values):
        drawn += [f'<polyline class="c{number}" points="{points}"/>' for points in _lines(steps, line, x, y, step_ms)]
    styles = ("solid", "dashed", "dotted")
    legend = "; ".join(f"{name} {style}" for (name, _), style in zip(curves, styles, strict=False))
    note = "; the target is red" if bound is not None else ""
    return (
        f"<figure><figcaption>{title} <small>({legend}{note})</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}: {legend}">{"".join(drawn)}</svg></figure>'
    )


def _lines(
    steps: Sequence[Step], values: Sequence[float | None], x: Callable[[float], float], y: Callable[[float], float],
    step_ms: int,
) -> list[str]:  # fmt: skip
    """The points of each unbroken piece: where nothing is known there is no line."""
    pieces: list[list[str]] = []
    last_ms = None
    for step, value in zip(steps, values, strict=True):
        if value is None:
            last_ms = None
            continue
        if last_ms is None or step.time_ms - last_ms > step_ms:
            pieces.append([])
        middle = step.time_ms + step_ms / 2
        pieces[-1].append(f"{x(middle):.1f},{y(value):.1f}")
        last_ms = step.time_ms
    return [" ".join(piece if len(piece) > 1 else piece * 2) for piece in pieces]
