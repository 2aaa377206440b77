"""Opening a SQLite file of documents to read, and to do nothing else, while another process may write it."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from logproc.stores.sqlite_schema import APPLICATION_ID, VERSION


class NotOursError(Exception):
    """The file was written by another program, or by a newer logproc."""


def address(path: Path) -> str:
    """The URI that opens a file to read only, and never makes one."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    if Path(f"{path}-wal").exists() or os.access(path.parent, os.W_OK):
        return uri
    return f"{uri}&immutable=1"  # nobody writes it, and we may not make the files beside it that a reader needs


def open_to_read(path: Path, until: float | None = None) -> sqlite3.Connection:
    """A read-only connection; Ctrl-C ends a long question, and so does the moment `until` (of `time.monotonic`)."""
    connection = sqlite3.connect(address(path), uri=True, isolation_level=None, check_same_thread=False)
    # Python looks for signals there.
    connection.set_progress_handler(lambda: until is not None and time.monotonic() > until, 100_000)
    return connection


def has_documents(path: Path, connection: sqlite3.Connection) -> bool:
    """Whether there is anything in a file of documents: not when it is being made just now.

    Raises:
        NotOursError: there is something else in it.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return False
    if application != APPLICATION_ID or version > VERSION:
        raise NotOursError(f"{path}: it was written by another program, or by a newer logproc.")
    return True
