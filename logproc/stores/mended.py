"""Rejected lines and documents that a person has mended, as blocks of lines: what `replay --store` feeds back.

An entry of `rejected/measure.jsonl` holds the line as `raw`, one of `rejected/index.jsonl` the refused `document`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from logproc.stores.original_line import rebuilt_line
from logproc.tailing.block import Block

_MARKS: Final = frozenset({"file", "offset", "length", "reason"})
_MOST_LINES: Final = 500


class _Entry(msgspec.Struct):
    file: str = "rejected"
    offset: int = 0
    raw: str | None = None
    document: dict[str, Any] | None = None


_entries: Final = msgspec.json.Decoder(_Entry)
_objects: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_rejected_file(path: Path) -> bool:
    """Whether the first line of a file is an entry of `rejected/`; False also for what cannot be read.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    try:
        names = _objects.decode(first).keys()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return names >= _MARKS and bool(names & {"raw", "document"})


def mended_blocks(path: Path) -> Iterator[Block]:
    """The mended lines, each where it stood: at `offset` of `file`. A document becomes the line that makes it again.

    A line that no file holds has an id of its place and its text: fed back again, it is the same document. What is no
    entry stands in the blocks as it is, and so is rejected again.

    Raises:
        OSError: the file cannot be read.
    """
    begin = at = 0
    source, lines, origins = "", list[bytes](), list[int]()
    with path.open("rb") as file:
        for raw in file:
            entry = _entry(raw)
            if lines and (entry.file != source or len(lines) == _MOST_LINES):
                yield _block(source, begin, at, lines, origins)
                begin, lines, origins = at, [], []
            source = entry.file
            lines.append(_line(entry))
            origins.append(entry.offset)
            at += len(raw)
    if lines:
        yield _block(source, begin, at, lines, origins)


def _block(source: str, begin: int, end: int, lines: list[bytes], origins: list[int]) -> Block:
    data = b"".join(line + b"\n" for line in lines)
    return Block(source, b"", begin, end, memoryview(data), origins=tuple(origins))


def _entry(raw: bytes) -> _Entry:
    try:
        entry = _entries.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Entry(raw=raw.rstrip(b"\r\n").decode("utf-8", "replace"))
    entry.offset = max(0, min(entry.offset, (1 << 62) - 1))
    return entry


def _line(entry: _Entry) -> bytes:
    if entry.document is not None:
        return rebuilt_line(entry.document).encode()
    return (entry.raw or "").replace("\n", " ").strip("\r ").encode("utf-8", "replace")
