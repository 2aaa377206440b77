"""The ledger: every line that was ever written, as the writer knows it; read back by whoever recounts."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

REASONS: Final = (
    "good",
    "repeated",
    "blank",
    "not_json",
    "not_an_object",
    "missing_field",
    "wrong_type",
    "invalid_utf8",
    "nul_bytes",
    "out_of_range",
    "too_long",
)
_PLACE: Final = struct.Struct("<IQIB")


class Written(NamedTuple):
    """One line with its newline: which stream it went to (numbered), at which offset, and what is wrong with it."""

    stream: int
    offset: int
    reason: str
    raw: bytes


class Ledger:
    """Appends to numbered parts, `part-N.raw` and `part-N.places`, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._number = 0
        self._open()

    def _open(self) -> None:
        self._raw = (self._folder / f"part-{self._number}.raw").open("wb")
        self._places = (self._folder / f"part-{self._number}.places").open("wb")

    def add(self, line: Written) -> None:
        """Note one line."""
        self._raw.write(line.raw)
        self._places.write(_PLACE.pack(line.stream, line.offset, len(line.raw), REASONS.index(line.reason)))

    def end_part(self) -> int:
        """Close the part, so that it can be read, and begin the next; the number of the closed one."""
        self._raw.close()
        self._places.close()
        self._number += 1
        self._open()
        return self._number - 1


def read_part(folder: Path, number: int) -> Iterator[Written]:
    """Every line of a part, in the order of writing."""
    with (folder / f"part-{number}.raw").open("rb") as raw:
        for stream, offset, length, reason in _PLACE.iter_unpack((folder / f"part-{number}.places").read_bytes()):
            yield Written(stream, offset, REASONS[reason], raw.read(length))


def delete_part(folder: Path, number: int) -> None:
    """A part that was recounted."""
    for ending in ("raw", "places"):
        (folder / f"part-{number}.{ending}").unlink()
