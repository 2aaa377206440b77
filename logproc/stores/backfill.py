"""Old logs into the SQLite store: the same documents with the same ids as `run` would have written, no cursor moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from logproc.settings import Settings, SqliteStore
from logproc.state import Database
from logproc.stores.document_reader import DocumentReader
from logproc.stores.index import SCHEMA, now_ms
from logproc.stores.sqlite import SqliteStore as Store
from logproc.stores.store import Written
from logproc.tailing.once import blocks


def backfill(files: Sequence[Path], settings: Settings, told: Callable[[int], None] = lambda _: None) -> Written:
    """Write the documents of whole files; what is there already stays as it is.

    Documents name their file by its whole path, as in `run`: it is found again from any directory.
    `told` is called with the number of bytes done since the last call.

    Raises:
        StateLockedError: `logproc run` writes this store now; the message names its pid.
        StateBrokenError, StoreUnavailableError: the store cannot be written.
        OSError: a file cannot be read.
    """
    assert isinstance(settings.store, SqliteStore), "the only store there is"
    lock = Database(settings.state / "index.db", schema=SCHEMA)  # its lock is the store's
    store = Store(settings.state / "documents", settings.store.keep_days, now_ms)
    total = Written()
    try:
        reader = DocumentReader(settings.service, settings.thresholds)
        for path in files:
            for block in blocks(str(path.resolve()), wrapped=settings.logs.wrapped):
                found = reader.read(block, now_ms())
                written = store.write(found.requests, found.servers)
                total = Written(*(one + more for one, more in zip(total, written, strict=True)))
                told(block.end - block.start)
        store.settle()
    finally:
        store.close()
        lock.close()
    return total
