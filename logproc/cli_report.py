"""The command `logproc report`: a range of time against the targets, or thresholds fitted to it."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from logproc.cli_common import Pipeline, fail, read_settings


def report(
    pipeline: Pipeline = None,
    last: Annotated[
        str | None, typer.Option(metavar="SPAN", help="The last 30m, 24h, 7d, …", show_default=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From this time (RFC 3339).", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Until this time.", show_default=False)
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this model.", show_default=False)
    ] = None,
    form: Annotated[
        Literal["table", "json", "markdown", "html"], typer.Option("--as", help="How it is written.")
    ] = "table",
    calibrating: Annotated[
        bool, typer.Option("--calibrate", help="Print the thresholds `slow_for_size` that fit what was seen.")
    ] = False,
) -> None:
    """Judge a range of time by `targets` and thresholds; exit code 1 when one is missed."""
    settings = read_settings(pipeline)
    from logproc.question import Asked
    from logproc.report.report import run_report
    from logproc.stores.archives import UnusableArchiveError, open_archive

    try:
        archive = open_archive(settings)
    except UnusableArchiveError as error:
        fail(str(error), 1)
    asked = Asked(last=last, since=since, to=until, model=model or ())
    code = run_report(
        settings, archive, asked, form=form, calibrating=calibrating, out=sys.stdout, err=sys.stderr
    )  # fmt: skip
    raise typer.Exit(code)
