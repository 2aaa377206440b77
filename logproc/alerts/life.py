"""The life of an alert: pending → firing → resolved. It ends only when all has been well a while."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from logproc.alerts.alert import SEVERITIES, Alert, Severity

CALM_S: Final = 300
"""So long all must be well before an alert is resolved."""

Change = Literal["pending", "firing", "resolved"]


class Life(msgspec.Struct):
    """One alert that has begun and not ended. Seconds are log time, since 1970; `level` counts SEVERITIES from 1."""

    since: int
    began: int
    """The second at which it was noticed."""
    level: int
    firing: bool = False
    calm_since: int | None = None
    last: Alert | None = None
    """Its newest entry."""
    told_behind: bool = False
    """Whether nobody was told yet, because that entry was written while we were behind."""

    @property
    def severity(self) -> Severity:
        """The highest level that was passed."""
        return SEVERITIES[self.level - 1]

    def step(self, second: int, level: int, for_s: float, *, is_well: bool) -> Change | None:
        """What this second changes. `level` is 0 while no bound is passed; `is_well` says that the trouble is over."""
        if not self.firing:
            if not level:
                return "resolved"
            self.level = max(self.level, level)
            if second - self.began >= for_s:
                self.firing = True
                return "firing"
            return None
        if level:
            self.calm_since = None
            if level > self.level:
                self.level = level
                return "firing"
            return None
        if not is_well:
            self.calm_since = None
        elif self.calm_since is None:
            self.calm_since = second
        elif second - self.calm_since >= CALM_S:
            return "resolved"
        return None

    def unchanged_for(self, second: int, level: npt.NDArray[np.int8], is_well: npt.NDArray[np.bool_]) -> int:
        """In how many of the seconds from `second` on `step` would change nothing; shape of both arrays (seconds,)."""
        if not self.firing:
            return 0
        if self.calm_since is None:
            news = (level > self.level) | ((level == 0) & is_well)
        else:
            news = (level > 0) | ~is_well
            news[max(0, self.calm_since + CALM_S - second) :] = True
        return int(np.argmax(news)) if news.any() else len(news)
