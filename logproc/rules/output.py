"""Groups of rules → the files that Prometheus and `promtool test rules` read."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any, Final

import yaml

from logproc.rules.promql import span
from logproc.rules.rule import Alerting, Fired, Group, Recording, Trial
from logproc.rules.rules import groups, left_out
from logproc.rules.trial import EVERY_S
from logproc.settings import Settings

RULES_FILE: Final = "rules.yml"
"""What the file of rules is called in the file of tests."""

_HEAD: Final = """\
# Prometheus rules of logproc (Prometheus 2.42 or newer), made from the thresholds in the settings by `logproc rules`.
# To change them change the settings, and make them anew.
"""
_VALUE: Final = re.compile(r"{{ \$value[^}]*}}")
_LABEL: Final = re.compile(r"{{ \$labels\.(\w+) }}")


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stand as such, and nothing is wrapped."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - its parent's signature
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def rules_text(settings: Settings) -> str:
    """The file of rules, with a comment that says who decides what."""
    head = _HEAD
    if settings.alerts.decide == "logproc":
        kinds = ", ".join(left_out(settings))
        head += _comment(
            f"`alerts.decide` is `logproc`: it decides these kinds itself, and they have no alert here: {kinds}. "
            "What is recorded shows them all the same. With `decide: prometheus` their alerts are here."
        )
    else:
        head += _comment("`alerts.decide` is `prometheus`: logproc shows the alerts it finds, and sends none.")
    found = [group for group in map(_group, groups(settings)) if group["rules"]]
    return head + _yaml({"groups": found})


def trials_text(settings: Settings) -> str:
    """The file of tests for `promtool test rules`: of each alerting rule one case that fires, one that must not."""
    head = "# Tests of the rules, made by `logproc rules --tests`. Run: promtool test rules THIS-FILE\n"
    tests = [_trial(trial) for group in groups(settings) for trial in group.trials]
    return head + _yaml({"rule_files": [RULES_FILE], "evaluation_interval": span(EVERY_S), "tests": tests})


def _comment(text: str) -> str:
    return textwrap.fill(text, 120, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _group(group: Group) -> dict[str, Any]:
    return {"name": group.name, "rules": [*map(_recording, group.recordings), *map(_alerting, group.alerts)]}


def _recording(rule: Recording) -> dict[str, Any]:
    return {"record": rule.record, "expr": rule.expr} | ({"labels": dict(rule.labels)} if rule.labels else {})


def _alerting(rule: Alerting) -> dict[str, Any]:
    found: dict[str, Any] = {"alert": rule.name, "expr": rule.expr}
    if rule.for_s:
        found["for"] = span(rule.for_s)
    if rule.keep_s:
        found["keep_firing_for"] = span(rule.keep_s)
    return found | {"labels": rule.labels, "annotations": _annotations(rule)}


def _annotations(rule: Alerting) -> dict[str, str]:
    return {"summary": rule.english, "summary_zh": rule.chinese, "runbook": rule.runbook}


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "name": trial.what,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in trial.series.items()],
        "alert_rule_test": [
            {
                "eval_time": span(check.at_s),
                "alertname": check.alert,
                "exp_alerts": list(map(_expected, check.fires)),
            }
            for check in trial.checks
        ],
    }


def _expected(fired: Fired) -> dict[str, Any]:
    """The alert as Prometheus will show it, its sentences filled in."""

    def filled(sentence: str) -> str:
        return _VALUE.sub(lambda _: fired.value, _LABEL.sub(lambda match: fired.labels[match[1]], sentence))

    return {
        "exp_labels": {**fired.labels, **fired.rule.labels},
        "exp_annotations": {name: filled(text) for name, text in _annotations(fired.rule).items()},
    }
