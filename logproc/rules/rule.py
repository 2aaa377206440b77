"""What a set of rules is made of: recording rules, alerting rules, and the trials that prove the latter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Series = Mapping[str, str]
"""Input of a trial: a series with its labels, and its values in promtool's notation (`0+60x30`)."""


@dataclass(frozen=True)
class Recording:
    """A recording rule; `record` is named level:metric:operation."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Alerting:
    """An alerting rule. `kind` is that of logproc's own alerts where there is one, else a name of its own.

    `english` and `chinese` are one sentence each, with Prometheus' templates in them. Times are seconds.
    """

    name: str
    kind: str
    severity: str
    expr: str
    english: str
    chinese: str
    runbook: str
    for_s: float = 0.0
    keep_s: float = 0.0
    more_labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """What the rule adds to the labels of its expression."""
        return {"kind": self.kind, "severity": self.severity, **self.more_labels}


@dataclass(frozen=True)
class Fired:
    """An alert that a trial expects: the labels that the expression gives, and how `$value` reads in the sentence."""

    rule: Alerting
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str = ""


@dataclass(frozen=True)
class Check:
    """Which alerts of a name fire `at_s` seconds after the begin of a trial: these, and no others."""

    alert: str
    at_s: int
    fires: tuple[Fired, ...] = ()


@dataclass(frozen=True)
class Trial:
    """What is seen, a value a minute, and what is expected of it."""

    what: str
    series: Series
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated one after the other: what is recorded is there for the alerts below it."""

    name: str
    recordings: tuple[Recording, ...] = ()
    alerts: tuple[Alerting, ...] = ()
    trials: tuple[Trial, ...] = ()
