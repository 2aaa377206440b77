"""Block → documents: what each line says, as columns under the names of `fields.py`, each line with its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from logproc import decode
from logproc.decode import OddBlockError
from logproc.events import columns
from logproc.flags import Flagger
from logproc.ids import OwnId, derived_ids, id_text, own_ids
from logproc.kinds import Kinds
from logproc.record import REQUEST_FIELDS as LINE_FIELDS
from logproc.record import RequestRecord, ServerRecord
from logproc.settings import Thresholds
from logproc.stores.documents import Documents
from logproc.stores.fields import REQUEST_FIELDS, SERVER_FIELDS, Field
from logproc.tailing.block import Block

FEW_BYTES: Final = 4096
"""A piece as small as this is read line by line when something in it is odd."""

_NS_PER_MS: Final = 1e6
_MOST_INTEGER: Final = (1 << 63) - 1
_UNBOUNDED: Final = frozenset({"pid", "error_code"})
"""Integers whose range nobody has checked before."""
_MAYBE_UNSET: Final = frozenset({"prompt_tokens", "completion_tokens"})


class _Line(RequestRecord, gc=False, frozen=True):
    """A record with the line's own id, whatever that is."""

    id: OwnId = msgspec.UNSET


class _KnownLine(_Line, gc=False, frozen=True, forbid_unknown_fields=True):
    """A line that has no unknown field."""


_known: Final = msgspec.json.Decoder(_KnownLine)
_lines: Final = msgspec.json.Decoder(_Line)
_objects: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_json: Final = msgspec.json.Encoder()
_LINE_FIELDS: Final = frozenset((*LINE_FIELDS, "event"))
_SERVER_LINE_FIELDS: Final = frozenset((*ServerRecord.__struct_fields__, "id"))


@dataclass(slots=True)
class BlockDocuments:
    """What one block holds: its documents (in parts where the block was odd), and how many lines there were."""

    requests: list[Documents] = field(default_factory=list)
    servers: list[Documents] = field(default_factory=list)
    good_lines: int = 0
    rejected_lines: int = 0


