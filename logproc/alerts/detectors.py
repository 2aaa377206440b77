"""What is wrong when: the shares of requests that are bad, second by second, judged by bound and guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from logproc.alerts.alert import SEVERITIES, Kind
from logproc.alerts.columns import Columns, Ints, levels, severities
from logproc.alerts.guard import LEAST_BAD, wilson_lower
from logproc.alerts.windows import LONG_S, SHORT_S, rolling
from logproc.settings import Thresholds

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

    def columns_of(self, level: int) -> tuple[int, int]:
        """The columns that count what is bad at a level, and of what."""
        return self.bad_columns[self._severities.index(SEVERITIES[level - 1])], self.of_column

    def judge(self, model: str, short: Ints, long: Ints) -> Judged:
        """Judge every second by the sums over the short and the long window; shape (seconds, columns)."""
        count = len(short)
        level = np.zeros(count, np.int8)
        is_well, is_odd = np.ones(count, np.bool_), np.zeros(count, np.bool_)
        seen_now, seen = short[:, self.of_column], long[:, self.of_column]
        mildest = True
        for name, column in zip(self._severities, self.bad_columns, strict=True):
            number = SEVERITIES.index(name) + 1
            allowed = self.allowed(model, number)
            if allowed is None or not long[:, column].any():
                continue
            bad_now, bad = short[:, column], long[:, column]
            too_many = bad_now > allowed * seen_now
            sure = (bad_now >= LEAST_BAD) & (wilson_lower(bad_now, seen_now) > allowed)
            sure |= too_many & (bad >= LEAST_BAD) & (wilson_lower(bad, seen) > allowed)
            level[sure] = number
            if mildest:
                # No request within a minute tells nothing; none within the long window ends it.
                is_well = (~too_many & (seen_now > 0)) | (seen == 0)
                is_odd = too_many & (bad_now >= 2)
                mildest = False
        return Judged(level, is_well, is_odd, seen)


def windows(series: Ints, lead: int = LONG_S) -> tuple[Ints, Ints]:
    """The sums over the short and the long window at each second after the first `lead` of a series."""
    return rolling(series, SHORT_S, lead), rolling(series, LONG_S, lead)
