"""What the commands of every module of the command line share: the argument PIPELINE.yaml, and how to fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from logproc.settings import Settings

Pipeline = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PIPELINE.yaml]",
        help="Settings, also as --pipeline; else $LOGPROC_PIPELINE, else the only file in ./pipelines.",
        show_default=False,
    ),
]

PipelineOption = Annotated[
    Path | None,
    typer.Option(
        "--pipeline",
        metavar="PIPELINE.yaml",
        help="Settings; else $LOGPROC_PIPELINE, else the only file in ./pipelines.",
        show_default=False,
    ),
]


class SettingsByArgument(TyperCommand):
    """A command whose last argument is PIPELINE.yaml: it takes `--pipeline` too, as the other commands do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Make `--pipeline X` the last argument."""
        rest: list[str] = []
        last: list[str] = []
        words = iter(args)
        for word in words:
            if word == "--pipeline":
                last = [next(words, "") or ctx.fail("--pipeline needs a settings file")]
            elif word.startswith("--pipeline="):
                last = [word.partition("=")[2]]
            else:
                rest.append(word)
        return super().parse_args(ctx, [*rest, *last])


class SettingsByOption(TyperCommand):
    """A command that takes its settings with `--pipeline` alone, and says so where they stand as an argument."""

    allow_extra_args = True

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse the arguments that are left over."""
        extra = super().parse_args(ctx, args)
        if extra:
            hint = ": settings are given with --pipeline here" if extra[0].endswith((".yaml", ".yml")) else ""
            ctx.fail(f"Got unexpected extra argument ({' '.join(extra)}){hint}")
        return extra


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
