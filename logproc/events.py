"""Records → columns: the token, duration and status events of a batch, as arrays.

Whatever has few values (model, status, outcome, …) is one `Kind`, numbered once; whatever is a number is an array of
float64 in which NaN is unknown. No Python object is made per event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from logproc.decode import YEAR_2015_MS, LineError, OddBlockError
from logproc.decode import time_ms as parse_time
from logproc.kinds import Kinds
from logproc.learned import ALL_FIELDS
from logproc.record import DAY_MS, RequestRecord

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_TOKENS_FOR_SPEED: Final = 16
"""Fewer tokens say nothing about the decode speed of one request."""

LATE_S: Final = 60
"""A record that is so far behind the newest of its file counts in the metrics only."""

TOO_LATE: Final = -1
"""In place of the second of such a record."""


@dataclass(slots=True)
class Events:
    """The events of n requests as columns; a column is None when nothing in it is known, NaN is one unknown value.

    Status events: `kind` (into `kinds.list`), `time_ms`, and `second`: seconds since 1970, or TOO_LATE. Token events:
    the counts. Duration events: the times in ms; `tpot_ms` is the engine's, else reckoned for streams of at least 16
    tokens.
    """

    kind: npt.NDArray[np.int32]
    time_ms: Ints
    second: Ints
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

    def uncached(self, which: Ints) -> Floats:
        """Prompt tokens of some of them that were not in the prefix cache; 0 where that is not known."""
        prompt = _or_0(self.prompt_tokens.take(which))
        if self.cached_tokens is None:
            return prompt
        return np.maximum(prompt - _or_0(self.cached_tokens.take(which)), 0.0)


class Lines(NamedTuple):
    """The lines of the requests of one block, for those of which something more is asked."""

    first_line: bytes
    """See `Block.first_line`."""
    start: int
    data: bytes
    ends: Ints
    """Where in `data` each line ends, without its newline."""
    places: Ints | None
    """Which of the lines are the requests; None: all."""
    origins: Sequence[int] | None
    """Where in the source each line begins; None: one after the other from `start` on."""

    def __len__(self) -> int:
        return len(self.ends if self.places is None else self.places)

    def some(self, rows: Ints) -> tuple[list[int], list[bytes]]:
        """Of requests by their places among them the offsets of their lines in the source, and the lines."""
        places = rows if self.places is None else self.places[rows]
        begins, ends = np.where(places > 0, self.ends[places - 1] + 1, 0).tolist(), self.ends[places].tolist()
        if self.origins is None:
            offsets = [self.start + begin for begin in begins]
        else:
            offsets = [self.origins[place] for place in places.tolist()]
        return offsets, [self.data[begin:end] for begin, end in zip(begins, ends, strict=True)]


class Gathered:
    """The events of several blocks on their way to become arrays: numpy is slow for few values, and quick for many."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.newest_s = 0
        """The newest second read so far in the source of the next block, but never in the future."""
        self._reset()

    def _reset(self) -> None:
        self._count = 0
        self._kind: list[npt.NDArray[np.int32]] = []
        self._times: list[Ints] = []
        self._seconds: list[Ints] = []
        self._columns: dict[str, list[Floats]] = {}
        self._lines: list[Lines] = []
        self.kept_bytes = 0

    def __len__(self) -> int:
        return self._count

    def add(
        self,
        rows: Sequence[RequestRecord],
        kind: npt.NDArray[np.int32],
        now_ms: int,
        present: frozenset[str] = ALL_FIELDS,
        others: Sequence[tuple[int, int]] = (),
    ) -> list[int]:
        """Take request records, `kind` being their numbers from `kinds.of`; only `present` fields are looked at.

        `others` are the records between them, in order: how many of `rows` stand before it, and its second. Returned
        are the seconds of these, TOO_LATE as in `Events.second`.

        Raises:
            OddBlockError: a value is missing, or a time is none; nothing was taken. `decode.lines` tells which.
        """
        try:
            times = _times([r.time for r in rows], now_ms)
            made = {name: np.fromiter(values(rows), np.float64, len(rows)) for name, values in _ALWAYS.items()}
        except (TypeError, ValueError, LineError) as error:  # TypeError: UNSET; None becomes NaN
            raise OddBlockError("a field is missing, or a time is wrong") from error
        if np.isnan(made["duration_ms"]).any():
            raise OddBlockError("`duration_ms` is missing")
        for name, values in _RARE.items():
            if name in present:
                column = values(rows)
                if column.count(None) < len(column):
                    made[name] = np.fromiter(column, np.float64, len(column))
        if rows:
            for name in made.keys() | self._columns.keys():
                if name not in self._columns:
                    self._columns[name] = [np.full(self._count, np.nan)] if self._count else []
                self._columns[name].append(made[name] if name in made else np.full(len(rows), np.nan))
            self._kind.append(kind)
            self._times.append(times)
        seconds, of_others = times // 1000, np.empty(0, np.int64)
        if others:
            places, between = (np.array(each) for each in zip(*others, strict=True))
            merged = self._marked(np.insert(seconds, places, between), now_ms // 1000)
            places += np.arange(len(places))
            seconds, of_others = np.delete(merged, places), merged[places]
        else:
            seconds = self._marked(seconds, now_ms // 1000)
        if rows:
            self._seconds.append(seconds)
        self._count += len(rows)
        return of_others.tolist()

    def _marked(self, seconds: Ints, now_s: int) -> Ints:
        """The seconds of records in their order; those that come too late after newer ones of their source marked."""
        if not len(seconds):
            return seconds
        before = self.newest_s
        if seconds.max() <= now_s:
            self.newest_s = max(before, int(seconds.max()))
            if seconds.min() >= self.newest_s - LATE_S:
                return seconds
        newest = np.maximum.accumulate(np.where(seconds <= now_s, seconds, before))
        self.newest_s = max(before, int(newest[-1]))
        seconds[seconds < np.maximum(newest, before) - LATE_S] = TOO_LATE
        return seconds

    def keep(self, lines: Lines) -> None:
        """Keep the lines of the records that were just added, until these are taken."""
        if len(lines):
            self._lines.append(lines)
            self.kept_bytes += len(lines.data)

    @property
    def lines(self) -> list[Lines]:
        """What was kept, in the order of the events; `take` begins a new list."""
        return self._lines

    def take(self) -> Events:
        """Everything gathered, as arrays; what comes next begins anew."""
        kind = np.concatenate(self._kind) if self._kind else np.empty(0, np.int32)
        times = np.concatenate(self._times) if self._times else np.empty(0, np.int64)
        seconds = np.concatenate(self._seconds) if self._seconds else np.empty(0, np.int64)
        column = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        self._reset()
        duration, prompt, completion = (column.get(name, np.empty(0)) for name in _ALWAYS)
        twin = self.kinds.twins[kind]
        if (twin >= 0).any():
            kind = np.where((completion == 0) & (twin >= 0), twin, kind)
        rare = {name: column.get(name) for name in _RARE}
        stream = self.kinds.streams[kind]
        rare["tpot_ms"] = _time_per_token(rare["tpot_ms"], rare["ttft_ms"], duration, completion, stream)
        return Events(kind, times, seconds, duration, prompt, completion, **rare)


def columns(
    rows: Sequence[RequestRecord],
    kind: npt.NDArray[np.int32],
    kinds: Kinds,
    now_ms: int,
    present: frozenset[str] = ALL_FIELDS,
) -> Events:
    """The columns of request records, `kind` being their numbers from `kinds.of`; only `present` fields are looked at.

    Raises:
        OddBlockError: see `Gathered.add`.
    """
    gathered = Gathered(kinds)
    gathered.add(rows, kind, now_ms, present)
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


def _or_0(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)


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
    times = _at_once(texts)
    if times is None:
        times = np.array([parse_time(text, now_ms) for text in texts], np.int64)
    if len(texts) and (times.min() < YEAR_2015_MS or times.max() > now_ms + DAY_MS):
        raise OddBlockError("a time is out of range")
    return times


def _at_once(texts: list[str | None]) -> Ints | None:
    """As `_times`, where all texts are of the usual form; None where they are not."""
    joined = "".join(cast(list[str], texts))
    count = len(texts)
    if not count or len(joined) != 24 * count or not joined.isascii():
        return None
    octets = np.frombuffer(joined.encode("ascii"), np.uint8).reshape(count, 24)
    # numpy also takes blanks and offsets where digits should stand: `time_ms` does not.
    if (octets[:, [10, 19, 23]] != _T_DOT_Z).any() or np.count_nonzero(octets - _ZERO < 10) != 17 * count:
        return None
    try:
        return octets.view("S24").ravel().astype("S23").astype("M8[ms]").astype(np.int64)
    except ValueError:  # a leap second, a date by its week
        return None


_T_DOT_Z: Final = np.frombuffer(b"T.Z", np.uint8)
_ZERO: Final = np.uint8(ord("0"))
