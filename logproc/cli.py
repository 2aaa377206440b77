"""The command line: thin; every command calls one function of another module."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from logproc import __version__, cli_report, cli_setup, cli_silence
from logproc.cli_common import Pipeline, PipelineOption, SettingsByArgument, SettingsByOption
from logproc.cli_common import fail as _fail
from logproc.cli_common import read_settings as _settings

app = typer.Typer(
    name="logproc",
    help="Turns the access logs of LLM inference servers into metrics, searchable documents and alerts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_setup.app, name="setup")
app.command(cls=SettingsByArgument)(cli_report.report)
app.command(cls=SettingsByOption)(cli_silence.silence)


def main() -> None:
    """The entry point `logproc`."""
    os.umask(0o027)  # documents and counters hold client addresses and user ids: not for everyone, as the log itself
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"logproc {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    if context.invoked_subcommand != "query":  # it has nothing to log, and is to begin at once
        from logproc.messages import log_to_stderr

        log_to_stderr()


@app.command(cls=SettingsByArgument)
def run(
    pipeline: Pipeline = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Run only some consumers: measure (metrics, alerts), measure,notify, or index (documents).",
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Read everything that is there now, then exit.")] = False,
) -> None:
    """Follow the logs until stopped: metrics, documents and alerts."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # told to stop before there is anything to finish
    settings = _settings(pipeline)
    from logproc.app import CONSUMERS, App, UnsupportedError
    from logproc.check import doubts
    from logproc.notify.channels import ChannelError
    from logproc.state import StateBrokenError, StateLockedError
    from logproc.web.server import ListenError

    chosen = frozenset(name.strip() for name in only.split(",")) if only else frozenset(CONSUMERS)
    if (unknown := chosen - {*CONSUMERS}) or not chosen:
        _fail(f"--only {', '.join(sorted(unknown or chosen))}: there are {', '.join(CONSUMERS)}", 2)
    if "notify" in chosen and "measure" not in chosen:
        _fail("--only notify: it sends what measure finds, in the same process: --only measure,notify", 2)
    try:
        pipeline_app = App(settings, only=chosen, once=once)
    except (UnsupportedError, ChannelError) as error:
        _fail(str(error), 2)
    except (StateBrokenError, StateLockedError, ListenError) as error:
        _fail(str(error), 1)
    sys.setswitchinterval(0.0001)  # a scrape of thousands of series must not keep the consumers waiting
    import structlog

    log = structlog.get_logger("logproc")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: pipeline_app.ask_to_stop())
    for doubt in doubts(settings, notifying="notify" in chosen):
        log.warning(doubt.text, setting=doubt.subject)
    pipeline_app.start()
    address = pipeline_app.web.address if pipeline_app.web else None
    log.info(
        "running",
        logs=settings.logs.paths,
        state=str(settings.state),
        page=address and f"{address}/",
        metrics=address and f"{address}/metrics",
    )
    while not pipeline_app.wait(60):
        pass
    pipeline_app.stop()
    log.info("stopped", failed=pipeline_app.failed.is_set())
    raise typer.Exit(1 if pipeline_app.failed.is_set() else 0)


