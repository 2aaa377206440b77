"""`logproc run` on a real Elasticsearch: killed, cut off, stopped and repeated, each line ends as one document.

LOGPROC_KILLS and LOGPROC_OUTAGE_S (seconds) make it longer; `make nightly` does.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from benchmarks import make_log
from logproc.alerts import record
from logproc.alerts.alert import entry_id
from logproc.stores.documents import time_text
from tests.doubles.webhook import WebhookDouble
from tests.e2e.growing_log import GrowingLog, Held
from tests.lines import raw
from tests.pipeline import Pipeline, by_label, started, until
from tests.services import elasticsearch_proxy as harm
from tests.services.elasticsearch import ElasticsearchServer
from tests.services.elasticsearch_proxy import Answered, Cut, ElasticsearchProxy, Exchange, Harm, Reset
from tests.stores.elastic import set_up, settings, stored, sums

pytestmark = pytest.mark.service

KILLS: Final = int(os.environ.get("LOGPROC_KILLS", "5"))
KILLS_A_SERVER_KILL: Final = 20
OUTAGE_S: Final = float(os.environ.get("LOGPROC_OUTAGE_S", "5"))
LINES_PER_S: Final = 400
LIMIT_S: Final = 300.0
"""For what comes at last: on a busy machine a start alone may take a minute."""

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    for process in started:
        process.kill()
        process.wait()
    started.clear()


@pytest.fixture
def index(elasticsearch: str) -> str:
    """The name of indices of this test's own, with their templates."""
    name = f"exact-{next(_numbers)}"
    set_up(settings(elasticsearch, name))
    return name


def pipeline_on(folder: Path, url: str, index: str, **more: object) -> Pipeline:
    store = {"kind": "elasticsearch", "urls": [url], "index": index}
    return Pipeline(folder, [str(folder / "*.jsonl")], store=store, **more)


def held(url: str, index: str) -> Held:
    return Held(*sums(url, index), sums(url, f"{index}-servers")[0])


def mostly_harmed(chance: random.Random) -> Harm:
    """Every other request meets with something."""
    kinds: list[Harm] = [harm.passing] * 6 + [
        harm.reset_before,
        harm.reset_after,
        harm.cut_in_the_middle,
        harm.shorter,
        harm.every_other_busy,
        harm.answering(503),
    ]

    def one(exchange: Exchange) -> Answered | Cut | Reset:
        return chance.choice(kinds)(exchange)

    return one


@pytest.mark.timeout(3 * LIMIT_S + 30 * KILLS)
def test_killed_at_random_behind_a_way_that_fails_each_line_is_there_once(
    elasticsearch_server: ElasticsearchServer, index: str, tmp_path: Path
) -> None:
    url, chance = elasticsearch_server.url, random.Random(7)
    with ElasticsearchProxy(url) as proxy:
        proxy.always = mostly_harmed(chance)
        pipeline = pipeline_on(tmp_path, proxy.url, index)
        log = GrowingLog(tmp_path, LINES_PER_S)
        for kill in range(1, KILLS + 1):
            pipeline.start("--only", "index")
            enough = proxy.bulks + chance.randint(1, 6)
            until(lambda: proxy.bulks >= enough, "requests", LIMIT_S)  # noqa: B023
            time.sleep(chance.random() / 2)  # anywhere between two requests, too
            pipeline.kill()
            if kill % KILLS_A_SERVER_KILL == 0:
                elasticsearch_server.kill()
                elasticsearch_server.start()
        expected = log.stop()
        proxy.always = harm.passing
        finished = pipeline.run("--only", "index", "--once", limit_s=LIMIT_S)
        assert finished.returncode == 0, finished.stderr
    assert held(url, index) == expected
    assert expected.servers > 0
    print(f"{KILLS} kills, {proxy.bulks} bulk requests, {expected}")

    replay_everything_again(url, index, tmp_path, expected)
    assert held(url, index) == expected


