"""Settings → every group of rules; who decides a kind of alert decides it alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from logproc.alerts.alert import KINDS
from logproc.rules import gpu, latency, outcomes, own_health, servers, traffic
from logproc.rules.rule import Group
from logproc.settings import Settings


def groups(settings: Settings) -> list[Group]:
    """Every group that the settings mean. Where logproc decides, alerting rules of its own kinds are left out."""
    everything = _everything(settings)
    return list(everything if settings.alerts.decide == "prometheus" else map(_without_kinds_of_logproc, everything))


def left_out(settings: Settings) -> list[str]:
    """The kinds of alert whose rules are left out, since logproc decides them."""
    kept = {alert.kind for group in groups(settings) for alert in group.alerts}
    there = {alert.kind for group in _everything(settings) for alert in group.alerts}
    return [kind for kind in KINDS if kind in there - kept]


def _everything(settings: Settings) -> Iterator[Group]:
    thresholds, namespace = settings.thresholds, settings.metrics.namespace
    yield own_health.group(namespace)
    for part in (latency, outcomes, traffic, servers, gpu):
        yield from part.groups(thresholds, namespace)


def _without_kinds_of_logproc(group: Group) -> Group:
    alerts = tuple(alert for alert in group.alerts if alert.kind not in KINDS)
    names = {alert.name for alert in alerts}
    return replace(
        group, alerts=alerts, trials=tuple(trial for trial in group.trials if trial.checks[0].alert in names)
    )
