"""Blocks of bytes → records, and what could not be one, with its reason.

A block is decoded at once; only when anything in it is odd is it read again line by line, which says what and where.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

import msgspec
import numpy as np

from logproc.learned import LearnedDecoder
from logproc.record import (
    DAY_MS,
    HEARTBEAT,
    MOST,
    REQUEST,
    SERVER_STARTED,
    SERVER_STOPPED,
    RequestRecord,
    ServerRecord,
)
from logproc.tailing.block import Block

REASONS: Final = (
    "not_json",
    "not_an_object",
    "missing_field",
    "wrong_type",
    "invalid_utf8",
    "too_long",
    "nul_bytes",
    "out_of_range",
)
SERVER_EVENTS: Final = frozenset({SERVER_STARTED, HEARTBEAT, SERVER_STOPPED})

YEAR_2015_MS: Final = 1_420_070_400_000
MOST_BYTES: Final = 1 << 53

_LF, _OPEN, _CLOSE = 0x0A, 0x7B, 0x7D
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")
_MILLISECOND: Final = datetime.fromisoformat("1970-01-01T00:00:00.001Z") - _EPOCH

_Record = TypeVar("_Record")
_requests: Final = msgspec.json.Decoder(RequestRecord)
_servers: Final = msgspec.json.Decoder(ServerRecord)
_objects: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Rejection(NamedTuple):
    """One line that is no record. `offset` and `length` (bytes, without the newline) say where it stands."""

    offset: int
    length: int
    reason: str
    detail: str
    raw: bytes


class Line(NamedTuple):
    """One good line: where it began, its bytes without the newline, its record, and its time (ms since 1970)."""

    offset: int
    raw: bytes
    record: RequestRecord | ServerRecord
    time_ms: int


class LineError(Exception):
    """Why one line is no record; `detail` never quotes the line."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class OddBlockError(Exception):
    """Something in this block is not as it should be: read it line by line."""


class Rows(NamedTuple):
    """The records of a block, where each of its lines ends (index of the newline), and the fields that may be known.

    Fields are typed but not yet checked for range; server lines are in it as request records with their `event`.
    """

    rows: list[RequestRecord]
    ends: np.ndarray[Any, np.dtype[np.int64]]
    present: frozenset[str]


