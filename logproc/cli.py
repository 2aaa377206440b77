"""The command line: thin; every command calls one function of another module."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer

from logproc import __version__

app = typer.Typer(
    name="logproc",
    help="Turns the access logs of LLM inference servers into metrics, searchable documents and alerts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Pipeline = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PIPELINE.yaml]",
        help="Settings; else $LOGPROC_PIPELINE, else the only file in ./pipelines.",
        show_default=False,
    ),
]


def main() -> None:
    """The entry point `logproc`."""
    app()


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        typer.secho(f"logproc: {line}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"logproc {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=True)
            if sys.stderr.isatty()
            else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _settings(pipeline: Path | None) -> Any:
    from logproc.settings_file import SettingsError, find, load

    try:
        return load(find(pipeline))
    except SettingsError as error:
        _fail(str(error), 2)


@app.command()
def run(
    pipeline: Pipeline = None,
    only: Annotated[
        str | None, typer.Option(help="Run only these consumers: measure, index (comma-separated).", show_default=False)
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Everything that is there now, then exit.")] = False,
) -> None:
    """Follow the logs until stopped: metrics, documents and flags."""
    settings = _settings(pipeline)
    from logproc.app import CONSUMERS, App, UnsupportedError
    from logproc.state import StateBrokenError, StateLockedError
    from logproc.web.server import ListenError

    chosen = frozenset(name.strip() for name in only.split(",")) if only else frozenset(CONSUMERS)
    if unknown := chosen - {*CONSUMERS, "notify"}:
        _fail(f"--only {', '.join(sorted(unknown))}: there are {', '.join(CONSUMERS)} and notify", 2)
    try:
        pipeline_app = App(settings, only=chosen, once=once)
    except UnsupportedError as error:
        _fail(str(error), 2)
    except (StateBrokenError, StateLockedError, ListenError) as error:
        _fail(str(error), 1)
    log = structlog.get_logger("logproc")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: pipeline_app.ask_to_stop())
    pipeline_app.start()
    address = pipeline_app.web.address if pipeline_app.web else None
    log.info("running", logs=settings.logs.paths, state=str(settings.state), metrics=address and f"{address}/metrics")
    while not pipeline_app.wait(0.5):
        pass
    pipeline_app.stop()
    log.info("stopped", failed=pipeline_app.failed.is_set())
    raise typer.Exit(1 if pipeline_app.failed.is_set() else 0)


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Access logs, also .gz and .zst.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
    pipeline: Annotated[
        Path | None, typer.Option("--pipeline", help="Settings whose thresholds decide the flags.", show_default=False)
    ] = None,
) -> None:
    """Read old logs to the end and sum them up."""
    from logproc.replay import check_readable
    from logproc.replay import replay as replay_files
    from logproc.replay_output import print_summary, progress
    from logproc.settings import Settings

    settings = _settings(pipeline) if pipeline else Settings.model_validate({"logs": {"paths": ["-"]}})
    try:
        check_readable(files)
        with progress(files, hidden=as_json) as told:
            result = replay_files(files, settings, workers=workers, told=told)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror}", 1)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        print_summary(result)


@app.command()
def check(pipeline: Pipeline = None) -> None:
    """Validate settings, paths and addresses; say what is wrong and where."""
    settings = _settings(pipeline)
    from logproc.check import findings

    marks = {"ok": ("✓", typer.colors.GREEN), "warning": ("!", typer.colors.YELLOW), "error": ("✗", typer.colors.RED)}
    worst = 0
    for finding in findings(settings):
        mark, colour = marks[finding.verdict]
        typer.secho(f"{mark} {finding.subject}: {finding.text}", fg=colour)
        worst = 2 if finding.verdict == "error" else worst
    raise typer.Exit(worst)


@app.command()
def schema() -> None:
    """Print the JSON schema of the settings, for editors."""
    from logproc.settings import Settings

    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))