@app.command()
def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End after so long; else Ctrl-C ends it.", show_default=False)
    ] = None,
    elasticsearch: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Store the documents there, for example http://localhost:9200."),
    ] = None,
) -> None:
    """Watch logproc at work: a stand-in server, a load on it, two incidents; needs no GPU, model or settings."""
    from rich.console import Console

    from logproc.demo.demo import DemoFailedError, run_demo

    try:
        code = run_demo(seconds, Console(highlight=False), elasticsearch)
    except DemoFailedError as error:
        _fail(str(error), 1)
    raise typer.Exit(code)


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Access logs, also .gz and .zst.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes that share the work.")] = 1,
    pipeline: Annotated[
        Path | None,
        typer.Option(
            "--pipeline",
            metavar="PIPELINE.yaml",
            help="Its thresholds decide the flags, in place of the defaults.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="PIPELINE.yaml",
            help="Also write the documents into its store, for `logproc query`.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Read old logs to the end and sum them up: outcomes, tokens, percentiles, flags."""
    from logproc.replay import check_readable
    from logproc.replay import replay as replay_files
    from logproc.replay_output import print_summary, progress
    from logproc.settings import Settings
    from logproc.state import StateBrokenError, StateLockedError
    from logproc.stores.backfill import backfill
    from logproc.stores.elasticsearch_client import ClientMissingError, SecretError
    from logproc.stores.mended import is_rejected_file
    from logproc.stores.store import Refused, StoreUnavailableError

    chosen = store or pipeline
    settings = _settings(chosen) if chosen else Settings.model_validate({"logs": {"paths": ["-"]}})
    try:
        check_readable(files, twice=store is not None)
        documents = None
        refused: list[Refused] = []
        if store:
            with progress("storing", files, hidden=as_json) as told:
                documents = backfill(files, settings, told, lambda each: refused.append(each) if not refused else None)
        logs = [path for path in files if not (store and is_rejected_file(path))]
        with progress("reading", logs, hidden=as_json) as told:
            result = replay_files(logs, settings, workers=workers, told=told)
    except (ClientMissingError, SecretError) as error:
        _fail(str(error), 2)
    except (StateLockedError, StateBrokenError, StoreUnavailableError) as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror}", 1)
    if documents is not None:
        result["documents"] = documents._asdict()
    for first in refused:
        typer.echo(f"logproc: documents were refused, the first {first.event_id}: {first.error_type}", err=True)
    if as_json:
        typer.echo(json.dumps(result))
    elif logs:
        print_summary(result)
    else:
        typer.echo("documents: " + ", ".join(f"{count:,} {what}" for what, count in result["documents"].items()))


@app.command(cls=SettingsByArgument)
def check(pipeline: Pipeline = None) -> None:
    """Validate settings, paths and addresses; say what is wrong and where."""
    settings = _settings(pipeline)
    from logproc.check import Finding, findings
    from logproc.settings_file import find

    marks = {"ok": ("✓", typer.colors.GREEN), "warning": ("!", typer.colors.YELLOW), "error": ("✗", typer.colors.RED)}
    worst = 0
    for finding in (Finding("ok", "settings", str(find(pipeline))), *findings(settings)):
        mark, colour = marks[finding.verdict]
        typer.secho(f"{mark} {finding.subject}: {finding.text}", fg=colour)
        worst = 2 if finding.verdict == "error" else worst
    raise typer.Exit(worst)


@app.command("notify-test", cls=SettingsByArgument)
def notify_test(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A name under `notifiers` in the settings.")],
    pipeline: Pipeline = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
) -> None:
    """Send one test message, and show the channel's real answer."""
    settings = _settings(pipeline)
    from logproc.notify.channels import ChannelError, build_one
    from logproc.notify.trial import preview, try_out

    if channel not in settings.notifiers:
        _fail(f"no notifier {channel!r}; known: {', '.join(sorted(settings.notifiers)) or 'none is defined'}", 2)
    try:
        made = build_one(settings, channel)
    except ChannelError as error:
        _fail(str(error), 2)
    if dry_run:
        typer.echo(preview(made, time.time()))
        return
    lines, delivered = try_out(made, time.time())
    for line in lines:
        typer.echo(line)
    raise typer.Exit(0 if delivered else 1)


@app.command(cls=SettingsByArgument)
def rules(
    pipeline: Pipeline = None,
    tests: Annotated[
        bool, typer.Option("--tests", help="Print promtool's unit tests of the rules instead; they read rules.yml.")
    ] = False,
) -> None:
    """Print the Prometheus rules that the thresholds in the settings mean."""
    settings = _settings(pipeline)
    from logproc.rules.output import rules_text, trials_text

    typer.echo(trials_text(settings) if tests else rules_text(settings), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of the settings, for editors."""
    from logproc.settings import Settings

    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))


def _archive(settings: Any) -> Any:
    from logproc.stores.archives import UnusableArchiveError, open_archive

    try:
        return open_archive(settings)
    except UnusableArchiveError as error:
        _fail(str(error), 1)


@app.command(cls=SettingsByOption)
def query(
    last: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Only the last 90s, 1h, 7d, …", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="From this time on: RFC 3339, a date, or a span ago (2h).",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Up to this time; forms as for --from.", show_default=False),
    ] = None,
    outcome: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OUTCOME",
            help="ok, empty, stream_error, …; may be repeated, like all names here.",
            show_default=False,
        ),
    ] = None,
    flag: Annotated[
        list[str] | None, typer.Option(metavar="FLAG", help="slow, stall, empty_completion, …", show_default=False)
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="By the model's name.", show_default=False)
    ] = None,
    client: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="By the client's address.", show_default=False)
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="By the user's id, or by the id of the API key.", show_default=False),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="By any id, of event, request, response or trace: every field is shown.",
            show_default=False,
        ),
    ] = None,
    slower_than: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Only slower ones than 3s, 800ms, …", show_default=False)
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Counts, tokens and percentiles by model, client, user_id, api_key_id or outcome.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="At most so many (50; of a file all); 0 is all.", show_default=False),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on showing new ones.")] = False,
    sql: Annotated[
        str | None,
        typer.Option(
            metavar="SELECT", help="A read-only SELECT on the tables requests and servers.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV.")] = False,
    parquet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Into a Parquet file, for DuckDB or pandas.", show_default=False),
    ] = None,
    pipeline: PipelineOption = None,
) -> None:
    """Find requests: by time, outcome, flag, model, client, user, id or duration."""
    settings = _settings(pipeline)
    from logproc.query import run_query
    from logproc.question import Asked

    if as_json and as_csv:
        _fail("--json and --csv exclude each other", 2)
    code = run_query(
        _archive(settings),
        Asked(
            last=last,
            since=since,
            to=until,
            outcome=outcome or (),
            flag=flag or (),
            model=model or (),
            client=client or (),
            user=user or (),
            id=ids or (),
            slower_than=slower_than,
        ),
        by=by,
        limit=limit if limit is not None else 0 if parquet else 50,
        follow=follow,
        sql=sql,
        parquet=parquet,
        form="json" if as_json else "csv" if as_csv else "table",
        out=sys.stdout,
        err=sys.stderr,
    )
    raise typer.Exit(code)
