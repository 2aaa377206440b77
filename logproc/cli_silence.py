"""`logproc silence KIND --for 2h`: the command."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from logproc.cli_common import PipelineOption, fail, read_settings


def silence(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The kind of alert: latency_p99, errors, …")],
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long: 30m, 2h, 1d, …")],
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only of this model; else of all.", show_default=False)
    ] = None,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Why, for others.", show_default=False)] = "",
    pipeline: PipelineOption = None,
) -> None:
    """Mute one kind of alert for a while: it is found and recorded as before, but nobody is told."""
    settings = read_settings(pipeline)
    from logproc.alerts.alert import KINDS
    from logproc.question import UsageError, check_one_of, span_ms
    from logproc.silence import SilenceError
    from logproc.silence import silence as begin

    try:
        check_one_of(kind, KINDS, "KIND")
        span_ms(span, "--for")
    except UsageError as error:
        fail(str(error), 2)
    try:
        made = begin(settings.http, kind, span, model, _who(), comment)
    except SilenceError as error:
        fail(str(error), 1)
    of = f" of {model}" if model else ""
    typer.echo(f"{kind}{of}: silent until {made['until']} (silence {made['id']})")


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""
