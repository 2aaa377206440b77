"""What many requests came to, minute by minute: counts, sums and sketches, small enough to be kept for years."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from logproc.sketch import BINS, GAMMA, bin_values, bins_at

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COUNTS: Final = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens")
"""Whole numbers of each row; tokens are the sums over the requests whose number is known."""
TIMES: Final = ("duration_ms", "ttft_ms", "queue_ms", "prefill_ms", "decode_ms", "timed_ms")
"""Sums of times of each row, ms, over the requests whose time is known; the last one is the duration of those of which
the queue, the prefill or the decode is known."""
SKETCHES: Final = ("duration_ms", "ttft_ms")
"""Times of which the distribution is kept too."""

MINUTE_MS: Final = 60_000
_GROUPS_AT_ONCE: Final = 500
"""Groups of which the whole sketches are in memory, 14 KB each."""
_FORM: Final = 2


class RollupKind(NamedTuple):
    """What the requests of one row share; None is unknown. Rows by `who` have no operation."""

    model: str | None
    operation: str | None
    outcome: str
    who: str | None = None


class Sketch(NamedTuple):
    """How often a value of each row fell into each bin (`logproc/sketch.py`): three arrays of one length."""

    rows: Ints
    bins: Ints
    counts: Ints


@dataclass(frozen=True, slots=True)
class Rollup:
    """n rows, each one kind in one minute. Rows of the same minute and kind may come more than once: they add up.

    `minute` (n,) is minutes since 1970 (or shorter units, where so said), `kind` (n,) stands in `kinds`, `counts` is
    (n, len(COUNTS)), `times` is (n, len(TIMES)) in ms, `sketches` is one for each of SKETCHES.
    """

    kinds: tuple[RollupKind, ...]
    minute: Ints
    kind: Ints
    counts: Ints
    times: Floats
    sketches: tuple[Sketch, ...]

    def __len__(self) -> int:
        return len(self.minute)

    def rows(self, wanted: npt.NDArray[np.bool_]) -> Rollup:
        """Only the rows where `wanted` (n,) is true."""
        if wanted.all():
            return self
        place = np.cumsum(wanted) - 1
        sketches = []
        for each in self.sketches:
            kept = wanted[each.rows]
            sketches.append(Sketch(place[each.rows[kept]], each.bins[kept], each.counts[kept]))
        return Rollup(
            self.kinds,
            self.minute[wanted],
            self.kind[wanted],
            self.counts[wanted],
            self.times[wanted],
            tuple(sketches),
        )

    def between(self, since_ms: int | None, until_ms: int | None) -> Rollup:
        """Only the minutes that begin in this range of time (None: without end)."""
        begins = self.minute * MINUTE_MS
        wanted = np.ones(len(self), np.bool_)
        if since_ms is not None:
            wanted &= begins >= since_ms
        if until_ms is not None:
            wanted &= begins < until_ms
        return self.rows(wanted)

    def of(self, models: Sequence[str], outcomes: Sequence[str]) -> Rollup:
        """Only the kinds that have one of these models and one of these outcomes; empty means any."""
        if not models and not outcomes:
            return self
        fits = [
            (not models or each.model in models) and (not outcomes or each.outcome in outcomes) for each in self.kinds
        ]
        return self.rows(np.array(fits, np.bool_)[self.kind] if fits else np.zeros(len(self), np.bool_))


def sketch_of(rows: Ints, values_ms: Floats) -> Sketch:
    """The sketch of values (ms), of which each belongs to a row."""
    cells, counts = np.unique(rows * BINS + bins_at(values_ms), return_counts=True)
    return Sketch(cells // BINS, cells % BINS, counts.astype(np.int64))


def joined_sketches(parts: Sequence[Sketch]) -> Sketch:
    """Several sketches as one; their rows stay as they are."""
    if not parts:
        return Sketch(*(np.empty(0, np.int64) for _ in Sketch._fields))
    return Sketch(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def joined(rollups: Iterable[Rollup]) -> Rollup:
    """Several rollups as one."""
    parts = list(rollups)
    if len(parts) == 1:
        return parts[0]
    kinds: dict[RollupKind, int] = {}
    minute: list[Ints] = [np.empty(0, np.int64)]
    kind: list[Ints] = [np.empty(0, np.int64)]
    counts: list[Ints] = [np.empty((0, len(COUNTS)), np.int64)]
    times: list[Floats] = [np.empty((0, len(TIMES)), np.float64)]
    sketches: list[list[Sketch]] = [[] for _ in SKETCHES]
    rows = 0
    for part in parts:
        places = np.array([kinds.setdefault(each, len(kinds)) for each in part.kinds], np.int64)
        minute.append(part.minute)
        kind.append(places[part.kind] if len(part) else part.kind)
        counts.append(part.counts)
        times.append(part.times)
        for mine, its in zip(sketches, part.sketches, strict=True):
            mine.append(Sketch(its.rows + rows, its.bins, its.counts))
        rows += len(part)
    return Rollup(
        tuple(kinds),
        np.concatenate(minute),
        np.concatenate(kind),
        np.concatenate(counts),
        np.concatenate(times),
        tuple(map(joined_sketches, sketches)),
    )


def put_together(rollup: Rollup) -> Rollup:
    """One row for each kind, in the first of the minutes: what all of them came to."""
    present, row = np.unique(rollup.kind, return_inverse=True)
    counts = np.zeros((len(present), len(COUNTS)), np.int64)
    np.add.at(counts, row, rollup.counts)
    times = np.zeros((len(present), len(TIMES)))
    np.add.at(times, row, rollup.times)
    sketches = []
    for each in rollup.sketches:
        cells, place = np.unique(row[each.rows] * BINS + each.bins, return_inverse=True)
        sums = np.bincount(place, weights=each.counts, minlength=len(cells)).astype(np.int64)
        sketches.append(Sketch(cells // BINS, cells % BINS, sums))
    minute = np.full(len(present), rollup.minute.min(initial=np.iinfo(np.int64).max), np.int64)
    return Rollup(rollup.kinds, minute, present, counts, times, tuple(sketches))


def quantiles_by(sketch: Sketch, group: Ints, groups: int, at: Sequence[float]) -> list[list[float | None]]:
    """The values (ms) at the ranks `at` (0 to 1) of each group of rows, within 1 %; None for a group without values.

    `group` (n rows,) says to which group each row belongs. The answer has `groups` lists, each as long as `at`.
    """
    found: list[list[float | None]] = [[None] * len(at) for _ in range(groups)]
    owner = group[sketch.rows]
    for first in range(0, groups, _GROUPS_AT_ONCE):
        some = min(_GROUPS_AT_ONCE, groups - first)
        mine = slice(None) if some == groups else (owner >= first) & (owner < first + some)
        cells = np.bincount(
            (owner[mine] - first) * BINS + sketch.bins[mine], weights=sketch.counts[mine], minlength=some * BINS
        )
        below = cells.reshape(some, BINS).cumsum(axis=1)
        totals = below[:, -1]
        for place, rank in enumerate(at):
            wanted = np.maximum(1, np.ceil(np.round(rank * totals, 6)))  # 0.95 * 20 is 19, not a little more
            values = bin_values(np.count_nonzero(below < wanted[:, None], axis=1)).tolist()
            for each in np.flatnonzero(totals).tolist():
                found[first + each][place] = values[each]
    return found


# --- as bytes --------------------------------------------------------------------------------------------------------


class _Packed(msgspec.Struct, array_like=True):
    form: int
    gamma: float
    kinds: list[RollupKind]
    rows: int
    minute: bytes
    kind: bytes
    counts: bytes
    times: bytes
    sketches: list[tuple[int, bytes, bytes, bytes]]


def packed(rollup: Rollup, level: int = 9) -> bytes:
    """A rollup as bytes, a few for each row; a lower `level` is quicker, and needs more."""
    order = np.lexsort((rollup.minute, rollup.kind))
    place = np.empty(len(rollup), np.int64)
    place[order] = np.arange(len(rollup))
    sketches = []
    for each in rollup.sketches:
        rows = place[each.rows]
        within = np.lexsort((each.bins, rows))
        rows, bins, counts = rows[within], each.bins[within], each.counts[within]
        sketches.append((len(rows), _bytes(np.diff(rows, prepend=0)), _bytes(np.diff(bins, prepend=0)), _bytes(counts)))
    made = _Packed(
        _FORM,
        GAMMA,
        list(rollup.kinds),
        len(rollup),
        _bytes(np.diff(rollup.minute[order], prepend=0)),
        _bytes(np.diff(rollup.kind[order], prepend=0)),
        _bytes(rollup.counts[order].T),
        _bytes(np.rint(rollup.times[order].T * 1000).astype(np.int64)),
        sketches,
    )
    return zstandard.ZstdCompressor(level).compress(msgspec.msgpack.encode(made))


def unpacked(data: bytes) -> Rollup:
    """The rollup that `packed` made into these bytes.

    Raises:
        ValueError: they are none, or of a newer form.
    """
    try:
        made = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(data), type=_Packed)
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise ValueError(f"no rollup: {error}") from error
    if made.form != _FORM or not math.isclose(made.gamma, GAMMA):
        raise ValueError(f"a rollup of another form ({made.form})")
    rows = made.rows
    return Rollup(
        tuple(made.kinds),
        np.cumsum(_ints(made.minute, (rows,))),
        np.cumsum(_ints(made.kind, (rows,))),
        _ints(made.counts, (len(COUNTS), rows)).T,
        _ints(made.times, (len(TIMES), rows)).T / 1000,
        tuple(
            Sketch(np.cumsum(_ints(row, (n,))), np.cumsum(_ints(bins, (n,))), _ints(counts, (n,)))
            for n, row, bins, counts in made.sketches
        ),
    )


def _bytes(values: npt.NDArray[Any]) -> bytes:
    """Whole numbers, all lowest bytes first, then all second ones …: what is mostly zero comes together."""
    octets = np.ascontiguousarray(values, "<i8").view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(octets.T).tobytes()


def _ints(data: bytes, shape: tuple[int, ...]) -> Ints:
    octets = np.frombuffer(data, np.uint8).reshape(8, -1)
    return np.ascontiguousarray(octets.T).view("<i8").reshape(shape).astype(np.int64)
