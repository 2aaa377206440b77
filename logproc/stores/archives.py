"""The archive of the store that the settings name."""

from __future__ import annotations

from logproc.settings import Settings, SqliteStore
from logproc.stores.points import PlottedArchive


class UnusableArchiveError(Exception):
    """The settings name a store that cannot be connected to; the message says why and what to do."""


def open_archive(settings: Settings, longest_s: float | None = None) -> PlottedArchive:
    """Where documents are found again; a question may take `longest_s`. Nothing is connected to yet.

    Raises:
        UnusableArchiveError: the client is not installed, or a secret cannot be read.
    """
    if isinstance(settings.store, SqliteStore):
        from logproc.stores.sqlite_archive import SqliteArchive

        return SqliteArchive(settings.state / "documents", longest_s)
    from logproc.stores.elasticsearch_archive import ElasticsearchArchive
    from logproc.stores.elasticsearch_client import TIMEOUT_S, ClientMissingError, Connection, SecretError

    try:
        connection = Connection(settings.store, timeout_s=longest_s or TIMEOUT_S)
    except (ClientMissingError, SecretError) as error:
        raise UnusableArchiveError(str(error)) from error
    return ElasticsearchArchive(connection, settings.store.index)
