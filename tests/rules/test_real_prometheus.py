"""In a running Prometheus every rule fires when everything is wrong, and none when all is well."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from logproc.rules.output import rules_text
from tests.pipeline import until
from tests.rules.with_levels import settings
from tests.rules.world import PAGES, World
from tests.services import prometheus
from tests.services.process import free_port
from tests.services.prometheus import Prometheus

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def installed() -> None:
    reason = prometheus.why_missing()
    if reason:
        pytest.skip(reason)


def without_waiting(*but: str) -> str:
    """The rules as they are, without how long they must hold: a test has no ten minutes. Some keep it."""
    rules = yaml.safe_load(rules_text(settings()))
    for group in rules["groups"]:
        for rule in group["rules"]:
            if rule.get("alert") not in but:
                rule.pop("for", None)
    return str(yaml.safe_dump(rules, allow_unicode=True))


RULES = without_waiting("LogprocAbsent")  # before the first scrape there is no target yet


def config(world: World, **more: Any) -> dict[str, Any]:
    """Scrapes every page of the world, and more targets by their jobs."""
    jobs = [
        {
            "job_name": "logproc" if page == "main" else f"logproc-{page}",
            "metrics_path": f"/{page}",
            "static_configs": [{"targets": [world.target]}],
        }
        for page in PAGES
    ]
    jobs += [{"job_name": name, "static_configs": [{"targets": [target]}]} for name, target in more.items()]
    return {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
        "scrape_configs": jobs,
    }


def names_of(alerts: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """(name, severity, window of the error budget) of what fires."""
    return {
        (labels["alertname"], labels["severity"], labels.get("window", ""))
        for labels in (each["labels"] for each in alerts if each["state"] == "firing")
    }


def expected() -> set[tuple[str, str, str]]:
    return {
        (rule["alert"], rule["labels"]["severity"], rule["labels"].get("window", ""))
        for group in yaml.safe_load(without_waiting())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Prometheus]:
    with World(all_is_well=False) as world:
        jobs = config(world, **{"logproc-down": f"127.0.0.1:{free_port()}"})
        with Prometheus(tmp_path / "prometheus", jobs, rules=RULES, past=world.past()) as server:
            until(server.is_ready, "Prometheus")
            yield server


def test_every_rule_fires_when_everything_is_wrong(broken: Prometheus) -> None:
    wanted = expected() - {("LogprocAbsent", "critical", "")}  # there are targets, see below

    with contextlib.suppress(AssertionError):  # the comparison says it better
        until(lambda: wanted <= names_of(broken.alerts()), "every alert", seconds=60)

    assert names_of(broken.alerts()) == wanted
    assert [rule["lastError"] for rule in broken.rules() if rule["health"] == "err"] == []
    for alert in broken.alerts():
        for sentence in alert["annotations"].values():
            assert "error expanding" not in sentence
            assert "<no value>" not in sentence
            assert "{{" not in sentence
    models = {each["labels"].get("model") for each in broken.alerts() if each["labels"]["alertname"] == "LatencyP99"}
    assert models == {"m", "some-model", 'odd "name"\\'}


def test_a_job_that_is_missing_is_noticed(tmp_path: Path) -> None:
    with Prometheus(tmp_path, {"global": {"evaluation_interval": "1s"}}, rules=without_waiting()) as server:
        until(lambda: ("LogprocAbsent", "critical", "") in names_of(server.alerts()), "the alert")

        assert names_of(server.alerts()) == {("LogprocAbsent", "critical", ""), ("Watchdog", "none", "")}


def test_nothing_fires_but_the_watchdog_when_all_is_well(tmp_path: Path) -> None:
    with (
        World(all_is_well=True) as world,
        Prometheus(tmp_path, config(world), rules=RULES, past=world.past()) as server,
    ):
        judged = (
            "model:llm_request_duration_seconds_over:wilson_lower5m",
            "model:llm_request_duration_seconds:drift",
            "model:llm_requests_failed:wilson_lower3d",
            "host:llm_engine_requests_waiting:avg5m",
        )
        seen: set[tuple[str, str, str]] = set()

        def has_judged() -> bool:
            seen.update(names_of(server.alerts()))
            counts = [server.ask(f"min(count_over_time({each}[30s]))") for each in judged]
            return all(count and count[0][1] >= 10 for count in counts)

        until(has_judged, "ten looks at everything", seconds=120)

        assert seen == {("Watchdog", "none", "")}
        assert [rule["lastError"] for rule in server.rules() if rule["health"] == "err"] == []