class DocumentReader:
    """Makes documents of blocks. `service` is the `service.name` of lines that do not say theirs."""

    def __init__(self, service: str, thresholds: Thresholds) -> None:
        self._service = service
        self._thresholds = thresholds
        self._kinds = Kinds()
        self._flagger = Flagger(thresholds)

    def read(self, block: Block, now_ms: int) -> BlockDocuments:
        """The documents of a block; `now_ms` is the wall clock, against which times in the future are judged.

        The same lines always give the same documents, however they are cut into blocks.
        """
        if self._kinds.is_full:
            self._kinds = Kinds()
            self._flagger = Flagger(self._thresholds)
        found = BlockDocuments()
        if block.too_long:
            self._read_careful(block, now_ms, found)
        else:
            self._read_quick(block, now_ms, found)
        return found

    def _read_quick(self, block: Block, now_ms: int, found: BlockDocuments) -> None:
        data = bytes(block.data)
        raws = data.split(b"\n")
        if not raws[-1]:
            raws.pop()
        if not raws:
            return
        if block.origins is not None:
            offsets = list(block.origins)
        else:
            offsets = list(accumulate((len(raw) + 1 for raw in raws[:-1]), initial=block.start))
        if b"\r" in data:
            raws = [raw.removesuffix(b"\r") for raw in raws]
        try:
            self._read_lines(block, raws, offsets, now_ms, found)
        except OddBlockError:
            self._read_halves(block, now_ms, found)

    def _read_halves(self, block: Block, now_ms: int, found: BlockDocuments) -> None:
        size = len(block.data)
        middle = bytes(block.data).rfind(b"\n", 0, size // 2) + 1 if size > FEW_BYTES else 0
        if middle <= 0:
            self._read_careful(block, now_ms, found)
            return
        for start, end in ((0, middle), (middle, size)):
            self._read_quick(block.part(start, end), now_ms, found)

    def _read_careful(self, block: Block, now_ms: int, found: BlockDocuments) -> None:
        good, bad = decode.lines(block, now_ms)
        found.rejected_lines += len(bad)
        if not good:
            return
        try:
            self._read_lines(block, [line.raw for line in good], [line.offset for line in good], now_ms, found)
        except OddBlockError:
            for line in good:
                try:
                    self._read_lines(block, [line.raw], [line.offset], now_ms, found)
                except OddBlockError:
                    found.rejected_lines += 1

    def _read_lines(
        self, block: Block, raws: list[bytes], offsets: list[int], now_ms: int, found: BlockDocuments
    ) -> None:
        """Raises OddBlockError, having added nothing, when one of the lines is no record."""
        try:
            self._read_records(block, raws, offsets, now_ms, found)
        except RecursionError as error:
            raise OddBlockError("nested too deeply") from error

    def _read_records(
        self, block: Block, raws: list[bytes], offsets: list[int], now_ms: int, found: BlockDocuments
    ) -> None:
        rows, with_unknown = _decode(raws)
        kind = self._kinds.of(rows)
        servers = None
        if kind.min() < 0:
            places = np.flatnonzero(kind < 0).tolist()
            servers = self._server_documents(block, [(raws[i], offsets[i], rows[i].id) for i in places], now_ms)
            places = np.flatnonzero(kind >= 0).tolist()
            with_unknown &= set(places)
            with_unknown = {new for new, old in enumerate(places) if old in with_unknown}
            rows, kind = [rows[i] for i in places], kind[places]
            raws, offsets = [raws[i] for i in places], [offsets[i] for i in places]
        requests = self._request_documents(block, rows, raws, offsets, kind, with_unknown, now_ms) if rows else None
        found.good_lines += len(rows) + (0 if servers is None else servers[1])
        if requests is not None:
            found.requests.append(requests)
        if servers is not None and len(servers[0]):
            found.servers.append(servers[0])

    def _request_documents(
        self,
        block: Block,
        rows: list[_Line],
        raws: list[bytes],
        offsets: list[int],
        kind: npt.NDArray[np.int32],
        with_unknown: set[int],
        now_ms: int,
    ) -> Documents:
        events = columns(rows, kind, self._kinds, now_ms)
        flags = self._flagger.names(events, self._kinds)
        ids, extras = _ids(block, raws, offsets, [row.id for row in rows], events.time_ms)
        extras |= with_unknown
        fields = [each for each in REQUEST_FIELDS if getattr(events, each.source, 0) is not None]
        made = _columns(fields, rows, extras)
        kinds = [self._kinds.list[number] for number in events.kind.tolist()]
        made["outcome"] = [each.outcome for each in kinds]
        made["operation"] = [None if each.operation == "unknown" else each.operation for each in kinds]
        if any(flags):
            made["flags"] = [",".join(names) if names else None for names in flags]
        return self._documents(ids, events.time_ms, made, block, raws, offsets, extras, _LINE_FIELDS)

    def _server_documents(
        self, block: Block, lines: list[tuple[bytes, int, OwnId]], now_ms: int
    ) -> tuple[Documents, int]:
        """The documents of lines that are no requests, and how many lines there were; other events make none."""
        kept: list[tuple[bytes, int, OwnId, ServerRecord]] = []
        for raw, offset, own in lines:
            record = decode.line(raw, now_ms)
            if isinstance(record, ServerRecord):
                kept.append((raw, offset, own, record))
        if not kept:
            return Documents([], np.empty(0, np.int64), {}), len(lines)
        raws, offsets, owns, records = (list(each) for each in zip(*kept, strict=True))
        times = np.array([decode.time_ms(record.time, now_ms) for record in records], np.int64)
        ids, extras = _ids(block, raws, offsets, owns, times)
        extras |= {i for i, raw in enumerate(raws) if not _objects.decode(raw).keys() <= _SERVER_LINE_FIELDS}
        made = _columns(SERVER_FIELDS, records, extras)
        made["startup_ns"] = [None if r.startup_s is None else round(r.startup_s * 1e9) for r in records]
        for name in ("engines", "gpus"):
            lists = [_objects.decode(raw).get(name) for raw in raws]
            made[name] = [None if each is None else bytes(each).decode() for each in lists]
        return self._documents(ids, times, made, block, raws, offsets, extras, _SERVER_LINE_FIELDS), len(lines)

    def _documents(
        self,
        ids: list[bytes],
        times_ms: npt.NDArray[np.int64],
        made: dict[str, list[Any]],
        block: Block,
        raws: list[bytes],
        offsets: list[int],
        extras: set[int],
        known: frozenset[str],
    ) -> Documents:
        """Adds what every document has: its service, its place in the log, and its unknown fields."""
        service = made.get("service")
        made["service"] = (
            [self._service] * len(ids)
            if service is None
            else [self._service if name is None else name for name in service]
        )
        made["log_file_path"] = [block.source] * len(ids)
        made["log_offset"] = offsets
        if extras:
            made["extra"] = [_unknown_fields(raw, known, ids[i]) if i in extras else None for i, raw in enumerate(raws)]
        return Documents(ids, times_ms, made)


def _decode(raws: Sequence[bytes]) -> tuple[list[_Line], set[int]]:
    """A record a line, and the places of those with unknown fields.

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
    return rows, with_unknown


def _ids(
    block: Block, raws: list[bytes], offsets: list[int], owns: list[OwnId], times_ms: npt.NDArray[np.int64]
) -> tuple[list[bytes], set[int]]:
    """The id of each line, and the places of those whose own `id` is an unknown field."""
    found = own_ids(owns, times_ms)
    missing = found.count(None)
    if not missing:
        return found, set()  # type: ignore[return-value]
    if missing == len(found):
        ids = derived_ids(block.first_line, offsets, raws, times_ms)
    else:
        ids = [
            derived_ids(block.first_line, [offset], [raw], times_ms[i : i + 1])[0] if own is None else own
            for i, (own, offset, raw) in enumerate(zip(found, offsets, raws, strict=True))
        ]
    if owns.count(msgspec.UNSET) == len(owns):
        return ids, set()
    return ids, {i for i, own in enumerate(found) if own is None and owns[i] is not msgspec.UNSET}


def _columns(fields: Sequence[Field], records: Sequence[Any], extras: set[int]) -> dict[str, list[Any]]:
    """The columns that stand in the records themselves. Places of integers beyond 64 bits are added to `extras`."""
    made: dict[str, list[Any]] = {}
    count = len(records)
    for each in fields:
        if not each.source:
            continue
        values = list(map(attrgetter(each.source), records))
        if each.source in _MAYBE_UNSET and msgspec.UNSET in values:
            values = [None if value is msgspec.UNSET else value for value in values]
        if values[0] is None and values.count(None) == count:
            continue
        if each.type == "duration":
            values = _ns(values)
        elif each.source in _UNBOUNDED:
            for place, value in enumerate(values):
                if value is not None and not -_MOST_INTEGER <= value <= _MOST_INTEGER:
                    values[place] = None
                    extras.add(place)
        made[each.column] = values
    return made


def _ns(values: list[float | None]) -> list[int | None]:
    """Milliseconds → whole nanoseconds."""
    if None in values:
        return [None if value is None else round(value * _NS_PER_MS) for value in values]
    made: list[int | None] = np.rint(np.array(values, np.float64) * _NS_PER_MS).astype(np.int64).tolist()
    return made


def _unknown_fields(raw: bytes, known: frozenset[str], line_id: bytes) -> str | None:
    """The fields of a line that no other field of its document holds, each exactly as it stands there."""
    own_id = b'"%s"' % id_text(line_id).encode()
    kept = {
        name: value
        for name, value in _objects.decode(raw).items()
        if name not in known or (name == "id" and bytes(value) != own_id) or _is_beyond_64_bits(value)
    }
    return _json.encode(kept).decode("utf-8") if kept else None


def _is_beyond_64_bits(value: msgspec.Raw) -> bool:
    digits = bytes(value).lstrip(b"-")
    return len(digits) >= 19 and digits.isdigit() and int(digits) > _MOST_INTEGER
