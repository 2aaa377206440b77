"""Block → documents: what each line says, as columns under the names of `fields.py`, each line with its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from logproc import decode
from logproc.decode import OddBlockError
from logproc.events import columns
from logproc.flags import FLAGS, Flagger
from logproc.ids import OwnId, derived_ids, id_text, own_ids
from logproc.kinds import Kinds
from logproc.record import REQUEST_FIELDS as LINE_FIELDS
from logproc.record import ServerRecord
from logproc.settings import Thresholds
from logproc.stores.decoded_lines import Decoded, decode_at_once, decode_each
from logproc.stores.documents import Documents
from logproc.stores.fields import REQUEST_FIELDS, SERVER_FIELDS, Field
from logproc.tailing.block import Block

FEW_BYTES: Final = 4096
"""A piece as small as this is read line by line when something in it is odd."""

_NS_PER_MS: Final = 1e6
_MOST_INTEGER: Final = (1 << 63) - 1
_FLAGS: Final = [",".join(name for bit, name in enumerate(FLAGS) if bits >> bit & 1) or None for bits in range(256)]
_UNBOUNDED: Final = frozenset({"pid", "error_code"})
"""Integers whose range nobody has checked before."""
_MEASURED: Final = {
    field.source: field.column for field in REQUEST_FIELDS if field.type == "duration" and field.source != "tpot_ms"
}
"""Times that are among the events already. Time per token is not: there it may be reckoned."""

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
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._kinds = Kinds()
        self._flagger = Flagger(self._thresholds)
        self._outcomes: list[str] = []
        self._operations: list[str | None] = []

    def read(self, block: Block, now_ms: int) -> BlockDocuments:
        """The documents of a block; `now_ms` is the wall clock, against which times in the future are judged.

        The same lines always give the same documents, however they are cut into blocks.
        """
        if self._kinds.is_full:
            self._begin_anew()
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
            lengths = np.fromiter(map(len, raws), np.int64, len(raws)) + 1
            offsets = (block.start + np.cumsum(lengths) - lengths).tolist()
        if b"\r" in data:
            raws = [raw.removesuffix(b"\r") for raw in raws]
        try:
            self._read_lines(block, raws, offsets, now_ms, found, decode_at_once(block, self._kinds.decoder))
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
        self,
        block: Block,
        raws: list[bytes],
        offsets: list[int],
        now_ms: int,
        found: BlockDocuments,
        decoded: Decoded | None = None,
    ) -> None:
        """Raises OddBlockError, having added nothing, when one of the lines is no record."""
        try:
            self._read_records(block, raws, offsets, now_ms, found, decoded or decode_each(raws))
        except RecursionError as error:
            raise OddBlockError("nested too deeply") from error

    def _read_records(
        self,
        block: Block,
        raws: list[bytes],
        offsets: list[int],
        now_ms: int,
        found: BlockDocuments,
        decoded: Decoded,
    ) -> None:
        kind = self._kinds.of(decoded.rows, decoded.present)
        servers = None
        if kind.min() < 0:
            places = np.flatnonzero(kind < 0).tolist()
            servers = self._server_documents(block, [(raws[i], offsets[i], decoded.owns[i]) for i in places], now_ms)
            places = np.flatnonzero(kind >= 0).tolist()
            decoded, kind = decoded.take(places), kind[places]
            raws, offsets = [raws[i] for i in places], [offsets[i] for i in places]
        requests = self._request_documents(block, decoded, raws, offsets, kind, now_ms) if raws else None
        found.good_lines += len(raws) + (0 if servers is None else servers[1])
        if requests is not None:
            found.requests.append(requests)
        if servers is not None and len(servers[0]):
            found.servers.append(servers[0])

    def _request_documents(
        self,
        block: Block,
        decoded: Decoded,
        raws: list[bytes],
        offsets: list[int],
        kind: npt.NDArray[np.int32],
        now_ms: int,
    ) -> Documents:
        events = columns(decoded.rows, kind, self._kinds, now_ms, decoded.present)
        ids, extras = _ids(block, raws, offsets, decoded.owns, events.time_ms)
        extras |= decoded.with_unknown
        fields = [each for each in REQUEST_FIELDS if each.source in decoded.present and each.source not in _MEASURED]
        made = _columns(fields, decoded.rows, extras)
        for source, column in _MEASURED.items():
            values = getattr(events, source)
            if values is not None:
                made[column] = _ns(values)
        for kind_seen in self._kinds.list[len(self._outcomes) :]:
            self._outcomes.append(kind_seen.outcome)
            self._operations.append(None if kind_seen.operation == "unknown" else kind_seen.operation)
        numbers = events.kind.tolist()
        made["outcome"] = list(map(self._outcomes.__getitem__, numbers))
        made["operation"] = list(map(self._operations.__getitem__, numbers))
        flags = self._flagger.bits(events, self._kinds)
        if flags.any():
            made["flags"] = list(map(_FLAGS.__getitem__, flags.tolist()))
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
        service = made.setdefault("service", [None] * len(ids))
        if None in service:
            made["service"] = [self._service if name is None else name for name in service]
        made["log_file_path"] = [block.source] * len(ids)
        made["log_offset"] = offsets
        if extras:
            made["extra"] = [_unknown_fields(raw, known, ids[i]) if i in extras else None for i, raw in enumerate(raws)]
        return Documents(ids, times_ms, made)


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
        if values[0] is None and values.count(None) == count:
            continue
        if each.type == "duration":
            values = _ns(np.array(values, np.float64))
        elif each.source in _UNBOUNDED:
            for place, value in enumerate(values):
                if value is not None and not -_MOST_INTEGER <= value <= _MOST_INTEGER:
                    values[place] = None
                    extras.add(place)
        made[each.column] = values
    return made


def _ns(values_ms: npt.NDArray[np.float64]) -> list[int | None]:
    """Milliseconds → whole nanoseconds; NaN → None."""
    unknown = np.flatnonzero(np.isnan(values_ms)).tolist()
    if not unknown:
        known: list[int | None] = np.rint(values_ms * _NS_PER_MS).astype(np.int64).tolist()
        return known
    made: list[int | None] = np.rint(np.nan_to_num(values_ms) * _NS_PER_MS).astype(np.int64).tolist()
    for place in unknown:
        made[place] = None
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
