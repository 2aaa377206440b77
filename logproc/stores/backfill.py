"""Old logs into the store: the same documents with the same ids as `run` would have written, no cursor moved."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from logproc.clock import now_ms
from logproc.settings import Settings, SqliteStore
from logproc.state import Database
from logproc.stores.document_reader import DocumentReader
from logproc.stores.index import SCHEMA
from logproc.stores.mended import is_rejected_file, mended_blocks
from logproc.stores.store import Refused, Settled, StoreBusyError, StoreUnavailableError, Written
from logproc.stores.stores import open_store
from logproc.tailing.once import blocks

PATIENCE_S: Final = 30.0
"""A store elsewhere that cannot be reached may come back for so long. A repeat of the whole does no harm either."""

_T = TypeVar("_T")


def backfill(
    files: Sequence[Path],
    settings: Settings,
    told: Callable[[int], None] = lambda _: None,
    refused: Callable[[Refused], None] = lambda _: None,
) -> Written:
    """Write the documents of whole files; what is there already stays as it is.

    A file of `rejected/` whose lines or documents were mended is one too: see `mended.py`.

    Documents name their file by its whole path, as in `run`: it is found again from any directory.
    `told` is called with the number of bytes done since the last call, `refused` with each document that the store
    will never take.

    Raises:
        StateLockedError: `logproc run` writes this store now; the message names its pid. With Elasticsearch both may.
        StateBrokenError, StoreUnavailableError: the store cannot be written.
        ClientMissingError, SecretError: see `elasticsearch_client.Connection`.
        OSError: a file cannot be read.
    """
    total = Written()
    patience_s = 0.0 if isinstance(settings.store, SqliteStore) else PATIENCE_S
    with _held(settings), contextlib.closing(open_store(settings, settings.state, now_ms)) as store:

        def settle() -> Written:
            settled: Settled = _patiently(store.settle, patience_s)
            for each in settled.refused:
                refused(each)
            return settled.written

        reader = DocumentReader(settings.service, settings.thresholds)
        last = time.monotonic()
        for path in files:
            is_mended = is_rejected_file(path)
            whole = str(path.resolve())
            for block in mended_blocks(path) if is_mended else blocks(whole, wrapped=settings.logs.wrapped):
                found = reader.read(block, now_ms())
                if is_mended:
                    total = total.plus(Written(rejected=found.rejected_lines))
                write = partial(store.write, found.requests, found.servers)
                total = total.plus(_patiently(write, patience_s))
                if time.monotonic() - last > store.commit_every_s:
                    total = total.plus(settle())
                    last = time.monotonic()
                told(block.end - block.start)
        return total.plus(settle())


@contextlib.contextmanager
def _held(settings: Settings) -> Iterator[None]:
    """Hold the lock of `index.db`, which is that of the SQLite store."""
    if not isinstance(settings.store, SqliteStore):
        yield
        return
    with contextlib.closing(Database(settings.state / "index.db", schema=SCHEMA)):
        yield


def _patiently(step: Callable[[], _T], patience_s: float) -> _T:
    """Do a step that the store may not be ready for."""
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return step()
        except StoreBusyError:
            continue
        except StoreUnavailableError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.5)
