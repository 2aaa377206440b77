"""Lines → records, with what a document needs beside: each line's own id, and which lines have unknown fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import msgspec

from logproc import decode
from logproc.decode import OddBlockError
from logproc.ids import OwnId
from logproc.learned import ALL_FIELDS, LearnedDecoder
from logproc.record import RequestRecord
from logproc.tailing.block import Block


class _Line(RequestRecord, gc=False, frozen=True):
    """A record with the line's own id, whatever that is."""

    id: OwnId = msgspec.UNSET


class _KnownLine(_Line, gc=False, frozen=True, forbid_unknown_fields=True):
    """A line that has no unknown field."""


_known: Final = msgspec.json.Decoder(_KnownLine)
_lines: Final = msgspec.json.Decoder(_Line)
_NOTHING: Final = msgspec.Raw()


@dataclass(slots=True)
class Decoded:
    """The records of some lines, their own ids, the places of lines with unknown fields, and the fields that may be."""

    rows: list[RequestRecord]
    owns: list[OwnId]
    with_unknown: set[int]
    present: frozenset[str]

    def take(self, places: list[int]) -> Decoded:
        """Only the lines at these places."""
        with_unknown = {new for new, old in enumerate(places) if old in self.with_unknown}
        return Decoded([self.rows[i] for i in places], [self.owns[i] for i in places], with_unknown, self.present)


def decode_each(raws: Sequence[bytes]) -> Decoded:
    """The records of lines, each decoded alone: these may be the first of their form.

    Raises:
        OddBlockError: a line is no record.
    """
    rows: list[_Line] = []
    with_unknown: set[int] = set()
    try:
        for raw in raws:
            try:
                rows.append(_known.decode(raw))
            except msgspec.ValidationError:
                with_unknown.add(len(rows))
                rows.append(_lines.decode(raw))
        for raw in raws:  # an `id`, and what is skipped, nobody has looked at
            if not raw.isascii():
                raw.decode("utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OddBlockError("json") from error
    return Decoded(list(rows), [row.id for row in rows], with_unknown, ALL_FIELDS)


def decode_at_once(block: Block, decoder: LearnedDecoder) -> Decoded | None:
    """The records of a block of which every field is known by now; None where its lines must be decoded each alone."""
    try:
        rows, _, present = decode.records(block.data, decoder)
    except OddBlockError:
        return None
    if present is ALL_FIELDS:  # there was something new, which is learned by now
        return None
    owns: list[OwnId] = [msgspec.UNSET] * len(rows)
    with_unknown: set[int] = set()
    for name, attribute in decoder.unknown.items():
        values = list(map(attrgetter(attribute), rows))
        if name == "id":
            owns = [value or msgspec.UNSET for value in values] if _NOTHING in values else values
        elif any(values):
            with_unknown.update(place for place, value in enumerate(values) if value)
    return Decoded(rows, owns, with_unknown, present)
