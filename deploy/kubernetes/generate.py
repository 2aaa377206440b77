"""Writes `monitoring/prometheusrule.yaml` from the rules that Prometheus decides by; run it after a change of rules.

    python -m deploy.kubernetes.generate [PIPELINE.yaml]

Without a pipeline the thresholds are the defaults.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from logproc.rules.output import rules_text
from logproc.settings import Settings
from logproc.settings_file import load

FILE = Path(__file__).parent / "monitoring" / "prometheusrule.yaml"


def text(settings: Settings) -> str:
    """The rules as a resource of the Prometheus operator."""
    rules = rules_text(settings)
    head = "\n".join(line for line in rules.splitlines() if line.startswith("#"))
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "logproc", "labels": {"app.kubernetes.io/name": "logproc"}},
        "spec": yaml.safe_load(rules),
    }
    return f"{head}\n{yaml.safe_dump(resource, sort_keys=False, allow_unicode=True, width=10_000)}"


def settings_of_the_fleet() -> Settings:
    """Those of the DaemonSet: Prometheus decides."""
    return load(Path(__file__).parent / "base" / "logproc.yaml", {})


if __name__ == "__main__":
    FILE.write_text(text(load(Path(sys.argv[1])) if len(sys.argv) > 1 else settings_of_the_fleet()), encoding="utf-8")
