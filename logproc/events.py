"""Records → columns: the token, duration and status events of a batch, as arrays.

Whatever has few values (model, status, outcome, …) is one `Kind`, numbered once; whatever is a number is an array of
float64 in which NaN is unknown. No Python object is made per event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from logproc.decode import YEAR_2015_MS, LineError, OddBlockError
from logproc.decode import time_ms as parse_time
from logproc.learned import ALL_FIELDS, DEFAULTS, LearnedDecoder
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

_KEY: Final = ("event", "model", "path", "operation", "method", "status", "outcome", "finish_reason", "stream")

NOT_A_REQUEST: Final = -1


@lru_cache(maxsize=256)
def _look_up(present: frozenset[str]) -> Callable[[Kinds, Sequence[RequestRecord]], list[int]]:
    """A comprehension over the key's attributes by their literal names, with constants for those not present.

    It is made as text because nothing else in Python comes near its speed: this is the line that costs most.
    """
    key = ", ".join(f"r.{name}" if name in present else repr(DEFAULTS[name]) for name in _KEY)
    made: Callable[[Kinds, Sequence[RequestRecord]], list[int]] = eval(  # noqa: S307 - of names in this file only
        f"lambda kinds, rows: [kinds[{key}] for r in rows]"
    )
    return made


class Kinds(dict[_Key, int]):
    """Numbers the kinds as they appear. Lines that are no requests get NOT_A_REQUEST."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = LearnedDecoder()
        self.list: list[Kind] = []
        self._numbers: dict[Kind, int] = {}
        self.twins: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.streams: npt.NDArray[np.bool_] = np.empty(0, np.bool_)

    def __missing__(self, key: _Key) -> int:
        event, model, path, operation, method, status, outcome, finish_reason, stream = key
        if event != REQUEST:
            self[key] = NOT_A_REQUEST
            return NOT_A_REQUEST
        if method is None or path is None or status is None:
            raise OddBlockError("a field is missing")  # not kept: bad input must not fill the table
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

    def of(self, rows: Sequence[RequestRecord], present: frozenset[str] = ALL_FIELDS) -> npt.NDArray[np.int32]:
        """The number of each record's kind; fields that are not `present` are not looked at.

        Raises:
            OddBlockError: a record lacks a required field.
        """
        numbers = np.fromiter(_look_up(present)(self, rows), np.int32, len(rows))
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


class Gathered:
    """The events of several blocks on their way to become arrays: numpy is slow for few values, and quick for many."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self._reset()

    def _reset(self) -> None:
        self._count = 0
        self._kind: list[npt.NDArray[np.int32]] = []
        self._times: list[Ints] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in _ALWAYS}

    def __len__(self) -> int:
        return self._count

    def add(
        self,
        rows: Sequence[RequestRecord],
        kind: npt.NDArray[np.int32],
        now_ms: int,
        present: frozenset[str] = ALL_FIELDS,
    ) -> None:
        """Take request records, `kind` being their numbers from `kinds.of`; only `present` fields are looked at.

        Raises:
            OddBlockError: a value is missing, or a time is none; nothing was taken. `decode.lines` tells which.
        """
        try:
            times = _times([r.time for r in rows], now_ms)
        except (TypeError, ValueError, LineError) as error:
            raise OddBlockError("a time is missing or wrong") from error
        always = {name: values(rows) for name, values in _ALWAYS.items()}
        if None in always["duration_ms"] or UNSET in always["prompt_tokens"] or UNSET in always["completion_tokens"]:
            raise OddBlockError("a field is missing")
        self._kind.append(kind)
        self._times.append(times)
        for name, column in always.items():
            self._columns[name] += column
        for name, values in _RARE.items():
            if name in present:
                if name not in self._columns:
                    self._columns[name] = [None] * self._count
                self._columns[name] += values(rows)
            elif name in self._columns:
                self._columns[name] += [None] * len(rows)
        self._count += len(rows)

    def take(self) -> Events:
        """Everything gathered, as arrays; what comes next begins anew."""
        kind = np.concatenate(self._kind) if self._kind else np.empty(0, np.int32)
        times = np.concatenate(self._times) if self._times else np.empty(0, np.int64)
        column = {name: _array(self._columns.get(name)) for name in (*_ALWAYS, *_RARE)}
        self._reset()
        duration, prompt, completion = (_or_unknown(column.pop(name), len(kind)) for name in _ALWAYS)
        twin = self.kinds.twins[kind]
        if (twin >= 0).any():
            kind = np.where((completion == 0) & (twin >= 0), twin, kind)
        stream = self.kinds.streams[kind]
        column["tpot_ms"] = _time_per_token(column["tpot_ms"], column["ttft_ms"], duration, completion, stream)
        return Events(kind, times, duration, prompt, completion, **column)


def columns(rows: Sequence[RequestRecord], kind: npt.NDArray[np.int32], kinds: Kinds, now_ms: int) -> Events:
    """The columns of request records, `kind` being their numbers from `kinds.of`.

    Raises:
        OddBlockError: see `Gathered.add`.
    """
    gathered = Gathered(kinds)
    gathered.add(rows, kind, now_ms)
    return gathered.take()


_Values = Callable[[Sequence[RequestRecord]], list[Any]]

# An attribute by its literal name is read five times as fast as by `getattr`.
_ALWAYS: Final[dict[str, _Values]] = {
    "duration_ms": lambda rows: [r.duration_ms for r in rows],
    "prompt_tokens": lambda rows: [r.prompt_tokens for r in rows],
    "completion_tokens": lambda rows: [r.completion_tokens for r in rows],
}
_RARE: Final[dict[str, _Values]] = {
    "cached_tokens": lambda rows: [r.cached_tokens for r in rows],
    "reasoning_tokens": lambda rows: [r.reasoning_tokens for r in rows],
    "max_tokens": lambda rows: [r.max_tokens for r in rows],
    "tool_calls": lambda rows: [r.tool_calls for r in rows],
    "ttft_ms": lambda rows: [r.ttft_ms for r in rows],
    "stall_max_ms": lambda rows: [r.stall_max_ms for r in rows],
    "queue_ms": lambda rows: [r.queue_ms for r in rows],
    "prefill_ms": lambda rows: [r.prefill_ms for r in rows],
    "decode_ms": lambda rows: [r.decode_ms for r in rows],
    "tpot_ms": lambda rows: [r.tpot_ms for r in rows],
}


def _array(values: list[Any] | None) -> Floats | None:
    """Unknown values become NaN; None when all are unknown."""
    if values is None or values.count(None) == len(values):
        return None
    return np.array(values, np.float64)


def _or_unknown(array: Floats | None, count: int) -> Floats:
    return np.full(count, np.nan) if array is None else array


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