def records(data: memoryview, decoder: LearnedDecoder) -> Rows:
    """Decode a block at once.

    Raises:
        OddBlockError: not every line of the block is one object, in ASCII or good UTF-8.
    """
    octets = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(octets == _LF)
    # A record per line, none across a line's end: every line begins with { and ends with }.
    if not len(ends) or ends[-1] != len(octets) - 1 or octets[0] != _OPEN:
        raise OddBlockError("framing")
    if (octets[ends - 1] != _CLOSE).any() or (octets[ends[:-1] + 1] != _OPEN).any():
        raise OddBlockError("framing")
    if octets.max() > 0x7F:
        try:
            str(data, "utf-8")
        except UnicodeDecodeError as error:
            raise OddBlockError("utf-8") from error
    try:
        rows, present = decoder.decode_lines(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OddBlockError("json") from error
    if len(rows) != len(ends):
        raise OddBlockError("framing")
    return Rows(rows, ends, present)


def lines(block: Block, now_ms: int) -> tuple[list[Line], list[Rejection]]:
    """Read a block line by line: the good ones, and the others with their reasons, each in order of offset.

    `now_ms` is the wall clock: a time more than a day ahead of it is out of range.
    """
    good: list[Line] = []
    bad = [
        Rejection(each.offset, each.length, "too_long", f"the line is {each.length} bytes long", each.head)
        for each in block.too_long
    ]
    for offset, raw in _split(block):
        try:
            record, time_ms = _read(raw, now_ms)
        except LineError as error:
            bad.append(Rejection(offset, len(raw), error.reason, error.detail, raw))
        else:
            good.append(Line(offset, raw, record, time_ms))
    if block.too_long:
        bad.sort()
    return good, bad


def line(raw: bytes, now_ms: int) -> RequestRecord | ServerRecord:
    """One line that stands in a block thought to be good.

    Raises:
        OddBlockError: it is not.
    """
    try:
        return _read(raw, now_ms)[0]
    except LineError as error:
        raise OddBlockError(error.reason) from error


def _split(block: Block) -> Iterator[tuple[int, bytes]]:
    """Each line of a block that is not blank, with its offset in the source; a `\\r` before the newline is dropped."""
    parts = bytes(block.data).split(b"\n")
    for offset, part in zip(block.origins or _offsets(block, parts), parts, strict=False):
        raw = part[:-1] if part.endswith(b"\r") else part
        if raw.strip(b" \t\r"):
            yield offset, raw


def _offsets(block: Block, parts: list[bytes]) -> Iterator[int]:
    """Where each part begins: one after the other, with gaps where a line was too long."""
    gaps = sorted((each.offset, each.length + 1) for each in block.too_long)
    offset = block.start
    for part in parts:
        while gaps and gaps[0][0] == offset:
            offset += gaps.pop(0)[1]
        yield offset
        offset += len(part) + 1


def _read(raw: bytes, now_ms: int) -> tuple[RequestRecord | ServerRecord, int]:
    if b"\0" in raw:
        raise LineError("nul_bytes", f"{raw.count(0)} NUL bytes")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LineError("invalid_utf8", f"byte {error.start}") from None
    record = _typed(raw, _requests)
    if record.event == REQUEST:
        _check_request(record, raw)
    elif record.event in SERVER_EVENTS:
        server = _typed(raw, _servers)
        _check_server(server)
        return server, time_ms(server.time, now_ms)
    return record, time_ms(record.time, now_ms)


def _typed(raw: bytes, decoder: msgspec.json.Decoder[_Record]) -> _Record:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        problem = str(error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = str(error)
    except RecursionError:
        raise LineError("not_json", "nested too deeply") from None
    return _explain(raw, problem)


def _explain(raw: bytes, problem: str) -> NoReturn:
    """Raise the reason why a line was not decoded. Never quotes the line."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise LineError("not_json", problem) from None
    if not isinstance(value, dict):
        raise LineError("not_an_object", f"a JSON {type(value).__name__}")
    for name, each in value.items():
        if isinstance(each, float) and not math.isfinite(each):
            raise LineError("out_of_range", f"`{name[:64]}` is not a finite number")
    if "out of range" in problem or " >= " in problem or " <= " in problem:
        raise LineError("out_of_range", problem)
    if problem.startswith("Object missing required field"):
        raise LineError("missing_field", problem)
    if problem.startswith("Expected"):
        raise LineError("wrong_type", problem)
    raise LineError("not_json", problem)


def _check_request(record: RequestRecord, raw: bytes) -> None:
    for name in ("time", "method", "path", "status", "prompt_tokens", "completion_tokens", "duration_ms"):
        value = getattr(record, name)
        if value is msgspec.UNSET or (value is None and name not in {"prompt_tokens", "completion_tokens"}):
            if name in _objects.decode(raw):
                raise LineError("wrong_type", f"`{name}` is null")
            raise LineError("missing_field", f"`{name}` is missing")


def _check_server(record: ServerRecord) -> None:
    numbers: list[tuple[str, float | None, int]] = [
        (name, getattr(record, name), MOST_BYTES) for name in ("in_flight", "lines_lost", "pid")
    ]
    numbers += [
        ("oldest_in_flight_ms", record.oldest_in_flight_ms, MOST),
        ("startup_s", record.startup_s, MOST // 1000),
    ]
    for engine in record.engines or ():
        own = engine.engine if isinstance(engine.engine, int) else None
        numbers += [("engines", each, MOST_BYTES) for each in (own, engine.running, engine.waiting)]
        numbers.append(("engines", engine.kv_cache_usage, MOST_BYTES))
    for gpu in record.gpus or ():
        numbers += [("gpus", each, MOST_BYTES) for each in (gpu.memory_used_bytes, gpu.memory_total_bytes)]
        numbers += [("gpus", each, MOST_BYTES) for each in (gpu.utilization, gpu.power_w)]
    for name, value, most in numbers:
        if value is not None and not 0 <= value <= most:
            raise LineError("out_of_range", f"`{name}` is negative or too large")


def time_ms(text: str | None, now_ms: int) -> int:
    """An RFC 3339 time → milliseconds since 1970 (further digits are cut off)."""
    if text is None:
        raise LineError("missing_field", "`time` is missing")
    try:
        when = datetime.fromisoformat(text.replace(":60", ":59") if ":60" in text else text)
    except ValueError:
        raise LineError("wrong_type", "`time` is no RFC 3339 time") from None
    if when.tzinfo is None or len(text) < 20:
        raise LineError("wrong_type", "`time` has no time zone")
    try:
        moment = int((when - _EPOCH) // _MILLISECOND)
    except OverflowError:
        raise LineError("out_of_range", "`time` is before 2015 or more than a day ahead") from None
    if not YEAR_2015_MS <= moment <= now_ms + DAY_MS:
        raise LineError("out_of_range", "`time` is before 2015 or more than a day ahead")
    return moment
