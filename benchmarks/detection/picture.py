"""A picture of the first table: what each detector finds, and how often it cries wolf."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final
from xml.sax.saxutils import escape

from benchmarks.detection.benchmark import Results
from benchmarks.detection.incidents import STRENGTHS

LEFT: Final = 190
BAR: Final = 12
GROUP: Final = 56
RECALL_WIDTH: Final = 300
FALSE_AT: Final = LEFT + RECALL_WIDTH + 80
FALSE_WIDTH: Final = 260
MOST_FALSE: Final = 10_000
TOP: Final = 46
COLORS: Final = ("#1f4e79", "#4f86b8", "#a9c6e0")
FALSE_COLOR: Final = "#b3452c"


def picture(results: Results) -> str:
    """The picture as SVG."""
    detectors = results["detectors"]
    height = TOP + GROUP * len(detectors) + 34
    parts = list(_axes(height))
    for row, (name, told) in enumerate(detectors.items()):
        parts += _row(name, told, row)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {FALSE_AT + FALSE_WIDTH + 60} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">\n<title>Recall and false alerts of each '
        'detector</title>\n<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _axes(height: int) -> Iterator[str]:
    bottom = height - 30
    yield _text(LEFT, 18, "recall: share of the incidents that were found", weight=600)
    yield _text(FALSE_AT, 18, "false alerts a week, weeks with incidents", weight=600)
    for place, strength in enumerate(STRENGTHS):
        yield _bar(LEFT + place * 80, 26, 10, COLORS[place], 10)
        yield _text(LEFT + place * 80 + 15, 35, strength)
    for tenth in range(0, 11, 2):
        x = LEFT + RECALL_WIDTH * tenth / 10
        yield f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{TOP}" y2="{bottom}" stroke="#ddd"/>'
        yield _text(x, bottom + 16, f"{tenth / 10:.1f}", anchor="middle")
    for ten in range(-1, 5):
        x = FALSE_AT + _false_width(10.0**ten)
        yield f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{TOP}" y2="{bottom}" stroke="#ddd"/>'
        yield _text(x, bottom + 16, f"{10.0**ten:g}" if ten >= 0 else "0", anchor="middle")


def _row(name: str, told: dict[str, Any], row: int) -> Iterator[str]:
    y = TOP + row * GROUP
    yield _text(LEFT - 10, y + 32, name, anchor="end", weight=600 if row == 0 else 400)
    for place, strength in enumerate(STRENGTHS):
        share = told["recall"][strength] or 0.0
        top = y + 8 + place * (BAR + 1)
        yield _bar(LEFT, top, RECALL_WIDTH * share, COLORS[place], BAR)
        yield _text(LEFT + RECALL_WIDTH * share + 4, top + 10, f"{share:.2f}")
    false = told["false_alerts_a_week"]["with_incidents"] or 0.0
    yield _bar(FALSE_AT, y + 21, _false_width(false), FALSE_COLOR, BAR)
    yield _text(FALSE_AT + _false_width(false) + 4, y + 31, f"{false:.1f}")


def _false_width(false: float) -> float:
    """On a scale of powers of ten, which begins at a tenth."""
    return FALSE_WIDTH * math.log10(max(false, 0.1) * 10) / math.log10(MOST_FALSE * 10)


def _bar(x: float, y: float, width: float, color: str, height: int) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{color}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="#222">{escape(text)}</text>'
    )
