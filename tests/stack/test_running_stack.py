"""What docker-compose.yml runs, run by hand: logproc, the stand-in, and the servers that there are programs for.

Kibana, Grafana, vLLM and the exporters are missing here; their services are only read (test_compose.py).
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logproc.settings_file import load
from tests.doubles.server import Double
from tests.pipeline import until
from tests.services import alertmanager, prometheus
from tests.services.elasticsearch import call
from tests.stack.compose import PIPELINE, services
from tests.stack.dashboards import Asked, asked
from tests.stack.running import Stack, running

pytestmark = [pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, elasticsearch: str) -> Iterator[Stack]:
    reason = prometheus.why_missing() or alertmanager.why_missing()
    if reason is not None:
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("stack"), elasticsearch) as started:
        yield started


def ask(stack: Stack, expr: str) -> list[dict[str, Any]]:
    """The samples of an instant query; none while Prometheus does not answer."""
    url = f"http://127.0.0.1:{stack.ports['prometheus']}/api/v1/query?" + urllib.parse.urlencode({"query": expr})
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return list(json.loads(answer.read())["data"]["result"])
    except urllib.error.HTTPError as error:
        if error.code == 503:  # it is starting
            return []
        raise AssertionError(f"{expr}: {error.read().decode()}") from error
    except OSError:
        return []


@pytest.mark.service
def test_every_panel_of_every_dashboard_has_data(stack: Stack) -> None:
    without = list(asked())

    def all_have() -> bool:
        stack.add_what_the_stand_in_lacks()
        without[:] = [question for question in without if not has_data(question)]
        return not without

    def has_data(question: Asked) -> bool:
        return any(sample["value"][1] != "NaN" for sample in ask(stack, question.expr))

    try:
        until(all_have, "data in every panel", 240)
    except AssertionError as error:
        pytest.fail("\n".join([str(error), *map(str, without), stack.output()]))


@pytest.mark.service
def test_prometheus_sees_logproc_with_its_token_and_alertmanager_tells_logproc(stack: Stack) -> None:
    relayed = 'logproc_relay_requests_total{route="dead-mans-switch", result="queued"} > 0'

    until(lambda: bool(ask(stack, 'up{job="logproc"} == 1')), "a scrape of logproc", 60)
    until(lambda: bool(ask(stack, relayed)), f"the dead man's ping\n{stack.output()}", 120)
    assert {each["metric"]["job"] for each in ask(stack, "up == 1")} == {"logproc", "prometheus", "alertmanager"}


@pytest.mark.service
def test_documents_are_in_elasticsearch_and_nothing_gets_in_without_the_token(stack: Stack, elasticsearch: str) -> None:
    def documents() -> int:
        return int(call(elasticsearch, "POST", "/stack-access/_count", {}).get("count", 0))

    until(lambda: documents() > 0, "documents", 60)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['logproc']}/metrics", timeout=10)
    assert refused.value.code == 401


class Security(Double):
    """A double of Elasticsearch's security API: keeps what is put."""

    path = "/_security"


def test_users_are_set_up_with_the_passwords_of_the_secrets(tmp_path: Path) -> None:
    """The script of the service, in this machine's bash and curl, against a double of Elasticsearch."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    service = services()["setup-users"]
    for name in ("elastic_password", "kibana_password", "logproc_password"):
        (tmp_path / name).write_text(f"word-of-{name}")
    with Security() as double:
        script = service["command"][0].replace("/run/secrets", str(tmp_path)).replace("$$", "$")
        script = script.replace("http://elasticsearch:9200", double.base)
        done = subprocess.run([*service["entrypoint"], script], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    put = {post.path: post.json for post in double.posts}
    assert put["/_security/user/kibana_system/_password"] == {"password": "word-of-kibana_password"}
    assert put["/_security/user/logproc"] == {"roles": ["logproc"], "password": "word-of-logproc_password"}
    assert put["/_security/role/logproc"]["indices"][0]["privileges"]
    login = base64.b64encode(b"elastic:word-of-elastic_password").decode()
    assert {post.headers["authorization"] for post in double.posts} == {f"Basic {login}"}
    assert "word-of" not in done.stdout + done.stderr
    assert load(PIPELINE, {}).store.username == "logproc"  # type: ignore[union-attr]
