"""Small helpers for tests of stores: lines → documents, and what a store then holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from logproc.record import DAY_MS
from logproc.settings import Thresholds
from logproc.stores.archive import Question
from logproc.stores.document_reader import BlockDocuments, DocumentReader
from logproc.stores.documents import Documents, time_text
from logproc.stores.fields import REQUEST_FIELDS
from logproc.stores.sqlite import SqliteStore
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.tailing.block import Block
from tests.lines import NOW_MS, block, raw, request

MIDNIGHT_MS = NOW_MS // DAY_MS * DAY_MS
"""The beginning of NOW_MS's day."""


def read(source: bytes | Block, service: str = "vllm") -> BlockDocuments:
    """What a fresh reader makes of these bytes."""
    found = block(source) if isinstance(source, bytes) else source
    return DocumentReader(service, Thresholds()).read(found, NOW_MS)


def flat(found: BlockDocuments) -> list[dict[str, Any]]:
    """The request documents of a block as flat mappings."""
    return [each for part in found.requests for each in part.flat(REQUEST_FIELDS)]


def document(**fields: Any) -> dict[str, Any]:
    """The document of one request line with these fields."""
    (found,) = flat(read(raw(request(**fields))))
    return found


def at(time_ms: int, **fields: Any) -> dict[str, Any]:
    """A request line of this time."""
    return request(time=time_text(time_ms), **fields)


def documents(*lines: dict[str, Any] | bytes) -> list[Documents]:
    """The request documents of these lines."""
    return read(raw(*lines)).requests


def store_in(folder: Path, keep_days: int = 30, now_ms: int = NOW_MS) -> SqliteStore:
    """A store whose clock stands still."""
    return SqliteStore(folder, keep_days, lambda: now_ms)


def all_in(folder: Path) -> list[dict[str, Any]]:
    """Every request document in a folder, oldest first."""
    return [each.document for each in SqliteArchive(folder).find(Question(), oldest_first=True)]
