"""What clients write into a line does no harm wherever it is shown: numbers stay right, and texts stay texts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from subprocess import run
from typing import Any

import pytest

from logproc.alerts.alert import Alert
from logproc.alerts.sentences import sentences
from logproc.harmless import HARMFUL
from logproc.record import DAY_MS
from logproc.replay_output import print_summary
from logproc.stores.documents import time_text
from tests.notify.alerts import alert
from tests.pipeline import Pipeline, by_label, until
from tests.test_run import now_line

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "javascript:alert(1)",
    "\x1b[2J\x1b[31mred\x1b]0;owned\x07",
    "\x9b31m\x85next",
    "\u202egnp.exe\u2066\u200f",
    'a"} 1\nllm_requests_total{model="forged"} 999\n# TYPE x counter',
    "back\\slash\\\"quote\\n",
    "'; DROP TABLE requests; --",
    "../../../../etc/passwd",
    "{{7*7}} ${7*7} %s %n {0} {x.__class__}",
    "=HYPERLINK(\"http://evil.example\")",
    "a\0b",
    "\ufeff\u2028\u2029",
    "😀" * 50,
    "[bold red]markup[/] [link=http://evil.example]x[/link]",
    "|cell|\n|---|\n# heading `code` *bold* @all <!channel>",
    "x" * 900_000,
]  # fmt: skip
FIELDS = (
    "model",
    "path",
    "client",
    "user_id",
    "user_agent",
    "request_id",
    "api_key_id",
    "host",
    "error_type",
    "service",
)
PLACES = {"model": "gen_ai.request.model", "client": "source.address", "user_agent": "user_agent.original"}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A running logproc that has read a line with each text in every field, and a good line."""
    folder = tmp_path_factory.mktemp("hostile")
    lines = [now_line(**dict.fromkeys(FIELDS if len(each) < 1000 else ["model"], each)) for each in HOSTILE]
    lines += [now_line(model="huge", user_agent="y" * 900_000), now_line(model="good")]
    lines += [now_line(event="heartbeat", host=each[:200], in_flight=1) for each in HOSTILE]
    (folder / "a.jsonl").write_bytes(b"".join(lines))
    made = Pipeline(folder, [str(folder / "a.jsonl")])
    made.start()
    until(made.is_up, "the server")
    until(lambda: made.has_read(len(lines)), "all lines")
    yield made
    assert made.stop() == 0
    assert not HARMFUL.search(made.output.read_text().replace("\n", ""))


def command(pipeline: Pipeline, name: str, *options: str) -> str:
    done = run(
        [sys.executable, "-m", "logproc", name, *options], capture_output=True, check=False, cwd=pipeline.directory
    )
    assert done.returncode in {0, 1}, done.stderr
    assert not HARMFUL.search(done.stderr.decode().replace("\n", ""))
    return done.stdout.decode()


def test_metrics_stay_metrics_and_nobody_forges_one(pipeline: Pipeline) -> None:
    text = pipeline.get("/metrics")[1]
    requests = by_label(pipeline.metrics(), "llm_requests_total", "model")
    assert sum(requests.values()) == len(HOSTILE) + 2
    assert requests["good"] == 1
    assert "forged" not in requests
    assert max(map(len, requests)) <= 256
    assert len(text) < 2_000_000
    assert not HARMFUL.search(text.replace("\n", ""))
    for line in text.splitlines():
        assert re.fullmatch(r"#.*|[a-z_]+(\{.*\})? \S+", line), line[:200]


def test_the_api_gives_texts_as_they_came_and_as_nothing_but_json(pipeline: Pipeline) -> None:
    found = json.loads(pipeline.get("/api/v1/requests?limit=1000")[1])["items"]
    assert len(found) == len(HOSTILE) + 2
    for name, field in PLACES.items():
        shown = {each.get(field) for each in found}
        wanted = {each for each in HOSTILE if len(each) < 1000 or name == "model"}
        assert {each for each in wanted if each not in shown} == set(), name
    for path in ("requests", "summary?by=model", "summary?by=client", "series?by=model", "servers", "heatmap"):
        status, body = pipeline.get(f"/api/v1/{path}")
        assert status == 200
        json.loads(body)
        assert not HARMFUL.search(body) or min(HARMFUL.findall(body)) >= "\x7f"


