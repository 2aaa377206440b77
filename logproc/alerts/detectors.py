"""What is wrong when: the shares of requests that are bad, second by second, judged by bound and guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from logproc.alerts.alert import SEVERITIES, Kind
from logproc.alerts.columns import Columns, Ints, levels, severities
from logproc.alerts.guard import LEAST_BAD, wilson_lower
from logproc.alerts.usual import Hours
from logproc.alerts.windows import LONG_S, SHORT_S, rolling
from logproc.settings import Thresholds

MORE_THAN_USUAL: Final = 2.0
"""So many times the usual share of slow requests of any size are allowed."""

PIECE_S: Final = 10
LEAST_PIECES: Final = 4
"""In so many pieces of a window, of so many seconds, there must have been too many bad requests."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Share:
    """A kind of alert about the share of requests that are bad."""

    kind: Kind
    threshold: str
    of: str
    """The column that counts what can be bad."""
    bad: str | None = None
    """The column that counts what is; None where each level has one of its own."""
    allowed: float | None = None
    """The share that may be bad; None where that is what the threshold says."""


SHARES: Final = (
    Share("latency_p99", "duration_s", "timed", allowed=0.01),
    Share("latency_p95", "duration_p95_s", "timed", allowed=0.05),
    Share("ttft", "ttft_s", "first_tokens", allowed=0.05),
    Share("tokens_per_second", "tokens_per_second", "speeds", allowed=0.05),
    Share("errors", "error_ratio", "answerable", bad="errors"),
    Share("empty", "empty_ratio", "generations", bad="empties"),
)


@dataclass(frozen=True)
class Judged:
    """A stretch of seconds, judged for one kind and one model; arrays have the shape (seconds,).

    `level` counts SEVERITIES from 1, 0 is none. `is_well`: so few are bad now that an alert may end. `is_odd`: too many
    are bad now, but too few were seen to be sure. `seen`: how many were seen within the long window.
    """

    level: npt.NDArray[np.int8]
    is_well: Mask
    is_odd: Mask
    seen: Ints


