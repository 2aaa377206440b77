"""Container logs: the runtime wraps each line, and splits long ones; here they become the lines that were written.

CRI (Kubernetes, containerd): `2026-04-05T10:23:45.123456789Z stdout F the line`; `P` instead of `F` marks a part.
Docker (json-file): `{"log":"the line\\n","stream":"stdout","time":"…"}`; a part has no newline in `log`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import msgspec

from logproc.record import MAX_LINE
from logproc.tailing.block import Block, Pending, TooLong
from logproc.tailing.lines import KEPT_HEAD

Format = Literal["cri", "docker"]

_CRI: Final = re.compile(rb"\S+ (?:stdout|stderr) ([FP])(?::\S*)? (.*)", re.DOTALL)


class _DockerLine(msgspec.Struct):
    log: str


_docker: Final = msgspec.json.Decoder(_DockerLine)


@dataclass(slots=True)
class Unwrapped:
    """The lines of one block: `data` as if written without a runtime, and for each line where it began.

    `unrelated` counts what is no JSON object: the other output of the container.
    """

    data: bytes = b""
    origins: list[int] = field(default_factory=list)
    too_long: list[TooLong] = field(default_factory=list)
    unrelated: int = 0
    pending: Pending | None = None


def unwrap(wrapped: Format, data: memoryview, start: int, pending: Pending | None) -> Unwrapped:
    """Unwrap the whole lines in `data`, which stand at byte `start` of their file; `pending` came before them."""
    if pending is not None and pending.end != start:
        pending = None  # the file was cut or rewritten: what follows is no part of it
    found = Unwrapped(pending=pending)
    kept: list[bytes] = []
    read = _cri if wrapped == "cri" else _docker_lines
    for offset, text, ended in read(bytes(data).split(b"\n"), start):
        if text is None:
            found.unrelated += 1
            continue
        before = found.pending
        if before is not None:
            origin, length = before.origin, before.length + len(text)
            text = before.text + text[: MAX_LINE + 1 - len(before.text)]  # noqa: PLW2901 - the line so far
        else:
            origin, length = offset, len(text)
        if not ended:
            found.pending = Pending(origin, start + len(data), text[: MAX_LINE + 1], length)
            continue
        found.pending = None
        if not text.lstrip(b" \t").startswith(b"{"):
            found.unrelated += bool(text.strip())
        elif length > MAX_LINE:
            found.too_long.append(TooLong(origin, length, text[:KEPT_HEAD]))
        else:
            kept.append(text)
            found.origins.append(origin)
    found.data = b"".join(text + b"\n" for text in kept)
    return found


def unwrap_block(wrapped: Format, block: Block, pending: Pending | None) -> tuple[Block, Pending | None]:
    """A block of wrapped lines as a block of what they say, and the parts that still lack their end."""
    found = unwrap(wrapped, block.data, block.start, pending)
    unwrapped = replace(
        block,
        data=memoryview(found.data),
        too_long=(*block.too_long, *found.too_long),
        origins=tuple(found.origins),
        unrelated=found.unrelated,
    )
    return unwrapped, found.pending


_Part = tuple[int, bytes | None, bool]
"""Where a wrapped line began, what it says (None where it is not wrapped as it should be), whether it ends a line."""


def _cri(lines: Iterable[bytes], start: int) -> Iterator[_Part]:
    for line in lines:
        match = _CRI.fullmatch(line)
        if match is not None:
            yield start, match[2], match[1] == b"F"
        elif line.strip():
            yield start, None, True
        start += len(line) + 1


def _docker_lines(lines: Iterable[bytes], start: int) -> Iterator[_Part]:
    for line in lines:
        if line.strip():
            try:
                text = _docker.decode(line).log.encode("utf-8", "surrogatepass")
            except (msgspec.MsgspecError, UnicodeDecodeError):
                yield start, None, True
            else:
                ended = text.endswith(b"\n")
                yield start, (text[:-1] if ended else text).replace(b"\n", b" "), ended
        start += len(line) + 1
