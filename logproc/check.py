"""`logproc check`: what can be known before a start: settings, paths, the state directory, the address."""

from __future__ import annotations

import contextlib
import glob
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from logproc.notify.channels import ChannelError, build_one
from logproc.notify.hook import Hook
from logproc.settings import ElasticsearchStore, Settings

Verdict = Literal["ok", "warning", "error"]

REACH_S: Final = 5.0
"""A server that does not answer for so long is not reached."""


class Finding(NamedTuple):
    """One thing that was looked at: what, how it is, and what to do where it is not well."""

    verdict: Verdict
    subject: str
    text: str


def findings(settings: Settings) -> Iterator[Finding]:
    """Look at everything that the settings name."""
    for pattern in settings.logs.paths:
        yield _logs(pattern, settings)
    yield _state(settings.state)
    yield _address(settings)
    yield from _secrets(settings)
    if isinstance(settings.store, ElasticsearchStore):
        yield _elasticsearch(settings.store)
    for name in settings.notifiers:
        yield _notifier(settings, name)
    yield from _never_told(settings)


def doubts(settings: Settings, *, notifying: bool) -> Iterator[Finding]:
    """What a run goes on with, but hardly as it was meant: paths without a log, and notifiers that nobody uses."""
    missing = []
    for pattern in settings.logs.paths:
        files, directories = _matches(pattern)
        if directories and not files:
            yield _directory(pattern, directories[0], settings)
        elif not files:
            missing.append(pattern)
    if missing:
        yield Finding("warning", "logs.paths", f"no file matches yet: {', '.join(missing)}")
    if notifying:
        yield from _never_told(settings)


def _matches(pattern: str) -> tuple[list[Path], list[Path]]:
    """The files that a glob matches, and the directories."""
    matches = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207 - patterns may be absolute
    directories = [path for path in matches if path.is_dir()]
    return [path for path in matches if path not in directories], directories


def _directory(pattern: str, directory: Path, settings: Settings) -> Finding:
    ending = "*.jsonl" if settings.logs.wrapped is None else "*.log"
    matches = "" if str(directory) == pattern.rstrip("/") else f"{pattern} matches no file, but "
    return Finding("error", "logs.paths", f"{matches}{directory} is a directory: write {directory / ending}")


def _logs(pattern: str, settings: Settings) -> Finding:
    files, directories = _matches(pattern)
    if directories and not files:
        return _directory(pattern, directories[0], settings)
    if not files:
        parent = Path(pattern).parent
        if parent.is_dir() and not os.access(parent, os.R_OK | os.X_OK):
            return Finding(
                "error", "logs.paths", f"{parent} cannot be looked into by this user: chmod or run as another"
            )
        missing = f" ({parent} does not exist yet)" if "*" not in str(parent) and not parent.exists() else ""
        return Finding("warning", "logs.paths", f"{pattern} matches no file yet{missing}: logproc will wait for one")
    unreadable = [path for path in files if not os.access(path, os.R_OK)]
    if unreadable:
        return Finding("error", "logs.paths", f"{unreadable[0]} cannot be read by this user: chmod or run as its owner")
    size = sum(path.stat().st_size for path in files)
    return Finding("ok", "logs.paths", f"{pattern} matches {len(files)} file(s), {size:,} bytes")


def _state(state: Path) -> Finding:
    nearest = state
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        return Finding("error", "state", f"{nearest} is no directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("error", "state", f"{nearest} cannot be written by this user")
    there = "" if state.exists() else " (it will be made)"
    return Finding("ok", "state", f"{state}{there}")


def _elasticsearch(store: ElasticsearchStore) -> Finding:
    from logproc.stores.elasticsearch_client import ClientMissingError, Connection, SecretError
    from logproc.stores.elasticsearch_guard import TemplateGuard
    from logproc.stores.elasticsearch_names import Names
    from logproc.stores.store import StoreUnavailableError

    try:
        with contextlib.closing(Connection(store, timeout_s=REACH_S)) as connection:
            guard = TemplateGuard(connection, Names(store.index), store.period)
            problem = guard.problem("requests", store.index) or guard.problem("servers", f"{store.index}-servers")
            where = connection.where
    except (ClientMissingError, SecretError) as error:
        return Finding("error", "store", str(error))
    except StoreUnavailableError as error:
        return Finding("warning", "store", f"{error} logproc will wait for it")
    if problem:
        return Finding("error", "store", f"{where}: {problem}")
    return Finding("ok", "store", f"{where} has the templates of `{store.index}`")


def _address(settings: Settings) -> Finding:
    http = settings.http
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((http.host, http.port))
    except OSError as error:
        return Finding(
            "warning", "http.listen", f"{http.host}:{http.port} is not free ({error.strerror}): is logproc running?"
        )
    return Finding("ok", "http.listen", f"{http.host}:{http.port} is free")


def _secrets(settings: Settings) -> Iterator[Finding]:
    files = [("http.token_file", settings.http.token_file)]
    files += [(f"http.{name}", getattr(settings.http, name)) for name in ("tls_cert", "tls_key")]
    files += [
        (f"kibana.{name}", getattr(settings.kibana, name)) for name in ("api_key_file", "password_file", "ca_cert")
    ]
    for key, path in files:
        if path is not None and not os.access(path, os.R_OK):
            yield Finding("error", key, f"{path} cannot be read")


def _notifier(settings: Settings, name: str) -> Finding:
    try:
        made = build_one(settings, name)
    except ChannelError as error:
        return Finding("error", error.key, error.text)
    if isinstance(made, Hook) and not made.is_private:
        return Finding("warning", f"notifiers.{name}", f"{made!r}: secrets go in the clear over http://; use https://")
    return Finding("ok", f"notifiers.{name}", f"{made!r}; to try it: logproc notify-test {name}")


def _never_told(settings: Settings) -> Iterator[Finding]:
    routes = settings.alerts.routes
    for name in settings.never_told:
        route = f"alerts: {{routes: {{people: {{severity: [warning, critical, disaster], to: [{name}]}}}}}}"
        todo = f"add it to `to` in alerts.routes.{next(iter(routes))}" if routes else f"add  {route}"
        yield Finding(
            "warning", f"notifiers.{name}", f"it is never told, for no route and no fallback names it: {todo}"
        )
