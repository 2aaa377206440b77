"""The store that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from logproc.settings import Settings, SqliteStore
from logproc.stores import sqlite
from logproc.stores.store import Store


def open_store(settings: Settings, state: Path, now_ms: Callable[[], int]) -> Store:
    """Where documents are written; `state` is the state directory. Nothing is connected to yet.

    Raises:
        ClientMissingError, SecretError: see `elasticsearch_client.Connection`.
    """
    if isinstance(settings.store, SqliteStore):
        return sqlite.SqliteStore(state / "documents", settings.store.keep_days, now_ms)
    from logproc.stores.elasticsearch import ElasticsearchStore

    return ElasticsearchStore(settings.store, now_ms)
