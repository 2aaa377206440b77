"""Our alerts in a real Alertmanager: told once, under one severity at a time, and ended when they end."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from logproc.alerts.alert import Alert
from logproc.notify.alertmanager import Alertmanager
from logproc.notify.channel import Delivered, ExternalAlert, Limits, Message, deliver
from logproc.notify.text import Style
from tests.doubles.server import Double
from tests.notify.alerts import alert
from tests.services.process import free_port

pytestmark = pytest.mark.service
BINARY = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
CONFIGURATION = """
route: {{receiver: double, group_by: ["..."], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: double, webhook_configs: [{{url: "{url}", send_resolved: true}}]}}]
"""


@pytest.fixture
def receiver() -> Iterator[Double]:
    with Double() as double:
        yield double


@pytest.fixture
def channel(tmp_path: Path, receiver: Double) -> Iterator[Alertmanager]:
    if BINARY is None:
        pytest.skip("Alertmanager is not installed: apt-get install prometheus-alertmanager")
    (tmp_path / "alertmanager.yml").write_text(CONFIGURATION.format(url=receiver.url))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [BINARY, f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/data",
         f"--web.listen-address={address}", "--cluster.listen-address="],
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "stderr").open("w"),
    )  # fmt: skip
    try:
        made = Alertmanager("am", f"http://{address}", Limits(1, 1, "k", 50), Style(), service="vllm")
        deadline = time.monotonic() + 30
        while not is_ready(address):
            assert time.monotonic() < deadline, (tmp_path / "stderr").read_text()
            time.sleep(0.05)
        yield made
    finally:
        process.terminate()
        process.wait(10)


def is_ready(address: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"http://{address}/-/ready", timeout=1).status == 200)
    except OSError:
        return False


def at(seconds_ago: float) -> str:
    moment = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entry(state: str, severity: str, since: str, **fields: Any) -> Alert:
    return alert(state=state, severity=severity, since=since, model="qwen-72b", **fields)


def tell(channel: Alertmanager, *alerts: Alert) -> None:
    assert deliver(channel, Message(id="id", alerts=alerts), time.time()).outcome == Delivered()


def told(receiver: Double) -> list[tuple[str, str, str]]:
    """What Alertmanager has told: name, severity, status."""
    return [
        (each["labels"]["alertname"], each["labels"]["severity"], each["status"])
        for post in receiver.taken
        for each in post.json["alerts"]
    ]


def test_an_alert_is_told_once_however_often_it_is_sent_and_its_end_too(
    channel: Alertmanager, receiver: Double
) -> None:
    since = at(60)
    for _ in range(3):
        tell(channel, entry("firing", "warning", since))
    assert receiver.wait_for(lambda: bool(receiver.taken))
    tell(channel, entry("resolved", "warning", since, until=at(0)))
    assert receiver.wait_for(lambda: ("latency_p99", "warning", "resolved") in told(receiver))

    assert told(receiver) == [("latency_p99", "warning", "firing"), ("latency_p99", "warning", "resolved")]
    first = receiver.taken[0].json["alerts"][0]
    assert first["labels"] == {
        "alertname": "latency_p99", "severity": "warning", "service": "vllm", "model": "qwen-72b",
    }  # fmt: skip
    assert first["annotations"]["summary"] == "P99 latency is too high: qwen-72b"


def test_an_alert_that_grows_graver_ends_under_its_old_severity(channel: Alertmanager, receiver: Double) -> None:
    since = at(60)
    tell(channel, entry("firing", "warning", since))
    assert receiver.wait_for(lambda: bool(receiver.taken))
    tell(channel, entry("firing", "critical", since, at_ms=int(time.time() * 1000) - 100))
    assert receiver.wait_for(lambda: len(told(receiver)) >= 3)

    assert sorted(told(receiver)) == [
        ("latency_p99", "critical", "firing"),
        ("latency_p99", "warning", "firing"),
        ("latency_p99", "warning", "resolved"),
    ]


def test_what_others_told_us_is_passed_on_with_its_labels(channel: Alertmanager, receiver: Double) -> None:
    down = ExternalAlert(
        status="firing",
        labels={"alertname": "NodeDown", "severity": "critical", "instance": "n1"},
        annotations={"summary": "gone"},
        starts_at=at(60),
    )
    assert deliver(channel, Message(id="id", external=(down,)), time.time()).outcome == Delivered()

    assert receiver.wait_for(lambda: ("NodeDown", "critical", "firing") in told(receiver))


def test_a_batch_with_a_bad_label_set_is_rejected_and_its_good_alerts_are_stored(channel: Alertmanager) -> None:
    """Why a 400 is not tried again: the real server has taken the rest."""
    request = channel.render(Message(id="id", alerts=(entry("firing", "warning", at(60)),)), time.time())
    bad = [*json.loads(request.body), {"labels": {}}]
    answer = channel.send(channel.request(json.dumps(bad).encode()), 10)

    assert answer.status == 400
    stored = json.load(urllib.request.urlopen(channel.url, timeout=10))
    assert [each["labels"]["alertname"] for each in stored] == ["latency_p99"]
