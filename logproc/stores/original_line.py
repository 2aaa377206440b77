"""The access line that a document was made of: read back from its file, or else rebuilt from the document."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from logproc.ids import id_bytes
from logproc.record import MAX_LINE
from logproc.record import REQUEST_FIELDS as LINE_FIELDS
from logproc.settings import Thresholds
from logproc.stores.document_reader import DocumentReader
from logproc.stores.fields import REQUEST_FIELDS
from logproc.tailing.block import Block
from logproc.tailing.containers import Format, unwrap_block
from logproc.tailing.lines import file_reader, first_line, read_bytes

_PIECE: Final = 64 << 10
"""So much is read of container output, where a line may stand in parts, bytes."""
_MOST_FILES: Final = 100
_NS_PER_MS: Final = 1e6
_ALWAYS: Final = ("prompt_tokens", "completion_tokens")
"""A line holds them even when they are unknown."""


class Line(NamedTuple):
    """The text of an access line, and where it is from: `file` as it stands in the log, `rebuilt` from the document."""

    text: str
    source: Literal["file", "rebuilt"]


def original_line(document: Mapping[str, Any], wrapped: Format | None, now_ms: int) -> Line:
    """The line of a document that was found under its public names; `wrapped` is `logs.format`.

    A line of a file counts only when it gives the same `event.id`, so that nothing else can ever be read by this.
    """
    wanted, offset = id_bytes(document.get("event.id")), document.get("log.offset")
    name = document.get("log.file.path")
    if wanted is not None and isinstance(name, str) and "\0" not in name and isinstance(offset, int):
        for path in _places(Path(name)):
            raw = _line_at(path, offset, wanted, wrapped, now_ms)
            if raw is not None:
                return Line(raw.decode("utf-8", "replace"), "file")
    return Line(rebuilt_line(document), "rebuilt")


def rebuilt_line(document: Mapping[str, Any]) -> str:
    """An access line that says what the document says: the same fields and values, if not the same bytes."""
    found: dict[str, Any] = dict.fromkeys(_ALWAYS)
    for field in REQUEST_FIELDS:
        value = document.get(field.name)
        if value is None or field.column.startswith("log_") or field.column in {"flags", "extra"}:
            continue
        line_name = {"id": "id", "time_ms": "time"}.get(field.column, field.source or field.column)
        if field.type == "duration":
            value = value / _NS_PER_MS
        elif field.type == "keywords":
            value = ",".join(value)
        found[line_name] = value
    ordered = {name: found[name] for name in LINE_FIELDS if name in found}
    extra = document.get("llm.extra")
    if extra is not None:
        extra = msgspec.json.decode(extra) if isinstance(extra, msgspec.Raw) else extra
        ordered |= {name: value for name, value in extra.items() if name not in ordered}
    return msgspec.json.encode(ordered).decode("utf-8")


def _places(path: Path) -> Iterator[Path]:
    """Where the line may stand: in its file, or in one of its rotated siblings that are not packed, newest first."""
    yield path
    try:
        names = [each for each in os.scandir(path.parent) if _is_sibling(path, each.name)]
        names.sort(key=lambda each: -each.stat().st_mtime_ns)
    except OSError:
        return
    yield from (Path(each.path) for each in names[:_MOST_FILES])


def _is_sibling(path: Path, name: str) -> bool:
    rotated = name.startswith((f"{path.name}.", f"{path.stem}-", f"{path.stem}."))
    return rotated and name != path.name and not name.endswith((".gz", ".zst"))


def _line_at(path: Path, offset: int, wanted: bytes, wrapped: Format | None, now_ms: int) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # not to wait for the writer of a pipe
    except (OSError, ValueError):
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or not 0 <= offset < info.st_size:
            return None
        read = file_reader(fd)
        data = read_bytes(read, offset, _PIECE)
        if wrapped is None and b"\n" not in data:
            data = read_bytes(read, offset, MAX_LINE + 1)
        first = first_line(read)
    except OSError:
        return None
    finally:
        os.close(fd)
    data = data[: data.find(b"\n") + 1] or data if wrapped is None else data[: data.rfind(b"\n") + 1]
    block = Block(str(path), first, offset, offset + len(data), memoryview(data))
    if wrapped is not None:
        block, _ = unwrap_block(wrapped, block, None)
    for part in DocumentReader("", Thresholds()).read(block, now_ms).requests:
        if wanted in part.ids:
            at = part.columns["log_offset"][part.ids.index(wanted)]
            lines = bytes(block.data).split(b"\n")
            return lines[0 if block.origins is None else block.origins.index(at)].removesuffix(b"\r")
    return None
