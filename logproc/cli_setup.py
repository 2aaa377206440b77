"""The commands `logproc setup …`: what Elasticsearch and Kibana need before and beside the documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from logproc.cli_common import Pipeline, SettingsByArgument, fail, read_settings

if TYPE_CHECKING:
    from logproc.settings import ElasticsearchStore, Settings

app = typer.Typer(
    help="Install templates and lifecycle in Elasticsearch, dashboards in Kibana.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COLOURS = {"✓": typer.colors.GREEN, "!": typer.colors.YELLOW, "✗": typer.colors.RED}

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the requests and what would change; change nothing.")]


@app.command(cls=SettingsByArgument)
def elasticsearch(pipeline: Pipeline = None, dry_run: DryRun = False) -> None:
    """Put templates, lifecycle and ingest pipeline, and show what changes; safe to repeat."""
    settings = read_settings(pipeline)
    store = _store(settings)
    from logproc.stores.elasticsearch_client import ClientMissingError, Connection, SecretError
    from logproc.stores.elasticsearch_setup import SetupRefusedError, install, plan
    from logproc.stores.store import StoreUnavailableError

    if dry_run:
        plan(store, settings.service, typer.echo)
    try:
        server = Connection(store)
    except (ClientMissingError, SecretError) as error:
        fail(str(error), 2)
    try:
        well = install(server, store, settings.service, _say, dry_run=dry_run)
    except SetupRefusedError as error:
        fail(str(error), 2)
    except StoreUnavailableError as error:
        if not dry_run:
            fail(str(error), 1)
        _say(f"! {error} So nothing was compared.")
        well = True
    finally:
        server.close()
    raise typer.Exit(0 if well else 1)


@app.command(cls=SettingsByArgument)
def kibana(pipeline: Pipeline = None, dry_run: DryRun = False) -> None:
    """Import data views, dashboards and searches, and put the rules; what is there is replaced."""
    settings = read_settings(pipeline)
    store = _store(settings)
    from logproc.kibana.connection import Connection, KibanaLoginError, KibanaUnreachableError
    from logproc.kibana.setup import install, plan

    if dry_run:
        plan(store.index, settings.thresholds, typer.echo)
        return
    if settings.kibana.url is None:
        fail("kibana.url is not set: where is Kibana? For example  kibana: {url: http://localhost:5601}", 2)
    try:
        server = Connection(settings.kibana.url, settings.kibana)
    except KibanaLoginError as error:
        fail(str(error), 2)
    try:
        well = install(server, store.index, settings.thresholds, _say)
    except KibanaUnreachableError as error:
        fail(str(error), 1)
    raise typer.Exit(0 if well else 1)


def _store(settings: Settings) -> ElasticsearchStore:
    if settings.store.kind != "elasticsearch":
        fail("store.kind is sqlite, which needs no setup; it is for `store: {kind: elasticsearch, …}`", 2)
    return settings.store


def _say(line: str) -> None:
    typer.secho(line, fg=_COLOURS.get(line[:1]))
