"""The configuration of Alertmanager: checked by amtool, and run for real against a double of logproc's relay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.doubles.server import Double, Post, Reply
from tests.pipeline import until
from tests.rules.test_real_prometheus import RULES, config
from tests.rules.world import World
from tests.services import alertmanager, prometheus
from tests.services.alertmanager import Alertmanager, amtool
from tests.services.prometheus import Prometheus

pytestmark = pytest.mark.service

CONFIG = Path(__file__).parents[2] / "pipelines" / "alertmanager" / "alertmanager.yml"
ROUTES = {"chat", "phone", "auto-scaling", "dead-mans-switch"}
TOKEN = "token-of-the-relay"


@pytest.fixture(autouse=True)
def installed() -> None:
    reason = alertmanager.why_missing()
    if reason:
        pytest.skip(reason)


class RelayDouble(Double):
    """Takes webhooks as logproc's relay does: any of ROUTES, with the token."""

    def answer(self, post: Post) -> Reply:
        if post.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(401)
        if post.path.removeprefix("/relay/alertmanager/") not in ROUTES:
            return Reply(404)
        self.taken.append(post)
        return Reply()

    def told(self, route: str) -> list[dict[str, Any]]:
        """Every alert that came by a route."""
        return [alert for post in self.taken if post.path.endswith(f"/{route}") for alert in post.json["alerts"]]

    def kinds(self, route: str) -> set[tuple[str, str]]:
        """(kind, severity) of what came by a route and fires."""
        labels = [alert["labels"] for alert in self.told(route) if alert["status"] == "firing"]
        return {(each["kind"], each["severity"]) for each in labels}


@pytest.fixture
def relay() -> Iterator[RelayDouble]:
    with RelayDouble() as double:
        yield double


@pytest.fixture
def manager(relay: RelayDouble, tmp_path: Path) -> Iterator[Alertmanager]:
    """Alertmanager with the configuration as it comes, but for the port of the relay, its token, and the first wait."""
    (tmp_path / "token").write_text(TOKEN)
    text = CONFIG.read_text()
    for there, here in (
        ("http://127.0.0.1:9470", relay.base),
        ("/run/secrets/logproc_token", str(tmp_path / "token")),
        ("group_wait: 5s", "group_wait: 1s"),
    ):
        assert there in text
        text = text.replace(there, here)
    with Alertmanager(tmp_path / "alertmanager", text) as server:
        until(server.is_ready, "Alertmanager")
        yield server


def alert(kind: str, severity: str, **labels: str) -> dict[str, Any]:
    name = "Watchdog" if kind == "watchdog" else kind
    return {"labels": {"alertname": name, "kind": kind, "severity": severity, **labels}}


def test_amtool_accepts_the_configuration() -> None:
    assert "SUCCESS" in amtool("check-config", CONFIG)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["kind=ttft", "severity=warning"], "chat"),
        (["kind=errors", "severity=critical"], "phone,chat"),
        (["kind=errors", "severity=disaster"], "phone,auto-scaling,chat"),
        (["alertname=Watchdog", "kind=watchdog", "severity=none"], "dead-mans-switch"),
        (["alertname=SomebodyElses"], "chat"),
    ],
)
def test_an_alert_goes_by_its_severity(labels: list[str], receivers: str) -> None:
    assert amtool("config", "routes", "test", f"--config.file={CONFIG}", *labels).splitlines()[-1] == receivers


def test_every_receiver_is_a_route_of_the_relay_and_shows_the_token() -> None:
    for receiver in yaml.safe_load(CONFIG.read_text())["receivers"]:
        for hook in receiver["webhook_configs"]:
            assert hook["url"].endswith(f"/relay/alertmanager/{receiver['name']}")
            assert hook["http_config"]["authorization"]["credentials_file"]


def test_each_severity_reaches_those_it_is_meant_for(manager: Alertmanager, relay: RelayDouble) -> None:
    manager.post(
        [
            alert("ttft", "warning", model="a"),
            alert("errors", "critical", model="b"),
            alert("latency_p99", "disaster", model="c"),
            alert("watchdog", "none"),
        ]
    )

    grave = {("errors", "critical"), ("latency_p99", "disaster")}
    assert relay.wait_for(lambda: len(relay.kinds("chat")) == 3 and relay.kinds("phone") == grave, 30)
    assert relay.kinds("chat") == {*grave, ("ttft", "warning")}
    assert relay.wait_for(lambda: bool(relay.told("auto-scaling")) and bool(relay.told("dead-mans-switch")), 30)
    assert relay.kinds("auto-scaling") == {("latency_p99", "disaster")}
    assert relay.kinds("dead-mans-switch") == {("watchdog", "none")}
    assert relay.posts == relay.taken, "something was refused"


def test_the_graver_one_silences_the_milder_one_of_the_same_and_nothing_else(
    manager: Alertmanager, relay: RelayDouble
) -> None:
    manager.post(
        [
            alert("errors", "critical", model="a"),
            alert("errors", "warning", model="a"),
            alert("errors", "warning", model="b"),
            alert("ttft", "warning", model="a"),
            alert("latency_p99", "warning", model="c"),
            alert("latency_p95", "warning", model="c"),
            alert("server_gone", "critical", host="h"),
            alert("queue_growing", "critical", host="h"),
            alert("queue_growing", "critical", host="i"),
        ]
    )
    until(lambda: len(manager.alerts()) == 9, "all alerts")

    def inhibited() -> set[tuple[str, str]]:
        return {
            (each["labels"]["kind"], each["labels"].get("model") or each["labels"]["host"])
            for each in manager.alerts()
            if each["status"]["inhibitedBy"]
        }

    until(lambda: bool(inhibited()), "inhibition")
    assert inhibited() == {("errors", "a"), ("latency_p95", "c"), ("queue_growing", "h")}
    assert relay.wait_for(lambda: len(relay.told("chat")) == 6, 30)
    told = {(each["labels"]["kind"], each["labels"]["severity"]) for each in relay.told("chat")}
    assert ("latency_p95", "warning") not in told


def test_one_message_tells_of_everything_that_is_wrong_in_one_way_with_one_model(
    manager: Alertmanager, relay: RelayDouble
) -> None:
    manager.post([alert("kv_cache_full", "warning", host=f"gpu-{number}") for number in range(20)])

    assert relay.wait_for(lambda: len(relay.told("chat")) == 20, 30)
    assert len(relay.taken) == 1


def test_what_fires_in_prometheus_arrives_with_its_sentences(
    manager: Alertmanager, relay: RelayDouble, tmp_path: Path
) -> None:
    if reason := prometheus.why_missing():
        pytest.skip(reason)
    with World(all_is_well=False) as world:
        targets = {"alertmanagers": [{"static_configs": [{"targets": [manager.address]}]}]}
        jobs = {**config(world), "alerting": targets}
        with Prometheus(tmp_path / "prometheus", jobs, rules=RULES, past=world.past()):
            assert relay.wait_for(lambda: ("latency_p99", "disaster") in relay.kinds("auto-scaling"), 60)
            assert relay.wait_for(lambda: ("latency_p99", "disaster") in relay.kinds("chat"), 60)

    told = next(each for each in relay.told("chat") if each["labels"]["kind"] == "latency_p99")
    assert "of the requests took longer than" in told["annotations"]["summary"]
    assert "的请求耗时超过" in told["annotations"]["summary_zh"]
    assert told["annotations"]["runbook"] == "docs/runbooks.md#latency_p99"