def replay_everything_again(url: str, index: str, folder: Path, expected: Held) -> None:
    """The same lines by two processes at the same time: as the files are, and packed and under other names."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    files = sorted(folder.glob("*.jsonl*"))
    packed = [elsewhere / f"old-{path.name}.gz" for path in files]
    for path, other in zip(files, packed, strict=True):
        other.write_bytes(gzip.compress(path.read_bytes(), 1))
    command = [sys.executable, "-m", "logproc", "replay", "--json", "--store"]
    command.append(str(pipeline_on(elsewhere, url, index).file))
    both = [subprocess.Popen([*command, *map(str, each)], stdout=subprocess.PIPE) for each in (files, packed)]
    for process in both:
        output, _ = process.communicate(timeout=600)
        found = json.loads(output)["documents"]
        assert found == {"stored": 0, "duplicate": expected.documents, "expired": 0, "rejected": 0}


@pytest.mark.timeout(3 * LIMIT_S + 2 * OUTAGE_S)
def test_elasticsearch_stopped_under_load_delays_only_the_documents(
    elasticsearch_server: ElasticsearchServer, index: str, tmp_path: Path
) -> None:
    with WebhookDouble() as channel:
        pipeline = pipeline_on(
            tmp_path,
            elasticsearch_server.url,
            index,
            notifiers={"hook": {"kind": "webhook", "url": channel.url}},
            alerts={"warm_up": 0, "routes": {"all": {"severity": ["critical"], "to": ["hook"]}}},
            thresholds={"server_gone_s": {"critical": 8}},
        )
        log = GrowingLog(tmp_path, LINES_PER_S)
        pipeline.start()
        until(pipeline.is_up, "the pipeline", LIMIT_S)
        until(lambda: documents(pipeline) > 0, "documents")
        elasticsearch_server.kill()
        try:
            until(lambda: paused(pipeline), "the pause")
            # A server says that it is there, and then no more.
            beat = {"time": time_text(int(time.time() * 1000)), "event": "heartbeat", "host": "gpu-2", "pid": 1}
            (tmp_path / "gone.jsonl").write_bytes(raw(beat))
            lines = log.count
            until(lambda: lines_of(pipeline, "measure") > lines + OUTAGE_S * LINES_PER_S, "metrics", LIMIT_S)
            assert channel.wait_for(lambda: any(b"gpu-2" in post.body for post in channel.taken), 30)
            the_lag_is_shown(pipeline)
        finally:
            elasticsearch_server.start()
        until(lambda: not paused(pipeline), "that it goes on", LIMIT_S)
        found = log.stop()
        expected = found._replace(servers=found.servers + 1)
        until(lambda: lines_of(pipeline, "index") == expected.documents, "that it has caught up", LIMIT_S)
        until(lambda: lag(pipeline, "index") == 0, "no lag")
        assert held(elasticsearch_server.url, index) == expected
        assert documents(pipeline) == expected.documents
        assert json.loads(pipeline.get("/readyz")[1])["status"] == "ready"
        entries = {entry_id(entry) for _, entry in record.after(pipeline.state / "measure.db", 0)}
        assert entries
        print(f"{OUTAGE_S:.0f} s without Elasticsearch, {expected}, {len(entries)} alerts")
        until(lambda: alerts_in(elasticsearch_server.url, index) == entries, "the alerts' documents")
        assert pipeline.stop() == 0


def the_lag_is_shown(pipeline: Pipeline) -> None:
    assert lag(pipeline, "index") > 100 * LINES_PER_S
    found = pipeline.metrics()
    seconds = {each: found["logproc_lag_seconds", (("consumer", each),)] for each in ("index", "measure")}
    assert seconds["index"] > OUTAGE_S / 2
    assert seconds["measure"] < seconds["index"] / 2
    status, text = pipeline.get("/readyz")
    assert status == 200
    assert json.loads(text)["status"] == "degraded"
    assert "Connection refused" in json.loads(text)["consumers"]["index"]["problem"]


def documents(pipeline: Pipeline) -> float:
    """Documents stored or found to be there, by /metrics."""
    found = by_label(pipeline.metrics(), "logproc_documents_total", "result")
    return found.get("stored", 0) + found.get("duplicate", 0)


def lines_of(pipeline: Pipeline, consumer: str) -> float:
    return by_label(pipeline.metrics(), "logproc_lines_total", "consumer").get(consumer, 0)


def lag(pipeline: Pipeline, consumer: str) -> float:
    return pipeline.metrics()["logproc_lag_bytes", (("consumer", consumer),)]


def paused(pipeline: Pipeline) -> bool:
    return pipeline.metrics()["logproc_paused", (("consumer", "index"),)] == 1


def alerts_in(url: str, index: str) -> set[str]:
    return {each["_id"] for each in stored(url, f"{index}-alerts")}


@pytest.mark.timeout(600)
def test_sigterm_waits_for_a_dead_store_only_so_long_and_the_next_start_stores_everything(
    elasticsearch: str, tmp_path: Path
) -> None:
    never = threading.Event()

    def silent(_: Exchange) -> Reset:
        never.wait(60)
        return Reset()

    pipelines = []
    with ElasticsearchProxy(elasticsearch) as refusing, ElasticsearchProxy(elasticsearch) as hanging:
        refusing.always, hanging.always = harm.reset_before, silent
        for proxy in (refusing, hanging):
            name = f"exact-{next(_numbers)}"
            set_up(settings(elasticsearch, name))
            folder = tmp_path / name
            folder.mkdir()
            lines = list(make_log.lines(500, start_ms=int(time.time() * 1000) - 3_600_000))
            (folder / "access.jsonl").write_bytes(b"".join(lines))
            pipelines.append(pipeline_on(folder, proxy.url, name))
            pipelines[-1].start()
        for pipeline in pipelines:
            until(pipeline.is_up, "the pipeline")
            until(lambda: lines_of(pipeline, "measure") == 500, "metrics")  # noqa: B023
        until(lambda: paused(pipelines[0]), "the pause")
        until(lambda: hanging.bulks > 0, "a request")
        for pipeline in pipelines:
            assert pipeline.process is not None
            pipeline.process.terminate()
        for pipeline in pipelines:
            assert pipeline.process is not None
            # Not `stop`: a second SIGTERM that meets the last moment of a process ends it.
            assert pipeline.process.wait(30) == 0
        never.set()
        refusing.always = hanging.always = harm.passing
        for pipeline in pipelines:
            assert pipeline.run("--once").returncode == 0
            assert sums(elasticsearch, pipeline.directory.name)[:2] == (500, 500)


def test_a_missing_server_is_a_warning_of_check_and_missing_templates_are_an_error(
    elasticsearch: str, tmp_path: Path
) -> None:
    name = f"exact-{next(_numbers)}"
    (tmp_path / "access.jsonl").touch()

    def check(url: str) -> tuple[int, str]:
        file = pipeline_on(tmp_path, url, name).file
        done = subprocess.run([sys.executable, "-m", "logproc", "check", str(file)], capture_output=True, check=False)
        return done.returncode, done.stdout.decode()

    code, text = check("http://127.0.0.1:1")
    assert code == 0
    assert "! store: http://127.0.0.1:1: Connection refused. logproc will wait for it" in text
    code, text = check(elasticsearch)
    assert code == 2
    assert f"✗ store: {elasticsearch}: the index template `{name}` is missing. Run `logproc setup" in text
    set_up(settings(elasticsearch, name))
    code, text = check(elasticsearch)
    assert code == 0
    assert "✓ store:" in text
