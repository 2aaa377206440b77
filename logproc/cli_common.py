"""What the commands of every module of the command line share: the argument PIPELINE.yaml, and how to fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from logproc.settings import Settings

Pipeline = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PIPELINE.yaml]",
        help="Settings; else $LOGPROC_PIPELINE, else the only file in ./pipelines.",
        show_default=False,
    ),
]


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong, each line in red, and end with this exit code."""
    for line in message.splitlines():
        typer.secho(f"logproc: {line}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


def read_settings(pipeline: Path | None) -> Settings:
    """The settings of a pipeline; ends with exit code 2 when they cannot be read."""
    from logproc.settings_file import SettingsError, find, load

    try:
        return load(find(pipeline))
    except SettingsError as error:
        fail(str(error), 2)
