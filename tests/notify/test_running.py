"""`logproc run` with one good channel among bad ones: the relay, silences, metrics, as a user meets them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.broken import broken_server, drips_body, hangs
from tests.doubles.dingtalk import DingTalkDouble, error
from tests.doubles.slack import SlackDouble, word
from tests.doubles.webhook import WebhookDouble
from tests.notify.test_relay import webhook
from tests.pipeline import Pipeline, by_label, started, until
from tests.rules.test_from_log_to_alert import slow_for
from tests.services import alertmanager
from tests.services.alertmanager import Alertmanager

TOKEN = "MARKER-token-of-the-page"
HOOK = "MARKER-path-of-the-hook"


class Running(Pipeline):
    """A pipeline with a token; the good channel; a log."""

    good: WebhookDouble
    lying: DingTalkDouble
    log: Path

    def post(self, path: str, body: object, token: str = TOKEN) -> int:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return super().get(path, **{"Authorization": f"Bearer {TOKEN}", **headers})

    def relay(self, name: str) -> None:
        assert self.post("/relay/alertmanager/all", webhook(name, key=name)) == 200

    def heard_of(self, name: str) -> bool:
        return any(name in post.body.decode() for post in self.good.taken)

    def of_channels(self, metric: str) -> dict[str, float]:
        """A metric by channel; counters by channel and result."""
        found = ((dict(labels), value) for (name, labels), value in self.metrics().items() if name == metric)
        return {"/".join(filter(None, (one["channel"], one.get("result")))): value for one, value in found}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    token = folder / "token"
    token.write_text(TOKEN)
    log = folder / "access.jsonl"
    log.touch()
    with ExitStack() as stack:
        good = stack.enter_context(WebhookDouble())
        lying = stack.enter_context(DingTalkDouble())
        lying.always = error(-1, "系统繁忙")
        slow_down = stack.enter_context(SlackDouble())
        slow_down.always = word(429, "rate_limited", **{"Retry-After": "600"})
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            nothing = f"http://127.0.0.1:{nobody.getsockname()[1]}/{HOOK}"
        notifiers: dict[str, Any] = {
            "good": {"kind": "webhook", "url": f"{good.url}?key={HOOK}", "secret": "MARKER-key-of-the-signature"},
            "hangs": {"kind": "webhook", "url": f"http://{stack.enter_context(broken_server(hangs))}/{HOOK}"},
            "drips": {"kind": "webhook", "url": f"http://{stack.enter_context(broken_server(drips_body))}/{HOOK}"},
            "lies": {"kind": "dingtalk", "url": f"{lying.url}{HOOK}", "secret": "MARKER-of-the-robot"},
            "throttles": {"kind": "slack", "url": slow_down.url},
            "nobody": {"kind": "webhook", "url": nothing},
        }
        made = Running(
            folder,
            [str(log)],
            alerts={"routes": {"all": {"severity": ["warning"], "to": [*notifiers]}}},
            notifiers=notifiers,
        )
        settings = json.loads(made.file.read_text())
        settings["http"]["token_file"] = str(token)
        made.file.write_text(json.dumps(settings))
        made.good, made.lying, made.log = good, lying, log
        made.start()
        process = started.pop()  # it outlives the test that it was started in
        try:
            until(made.is_up, "the start")
            yield made
        finally:
            process.kill()
            process.wait()


def test_the_relay_wants_the_token(running: Running) -> None:
    assert running.post("/relay/alertmanager/all", webhook("x"), token="wrong") == 401
    assert running.post("/relay/alertmanager/all", {}) == 400
    assert running.post("/relay/alertmanager/none", webhook("x")) == 404


def test_channels_that_hang_drip_lie_and_throttle_delay_neither_another_nor_the_log(running: Running) -> None:
    for number in range(3):
        running.relay(f"alert-{number}")
        until(partial(running.heard_of, f"alert-{number}"), "the good channel")
        read = running.metrics()["logproc_lines_total", (("consumer", "measure"), ("result", "ok"))]
        with running.log.open("ab") as file:
            file.write(slow_for(100, 10))
        until(partial(running.has_read, int(read) + 10), "the log")

    tried = running.of_channels("logproc_notifications_total")
    assert tried["good/delivered"] >= 3
    assert [name for name in tried if name.endswith("/delivered") and tried[name]] == ["good/delivered"]
    waiting = running.of_channels("logproc_notifications_waiting")
    assert {name for name, length in waiting.items() if length == 3} == {
        "hangs",
        "drips",
        "lies",
        "throttles",
        "nobody",
    }
    assert waiting["good"] == 0
    assert running.get("/readyz")[0] == 200


def test_metrics_tell_which_channel_fails_how_long_and_since_when(running: Running) -> None:
    running.relay("alert-of-metrics")
    until(lambda: running.heard_of("alert-of-metrics"), "the good channel")

    def failing() -> dict[str, float]:
        return running.of_channels("logproc_notifications_failing")

    until(lambda: sum(failing().values()) == 5, "all that fail to have failed", 90)
    assert failing()["good"] == 0
    tried = running.of_channels("logproc_notifications_total")
    assert tried["throttles/throttled"] == 1
    assert min(tried[f"{name}/retryable"] for name in ("lies", "hangs", "drips", "nobody")) >= 1
    oldest = running.of_channels("logproc_notifications_oldest_seconds")
    assert oldest["good"] == 0
    assert oldest["hangs"] > 0
    assert [*running.of_channels("logproc_notifications_last_success_timestamp_seconds")] == ["good"]


def test_no_secret_is_in_a_log_a_page_a_database_or_the_list_of_processes(running: Running) -> None:
    assert running.process is not None
    running.relay("alert-of-secrets")
    until(lambda: running.heard_of("alert-of-secrets"), "the good channel")
    failing = "logproc_notifications_failing"
    until(lambda: sum(running.of_channels(failing).values()) == 5, "all that fail to have failed", 90)

    pages = ["/", "/metrics", "/healthz", "/readyz", "/api/v1/alerts", "/api/v1/silences", "/api/v1/summary"]
    shown = {page: running.get(page)[1].encode() for page in pages}
    shown |= {str(path): path.read_bytes() for path in running.state.rglob("*") if path.is_file()}
    shown["log"] = running.output.read_bytes()
    shown["processes"] = Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
    assert [name for name, text in shown.items() if b"MARKER" in text] == []
    assert b"outcome=retryable" in shown["log"], "what failed is told all the same"


def test_a_silence_of_the_command_keeps_alertmanagers_alerts_of_that_kind_back(running: Running) -> None:
    command = [sys.executable, "-m", "logproc", "silence", "errors", "--for", "2h", "--model", "m"]
    done = subprocess.run([*command, "--pipeline", str(running.file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("errors of m: silent until ")

    silent = webhook("of-no-interest", key="silent", kind="errors", model="m")
    assert running.post("/relay/alertmanager/all", silent) == 200
    running.relay("after-the-silent-one")
    until(lambda: running.heard_of("after-the-silent-one"), "the good channel")

    assert not running.heard_of("of-no-interest")
    assert running.of_channels("logproc_deliveries_total")["good/silenced"] == 1
    (listed,) = json.loads(running.get("/api/v1/silences")[1])["items"]
    assert (listed["kind"], listed["model"]) == ("errors", "m")


@pytest.mark.service
def test_two_alertmanagers_that_do_not_know_of_each_other_are_told_of_once(running: Running, tmp_path: Path) -> None:
    if reason := alertmanager.why_missing():
        pytest.skip(reason)
    hook = {
        "url": f"http://127.0.0.1:{running.port}/relay/alertmanager/all",
        "http_config": {"authorization": {"credentials_file": str(running.directory / "token")}},
    }
    config = {
        "route": {"receiver": "all", "group_by": ["alertname"], "group_wait": "0s"},
        "receivers": [{"name": "all", "webhook_configs": [hook]}],
    }

    def relayed() -> dict[str, float]:
        return by_label(running.metrics(), "logproc_relay_requests_total", "result")

    before = relayed()
    with ExitStack() as stack:
        for name in ("one", "other"):
            server = stack.enter_context(Alertmanager(tmp_path / name, json.dumps(config)))
            until(server.is_ready, "Alertmanager")
            server.post([{"labels": {"alertname": "of-a-pair", "severity": "warning"}}])
        until(lambda: sum(relayed().values()) == sum(before.values()) + 2, "both")
    until(lambda: running.heard_of("of-a-pair"), "the good channel")

    assert {result: relayed()[result] - before[result] for result in before} == {"queued": 1, "duplicate": 1}
    assert sum("of-a-pair" in post.body.decode() for post in running.good.taken) == 1


def test_the_command_says_what_is_unknown_and_when_nobody_is_there(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, ["-"])
    command = [sys.executable, "-m", "logproc", "silence"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments, "--pipeline", str(pipeline.file)], capture_output=True, text=True, check=False
        )

    assert (run("nonsense", "--for", "2h").returncode, run("errors", "--for", "soon").returncode) == (2, 2)
    nobody = run("errors", "--for", "2h")
    assert nobody.returncode == 1
    assert "no logproc runs at" in nobody.stderr