class ShareDetector:
    """Judges one kind for the models of one set of thresholds."""

    def __init__(self, share: Share, thresholds: Thresholds, columns: Columns) -> None:
        self.share = share
        self.kind = share.kind
        self._thresholds = thresholds
        names = severities(thresholds, share.threshold)
        self._severities = names
        self.bad_columns = [columns.at[share.bad or f"{share.threshold}:{name}"] for name in names]
        self.of_column = columns.at[share.of]
        self.any_size_columns = [columns.at.get(f"{share.threshold}:{name}:any_size") for name in names]
        """Those that count requests of any size; None where size does not matter."""
        self._usual: dict[str, tuple[int, list[float | None]]] = {}

    @property
    def columns(self) -> set[int]:
        """The columns that it looks at."""
        any_size = [column for column in self.any_size_columns if column is not None]
        return {self.of_column, *self.bad_columns, *any_size}

    @property
    def is_on(self) -> bool:
        """Whether there is any level to judge by."""
        return bool(self._severities)

    def for_s(self, model: str) -> float:
        """How long it must hold, seconds."""
        return levels(self._thresholds, model, self.share.threshold).for_s

    def bound(self, model: str, level: int) -> float | None:
        """The bound of a level, in the unit of the threshold."""
        found: float | None = getattr(levels(self._thresholds, model, self.share.threshold), SEVERITIES[level - 1])
        return found

    def allowed(self, model: str, level: int) -> float | None:
        """The share that may be bad at a level; None where the model has no such level."""
        bound = self.bound(model, level)
        return bound if bound is None or self.share.allowed is None else self.share.allowed

    def columns_of(self, level: int, total: Ints) -> tuple[int, int]:
        """The columns that count what is bad at a level, and of what: those that tell of the trouble in `total`.

        `total` are the sums of all columns, shape (columns,).
        """
        place = self._severities.index(SEVERITIES[level - 1])
        bad, any_size = self.bad_columns[place], self.any_size_columns[place]
        if any_size is not None and (total[bad] < LEAST_BAD or 2 * total[bad] < total[any_size]):
            bad = any_size
        return bad, self.of_column

    def usual(self, model: str, hour: int, hours: Hours) -> list[float | None]:
        """The usual share of requests of any size over each level; None where it is not known."""
        known = self._usual.get(model)
        if known is None or known[0] != hour:
            shares = [
                None if column is None else hours.usual_share(model, hour, column, self.of_column)
                for column in self.any_size_columns
            ]
            known = self._usual[model] = hour, shares
        return known[1]

    def judge(self, model: str, series: Ints, short: Ints, long: Ints, usual: list[float | None]) -> Judged:
        """Judge every second by the sums over the short and the long window; shape (seconds, columns).

        `series` are the seconds themselves, LONG_S of them before the first that is judged. A request that is over a
        level, but not slow for its size, counts too where it is known which share of them is usual for the model: then
        that many more are allowed.
        """
        count = len(short)
        level = np.zeros(count, np.int8)
        is_well, is_odd = np.ones(count, np.bool_), np.zeros(count, np.bool_)
        seen_now, seen = short[:, self.of_column], long[:, self.of_column]
        mildest = True
        for place, name in enumerate(self._severities):
            number = SEVERITIES.index(name) + 1
            allowed = self.allowed(model, number)
            if allowed is None:
                continue
            ways = [(self.bad_columns[place], allowed)]
            any_size, share = self.any_size_columns[place], usual[place]
            if any_size is not None and share is not None:
                ways.append((any_size, max(allowed, MORE_THAN_USUAL * share)))
            for column, most in ways:
                if most >= 1 or not long[:, column].any():
                    continue
                bad_now, bad = short[:, column], long[:, column]
                too_many = bad_now > most * seen_now
                sure = (bad_now >= LEAST_BAD) & (wilson_lower(bad_now, seen_now) > most)
                sure &= _lasts(series[:, column], series[:, self.of_column], most, SHORT_S, sure)
                over_long = too_many & (bad >= LEAST_BAD) & (wilson_lower(bad, seen) > most)
                over_long &= _lasts(series[:, column], series[:, self.of_column], most, LONG_S, over_long)
                level[sure | over_long] = number
                if mildest:
                    # No request within a minute tells nothing; none within the long window ends it.
                    is_well &= (~too_many & (seen_now > 0)) | (seen == 0)
                    is_odd |= too_many & (bad_now >= 2)
            mildest = False
        return Judged(level, is_well, is_odd, seen)


def _lasts(bad: Ints, seen: Ints, allowed: float, window_s: int, wanted: Mask) -> Mask:
    """Whether the trouble goes on: too many were bad in several pieces of the window, at the seconds that are `wanted`.

    `bad` and `seen` are counts by second, LONG_S of them before the first second in question. Requests are not bad
    independently of each other: a pause of a few seconds makes all slow that it meets, and is over.
    """
    if not wanted.any():
        return wanted
    of_bad, of_seen = (np.concatenate([[0], np.cumsum(each)]) for each in (bad, seen))
    expected = allowed * (of_seen[PIECE_S:] - of_seen[:-PIECE_S])
    too_many = of_bad[PIECE_S:] - of_bad[:-PIECE_S] > expected + np.sqrt(expected)  # by the place where a piece begins
    every = np.zeros(-(-len(too_many) // PIECE_S) * PIECE_S, np.int64)
    every[: len(too_many)] = too_many
    until = every.reshape(-1, PIECE_S).cumsum(axis=0).ravel()  # of all pieces that lie whole pieces before one
    newest = np.arange(len(wanted)) + LONG_S + 1 - PIECE_S
    oldest = newest - window_s
    pieces = until[newest] - np.where(oldest >= 0, until[np.maximum(oldest, 0)], 0)
    lasts: Mask = wanted & (pieces >= LEAST_PIECES)
    return lasts


def windows(series: Ints, columns: Sequence[int]) -> tuple[Ints, Ints]:
    """The sums of some columns over the short and the long window at each second after the first LONG_S of a series;
    of the others 0.
    """
    short, long = (np.zeros((len(series) - LONG_S, series.shape[1]), np.int64) for _ in range(2))
    wanted = series[:, columns]
    short[:, columns], long[:, columns] = rolling(wanted, SHORT_S, LONG_S), rolling(wanted, LONG_S, LONG_S)
    return short, long
