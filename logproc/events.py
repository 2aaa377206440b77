"""Records → columns: the token, duration and status events of a batch, as arrays.

Whatever has few values (model, status, outcome, …) is one `Kind`, numbered once; whatever is a number is an array of
float64 in which NaN is unknown. No Python object is made per event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from logproc.decode import COUNTS, DURATIONS, LONGEST_MS, MOST_TOKENS, YEAR_2015_MS, LineError, OddBlockError
from logproc.decode import time_ms as parse_time
from logproc.record import DAY_MS, GENERATION, OUTCOMES, REQUEST, RequestRecord, operation_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LABEL_LENGTH: Final = 128
"""Longer label values (a megabyte of model name) are cut."""

MOST_KINDS: Final = 20_000
LEAST_TOKENS_FOR_SPEED: Final = 16
"""Fewer tokens say nothing about the decode speed of one request."""


def outcome_of(status: int, finish_reason: str | None, outcome: str | None) -> str:
    """The outcome of a line: its own where it is one of the list, else what status and finish reason tell."""
    if outcome in OUTCOMES:
        return outcome
    if status == 499:
        return "client_disconnect"
    if 400 <= status < 500 or status == 503:
        return "rejected"
    if status >= 500 or finish_reason in {"abort", "error"}:
        return "server_error"
    return "truncated" if finish_reason == "length" else "ok"


@dataclass(frozen=True, slots=True)
class Kind:
    """What all requests of one kind share; `stream` is False only where the line says so.

    `empty_twin` is the number of the same kind with the outcome `empty`, for lines that do not say theirs.
    """

    model: str
    operation: str
    status: int
    outcome: str
    finish_reason: str | None
    stream: bool
    empty_twin: int = -1


_Key = tuple[str, str | None, str | None, str | None, str | None, int | None, str | None, str | None, bool | None]

NOT_A_REQUEST: Final = -1


class Kinds(dict[_Key, int]):
    """Numbers the kinds as they appear. Lines that are no requests get NOT_A_REQUEST."""

    def __init__(self) -> None:
        super().__init__()
        self.list: list[Kind] = []
        self._numbers: dict[Kind, int] = {}
        self.twins: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.streams: npt.NDArray[np.bool_] = np.empty(0, np.bool_)

    def __missing__(self, key: _Key) -> int:
        event, model, path, operation, method, status, outcome, finish_reason, stream = key
        if event != REQUEST:
            self[key] = NOT_A_REQUEST
            return NOT_A_REQUEST
        if method is None or path is None or status is None or not 100 <= status <= 599:
            raise OddBlockError("a field is missing or out of range")  # not kept: bad input must not fill the table
        kind = Kind(
            (model or "unknown")[:LABEL_LENGTH],
            (operation or operation_of(path) or "unknown")[:LABEL_LENGTH],
            status,
            outcome_of(status, finish_reason, outcome),
            finish_reason and finish_reason[:LABEL_LENGTH],
            stream is not False,
        )
        if outcome not in OUTCOMES and kind.outcome == "ok" and kind.operation in GENERATION and 200 <= status < 300:
            # The line does not say its outcome: no token at all means `empty` (see `columns`).
            kind = replace(kind, empty_twin=self._number(replace(kind, outcome="empty")))
        number = self[key] = self._number(kind)
        return number

    def _number(self, kind: Kind) -> int:
        number = self._numbers.setdefault(kind, len(self.list))
        if number == len(self.list):
            self.list.append(kind)
        return number

    def of(self, rows: Sequence[RequestRecord]) -> npt.NDArray[np.int32]:
        """The number of each record's kind.

        Raises:
            OddBlockError: a record lacks a required field.
        """
        numbers = np.fromiter(
            [
                self[
                    r.event, r.model, r.path, r.operation, r.method, r.status, r.outcome, r.finish_reason, r.stream
                ]
                for r in rows
            ],
            np.int32,
            len(rows),
        )  # fmt: skip
        if len(self.twins) != len(self.list):
            self.twins = np.array([kind.empty_twin for kind in self.list], np.int32)
            self.streams = np.array([kind.stream for kind in self.list], np.bool_)
        return numbers

    @property
    def is_full(self) -> bool:
        """Whether so many keys were seen (a hostile or broken writer) that it is time to begin anew."""
        return len(self) > MOST_KINDS


@dataclass(slots=True)
class Events:
    """The events of n requests as columns; a column is None when nothing in it is known, NaN is one unknown value.

    Status events: `kind` (into `kinds.list`), `time_ms`. Token events: the counts. Duration events: the times in ms;
    `tpot_ms` is the engine's, else reckoned for streams of at least 16 tokens.
    """

    kind: npt.NDArray[np.int32]
    time_ms: Ints
    duration_ms: Floats
    prompt_tokens: Floats
    completion_tokens: Floats
    cached_tokens: Floats | None
    reasoning_tokens: Floats | None
    max_tokens: Floats | None
    tool_calls: Floats | None
    ttft_ms: Floats | None
    stall_max_ms: Floats | None
    queue_ms: Floats | None
    prefill_ms: Floats | None
    decode_ms: Floats | None
    tpot_ms: Floats | None

    def __len__(self) -> int:
        return len(self.kind)


def columns(rows: Sequence[RequestRecord], kind: npt.NDArray[np.int32], kinds: Kinds, now_ms: int) -> Events:
    """The columns of request records, `kind` being their numbers from `kinds.of`.

    Raises:
        OddBlockError: a value is missing or out of range somewhere; `decode.lines` tells which.
    """
    try:
        duration = np.array([r.duration_ms for r in rows], np.float64)
        prompt = np.array([r.prompt_tokens for r in rows], np.float64)
        completion = np.array([r.completion_tokens for r in rows], np.float64)
        times = _times([r.time for r in rows], now_ms)
    except (TypeError, ValueError, OverflowError, LineError) as error:  # UNSET, None, or an integer beyond all bounds
        raise OddBlockError("a field is missing or out of range") from error
    if len(rows) and np.isnan(duration).any():
        raise OddBlockError("`duration_ms` is missing")
    _within(prompt, MOST_TOKENS)
    _within(completion, MOST_TOKENS)
    _within(duration, LONGEST_MS)
    rare = {name: _rare([getattr(r, name) for r in rows], MOST_TOKENS) for name in _RARE_COUNTS}
    rare |= {name: _rare([getattr(r, name) for r in rows], LONGEST_MS) for name in _RARE_DURATIONS}
    _rare([r.preemptions for r in rows], MOST_TOKENS)
    _rare([r.n for r in rows], MOST_TOKENS)
    twin = kinds.twins[kind]
    kind = np.where((completion == 0) & (twin >= 0), twin, kind)
    rare["tpot_ms"] = _time_per_token(rare["tpot_ms"], rare["ttft_ms"], duration, completion, kinds.streams[kind])
    return Events(kind, times, duration, prompt, completion, **rare)


_RARE_COUNTS: Final = ("cached_tokens", "reasoning_tokens", "max_tokens", "tool_calls")
_RARE_DURATIONS: Final = tuple(name for name in DURATIONS if name != "duration_ms")
assert set(_RARE_COUNTS) | {"prompt_tokens", "completion_tokens", "preemptions", "n"} == set(COUNTS)


def _within(values: Floats, most: float) -> None:
    if ((values < 0) | (values > most)).any():
        raise OddBlockError("a number is out of range")


def _rare(values: list[Any], most: float) -> Floats | None:
    if values.count(None) == len(values):
        return None
    try:
        array = np.array(values, np.float64)
    except OverflowError as error:
        raise OddBlockError("a number is out of range") from error
    _within(array, most)
    return array


def _time_per_token(
    engine: Floats | None, ttft: Floats | None, duration: Floats, completion: Floats, stream: npt.NDArray[np.bool_]
) -> Floats | None:
    if ttft is None:
        return engine
    enough = stream & (completion >= LEAST_TOKENS_FOR_SPEED)
    with np.errstate(invalid="ignore", divide="ignore"):
        reckoned = np.where(enough, np.maximum(duration - ttft, 0.0) / (completion - 1), np.nan)
    return reckoned if engine is None else np.where(np.isnan(engine), reckoned, engine)


def _times(texts: list[str | None], now_ms: int) -> Ints:
    """RFC 3339 texts → ms since 1970. All of the form 2025-04-05T10:23:45.123Z at once, others one by one."""
    joined = "".join(cast(list[str], texts))
    count = len(texts)
    times: Ints
    if len(joined) == 24 * count and joined.isascii() and count:
        octets = np.frombuffer(joined.encode("ascii"), np.uint8).reshape(count, 24)
        if (octets[:, [10, 19, 23]] == _T_DOT_Z).all():
            stamps = octets.view("S24").ravel().astype("S23")
            times = stamps.astype("M8[ms]").astype(np.int64)
        else:
            times = _one_by_one(texts, now_ms)
    else:
        times = _one_by_one(texts, now_ms)
    if count and (times.min() < YEAR_2015_MS or times.max() > now_ms + DAY_MS):
        raise OddBlockError("a time is out of range")
    return times


_T_DOT_Z: Final = np.frombuffer(b"T.Z", np.uint8)


def _one_by_one(texts: Sequence[str | None], now_ms: int) -> Ints:
    return np.array([parse_time(text, now_ms) for text in texts], np.int64)


def concatenate(parts: Sequence[Events]) -> Events:
    """Events of several batches of the same `Kinds`, one after the other."""
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {}
    for field in fields(Events):
        arrays = [getattr(part, field.name) for part in parts]
        if all(array is None for array in arrays):
            joined[field.name] = None
        else:
            joined[field.name] = np.concatenate(
                [
                    np.full(len(part), np.nan) if array is None else array
                    for part, array in zip(parts, arrays, strict=True)
                ]
            )
    return Events(**joined)
