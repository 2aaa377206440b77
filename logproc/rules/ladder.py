"""One threshold → an alerting rule for each level of it and for each model that has its own, with their trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from logproc.alerts.alert import SEVERITIES
from logproc.rules.promql import LAG_LIMIT_S, quoted
from logproc.rules.rule import Alerting, Fired, Series, Trial
from logproc.rules.trial import MODEL, lag, merged, single
from logproc.settings import Levels, Thresholds

KEEP_S: Final = {"warning": 60.0, "critical": 300.0, "disaster": 300.0}
"""So long an alert goes on when its expression no longer holds. The graver ones outlast the milder ones that they
inhibit: otherwise the mild one would surface for a moment at the end of every incident."""


def runbook(kind: str) -> str:
    """Where to read what to do about an alert of this kind."""
    return f"docs/runbooks.md#{kind}"


@dataclass(frozen=True)
class Scope:
    """The models that one set of levels is for: `matchers` select them, `model` is one of them."""

    matchers: tuple[str, ...]
    model: str
    levels: Levels
    labels: Mapping[str, str]
    """What a rule for one model alone adds: without it promtool takes two rules for the same."""


def scopes(thresholds: Thresholds, key: str) -> list[Scope]:
    """All models but those with levels of their own, then each of those."""
    own = {model: levels for model, each in thresholds.models.items() if (levels := getattr(each, key)) is not None}
    others = MODEL
    while others in own:
        others += "-2"
    common: Levels = getattr(thresholds, key)
    return [
        Scope(tuple(f"model!={quoted(model)}" for model in own), others, common, {}),
        *(Scope((f"model={quoted(model)}",), model, levels, {"model": model}) for model, levels in own.items()),
    ]


@dataclass(frozen=True)
class Rung:
    """One level of a threshold and the rule that it became."""

    level: float
    rule: Alerting


def rungs(levels: Levels, rule_of: Callable[[str, float], Alerting]) -> list[Rung]:
    """A rule for each level that is set, from mild to grave; `rule_of` takes severity and level."""
    return [
        Rung(level, rule_of(severity, level))
        for severity in SEVERITIES
        if (level := getattr(levels, severity)) is not None
    ]


@dataclass(frozen=True)
class Measured:
    """What a trial of a threshold needs to know of the thing that is measured.

    `series` makes the input in which it has a value; `beyond` and `within` give values that pass a level, and that
    just do not; `told` is how `$value` then reads; `labels` are those of the expression's result.
    """

    labels: Mapping[str, str]
    series: Callable[[float], Series]
    beyond: Callable[[float], float]
    within: Callable[[float], float]
    passes: Callable[[float, float], bool]
    told: Callable[[float], str]
    at_s: int


def trials(ladder: list[Rung], measured: Measured) -> Iterator[Trial]:
    """For each rung a trial in which it fires and one in which it must not, and one in which logproc lags."""

    def trial(what: str, value: float) -> Trial:
        fires = tuple(
            Fired(each.rule, measured.labels, measured.told(value))
            for each in ladder
            if measured.passes(value, each.level)
        )
        return single(name, what, merged(measured.series(value), lag()), measured.at_s, fires)

    for rung in ladder:
        name = rung.rule.name
        yield trial(f"{rung.rule.severity}: over {rung.level:g}", measured.beyond(rung.level))
        yield trial(f"{rung.rule.severity}: not over {rung.level:g}", measured.within(rung.level))
    if ladder:
        worst = measured.series(measured.beyond(max(rung.level for rung in ladder)))
        yield single(name, "held back while logproc lags", merged(worst, lag(LAG_LIMIT_S)), measured.at_s)
