"""`logproc report`: reads a range of time from the store, and writes the scorecard or the fitted thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal, TextIO

from logproc.clock import now_ms
from logproc.question import Asked, UsageError, question_of
from logproc.record import GENERATION
from logproc.report import forms
from logproc.report.calibration import as_settings, calibrate
from logproc.report.html import STEPS, as_html
from logproc.report.scorecard import scorecard
from logproc.report.seen import Seen, read
from logproc.settings import Settings
from logproc.stores.archive import Archive, Question, Span
from logproc.stores.servers import highest
from logproc.stores.store import StoreUnavailableError

Form = Literal["table", "json", "markdown", "html"]

MINUTE_MS: Final = 60_000


def run_report(
    settings: Settings,
    archive: Archive,
    asked: Asked,
    *,
    form: Form = "table",
    calibrating: bool = False,
    out: TextIO,
    err: TextIO,
    clock: Callable[[], int] = now_ms,
) -> int:
    """Write the report, and return the exit code: 0, 1 a target was missed or the store cannot be read, 2 usage.

    Without a range of time everything stored is taken; then there is no range before it.
    """
    try:
        now_ms = clock()
        question = question_of(asked, now_ms, options=True)
        extent = None if archive.missing else archive.extent()
        if extent is None:
            err.write(f"logproc: {archive.missing or 'nothing is stored yet'}\n")
            return 1
        given = question.since_ms is not None
        span = Span(
            extent[0] if question.since_ms is None else question.since_ms,
            question.until_ms or (now_ms if given else extent[1] + 1),
        )
        seen = _read(archive, question, span, err)
        if not len(seen):
            err.write("logproc: there is no request in this range of time\n")
            return 1
        if calibrating:
            out.write(as_settings(calibrate(seen)))
            return 0
        before = Span(2 * span.since_ms - span.until_ms, span.since_ms) if given else Span(0, 0)
        gpu_memory = _gpu_memory(archive, span)
        cards = scorecard(seen, _read(archive, question, before, err), gpu_memory, settings)
        if form == "table":
            forms.as_table(cards, span, out)
        elif form == "json":
            out.write(forms.as_json(cards, span) + "\n")
        elif form == "markdown":
            out.write(forms.as_markdown(cards, span))
        else:
            step_ms = max(1, round((span.until_ms - span.since_ms) / STEPS / MINUTE_MS)) * MINUTE_MS
            wide = replace(question, since_ms=span.since_ms // MINUTE_MS * MINUTE_MS, until_ms=span.until_ms)
            out.write(as_html(cards, span, archive.series(wide, step_ms), step_ms))
        return 1 if any(card.missed for card in cards) else 0
    except UsageError as error:
        err.write(f"logproc: {error}\n")
        return 2
    except StoreUnavailableError as error:
        err.write(f"logproc: {error}\n")
        return 1


def _read(archive: Archive, question: Question, span: Span, err: TextIO) -> Seen:
    def told(count: int) -> None:
        if err.isatty():
            err.write(f"\r{count:,} requests read ...")
            err.flush()

    found = archive.find(replace(question, since_ms=span.since_ms, until_ms=span.until_ms)) if any(span) else ()
    seen = read(found, GENERATION, told)
    if err.isatty():
        err.write("\r\x1b[K")
    return seen


def _gpu_memory(archive: Archive, span: Span) -> tuple[float | None, float | None]:
    """The largest share of a GPU's memory in use, and the largest number of bytes."""
    octets, ratio = highest(
        [(each.gpu_memory_peak_bytes, each.gpu_memory_peak_ratio) for each in archive.servers(*span)]
    )
    return ratio, octets