@pytest.mark.parametrize("value", [each for each in HOSTILE if len(each) < 1000])
def test_a_hostile_filter_finds_what_bears_its_name_and_no_more(pipeline: Pipeline, value: str) -> None:
    import httpx

    address = f"http://127.0.0.1:{pipeline.port}/api/v1/requests"
    for name in ("model", "client", "user", "id"):
        answer = httpx.get(address, params={name: value})
        assert (answer.status_code, len(answer.json()["items"])) == (200, 1), name
    refused = httpx.get(address, params={value[:50]: value, "outcome": value})
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "options",
    [
        ("query", "--last", "1d"),
        ("query", "--last", "1d", "--by", "model"),
        ("query", "--last", "1d", "--by", "client"),
        ("query", "--last", "1d", "--json"),
        ("query", "--last", "1d", "--csv"),
        ("query", "--sql", "SELECT model, path, user_agent FROM requests", "--last", "1d"),
        ("report", "--from", "1d", "--as", "table"),
        ("report", "--from", "1d", "--as", "markdown"),
        ("report", "--from", "1d", "--as", "html"),
        ("report", "--from", "1d", "--as", "json"),
        ("replay", "a.jsonl"),
        ("replay", "a.jsonl", "--json"),
    ],
)
def test_no_command_gives_a_terminal_orders(pipeline: Pipeline, options: tuple[str, ...]) -> None:
    name, *rest = options
    more = ["--pipeline", str(pipeline.file)] if name == "query" else [str(pipeline.file)] if name == "report" else []
    shown = command(pipeline, name, *rest, *more)
    assert shown
    found = HARMFUL.search(shown.replace("\n", ""))
    assert found is None, (found, shown[max(0, found.start() - 50) : found.start() + 50])


class Tags(HTMLParser):
    """Every tag and attribute that a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.seen |= {tag, *(name for name, _ in attrs)}


def test_in_the_html_report_a_text_makes_no_tag(pipeline: Pipeline) -> None:
    seen = Tags(command(pipeline, "report", str(pipeline.file), "--from", "1d", "--as", "html")).seen
    assert not {"script", "img", "onerror", "a", "link", "iframe", "href", "src"} & seen


@pytest.mark.parametrize("name", HOSTILE)
def test_an_alert_says_a_hostile_name_harmlessly(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry: Alert = alert(model=name[:256], cause="queue")
    told = sentences(entry)
    assert not HARMFUL.search("".join(told.values()))
    assert told["en"].endswith(".")
    result: dict[str, Any] = {
        "lines": {"ok": 1, "rejected": 0}, "bytes": 1, "seconds": 1, "rejected": {}, "requests": 1, "outcomes": {},
        "statuses": {}, "tokens": {}, "flags": {}, "duration_ms": {}, "ttft_ms": {},
        "alerts": [{"id": "x", "state": "firing", "severity": "warning", "kind": "ttft", "since": time_text(DAY_MS),
                    "text": {"en": name[:256]}}],
    }  # fmt: skip
    print_summary(result)
    assert not HARMFUL.search(capsys.readouterr().out.replace("\n", ""))


@pytest.mark.parametrize("name", HOSTILE[:-1])
def test_a_message_for_the_operator_stays_on_its_line(name: str) -> None:
    script = (
        "import sys, structlog, logging; from logproc.messages import log_to_stderr; log_to_stderr();"
        "name = sys.stdin.buffer.read().decode('utf-8', 'surrogatepass');"
        "structlog.get_logger('logproc').warning('a file was gone', file=name, places=[name], size=3);"
        "logging.getLogger('logproc').warning('%s cannot be read', name)"
    )
    done = run(
        [sys.executable, "-c", script], input=name.encode("utf-8", "surrogatepass"), capture_output=True, check=True
    )
    shown = done.stderr.decode()
    assert shown.count("\n") == 2, shown
    assert not HARMFUL.search(shown.replace("\n", ""))
    assert "size=3" in shown
