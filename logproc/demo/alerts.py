"""The alerts of the demo as it shows them: the newest entry of each, as short lines and as sentences."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from logproc.alerts.alert import Alert
from logproc.alerts.record import after

_STYLES = {"firing": "bold red", "pending": "yellow", "resolved": "green"}


class Alerts:
    """Reads what `measure` has committed."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._seq = 0
        self.newest: dict[str, Alert] = {}
        """By id, in the order in which they began."""
        self._fired: set[str] = set()

    @property
    def fired(self) -> list[Alert]:
        """The newest of those that did not pass while they were pending."""
        return [each for each in self.newest.values() if each.id in self._fired]

    def read(self) -> list[Alert]:
        """The entries that came since the last time; none while the database cannot be read."""
        try:
            found = after(self._database, self._seq)
        except sqlite3.Error:
            return []
        for seq, alert in found:
            self._seq = seq
            self.newest[alert.id] = alert
            if alert.state == "firing":
                self._fired.add(alert.id)
        return [alert for _, alert in found]


def short(alert: Alert) -> Text:
    """One line of 64 columns at most: state, kind, since when, and why."""
    told = Text.assemble((f"{alert.state:8} ", _STYLES[alert.state]), f"{alert.kind} ", f"since {alert.since[11:19]}")
    share = alert.shares.get(alert.cause or "", 0.0)
    if alert.cause is not None:
        told.append(f": {alert.cause}" + (f", {share:.0%} of it" if share else ""), "cyan")
    return told


def sentences(alerts: Sequence[Alert]) -> Text:
    """Every alert as a person reads it."""
    return Text("\n").join(Text(alert.text["en"]) for alert in alerts) if alerts else Text("none", "dim")
