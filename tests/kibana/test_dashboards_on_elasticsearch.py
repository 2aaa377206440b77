"""Each chart, search and rule asks a real Elasticsearch over a real log, and is answered as a recount says."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from logproc.kibana.rules import rules
from logproc.replay import replay
from logproc.settings import Settings, Thresholds
from logproc.stores.alert_documents import alert_document
from logproc.stores.document_reader import DocumentReader
from logproc.stores.elasticsearch_body import body
from logproc.stores.elasticsearch_client import NDJSON, Connection
from logproc.stores.elasticsearch_setup import install
from logproc.stores.fields import REQUEST_FIELDS, SERVER_FIELDS
from tests.kibana import recount
from tests.kibana.asking import rows_of
from tests.kibana.kql import query_of
from tests.kibana.saved import lens_panels, of_type
from tests.lines import block
from tests.services.elasticsearch import call
from tests.stores.test_alert_documents import ALERT

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]

INDEX = "kibana-test"
RECORDED = Path(__file__).parents[1] / "fixtures" / "vllm_access.jsonl"
NOW_MS = 1_795_300_000_000  # an hour of 2026-11-21 after the log
PANELS = {panel.title: panel for panel in lens_panels(index=INDEX)}


@dataclass
class Stored:
    """The log, where it is stored, and what must be shown of it."""

    url: str
    log: Path
    requests: recount.Lines
    servers: recount.Lines

    def find(self, view: str, kql: str, sort_by: str = "@timestamp") -> list[dict[str, Any]]:
        request = {"query": query_of(kql), "size": 1000, "sort": [{sort_by: "desc"}]}
        answer = call(self.url, "POST", f"/{view}/_search", request)
        return [hit["_source"] for hit in answer["hits"]["hits"]]


@pytest.fixture(scope="module")
def stored(elasticsearch: str, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    settings = Settings.model_validate(
        {"logs": {"paths": ["-"]}, "store": {"kind": "elasticsearch", "urls": [elasticsearch], "index": INDEX}}
    )
    assert settings.store.kind == "elasticsearch"
    connection = Connection(settings.store)
    assert install(connection, settings.store, "vllm", print)
    lines = recount.log_of(RECORDED)
    log = tmp_path_factory.mktemp("kibana") / "access.jsonl"
    log.write_bytes(b"".join(line + b"\n" for line in lines))
    found = DocumentReader("vllm", Thresholds()).read(block(log.read_bytes()), NOW_MS)
    bulks = [(f"{INDEX}-2026.11.16", body(part, REQUEST_FIELDS)) for part in found.requests]
    bulks += [(f"{INDEX}-servers-2026.11.16", body(part, SERVER_FIELDS)) for part in found.servers]
    alert = alert_document(ALERT, "vllm")
    action = {"create": {"_id": alert["event.id"]}}
    bulks.append((f"{INDEX}-alerts-2026.11.16", f"{json.dumps(action)}\n{json.dumps(alert)}\n".encode()))
    for index, data in bulks:
        answer = connection.request("POST", f"/{index}/_bulk?refresh=true", data, NDJSON).json()
        assert not answer["errors"], answer
    connection.close()
    records = [json.loads(line) for line in lines]
    return Stored(
        elasticsearch,
        log,
        recount.Lines(record for record in records if "event" not in record),
        recount.Lines(record for record in records if "event" in record),
    )


def same(expected: Any, found: Any) -> bool:
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, rel=1e-6))
    return bool(expected == found)


@pytest.mark.parametrize("title", [title for title in PANELS if title != "Flags"])
def test_a_chart_shows_what_a_recount_of_the_log_says(stored: Stored, title: str) -> None:
    expected = recount.charts(stored.requests, stored.servers)[title]
    shown = rows_of(stored.url, PANELS[title])

    assert shown.keys() == expected.keys()
    for key, row in expected.items():
        assert shown[key].keys() == row.keys()
        for name, value in row.items():
            assert same(value, shown[key][name]), (key, name)
    assert any(value not in (None, 0) for row in shown.values() for value in row.values())
    for name in next(iter(shown.values())):
        assert any(row[name] is not None for row in shown.values()), f"{name} is never known"


def test_the_chart_of_flags_shows_what_replay_counts(stored: Stored) -> None:
    settings = Settings.model_validate({"logs": {"paths": ["-"]}})
    counted = replay([stored.log], settings)["flags"]
    shown: Counter[str] = Counter()
    for (flag, _), row in rows_of(stored.url, PANELS["Flags"]).items():
        shown[flag] += int(row["requests"] or 0)

    assert shown == {flag: count for flag, count in counted.items() if count}
    assert len(shown) >= 7


def test_every_chart_is_among_those_that_are_recounted(stored: Stored) -> None:
    assert {*recount.charts(stored.requests, stored.servers), "Flags"} == PANELS.keys()


SLOW = {"slow", "slow_for_size", "slow_first_token", "slow_decode", "stall"}


def ids(documents: list[dict[str, Any]]) -> set[str]:
    return {document["event.id"] for document in documents}


@pytest.mark.parametrize("search", of_type("search", index=INDEX), ids=lambda each: each["id"])
def test_a_search_finds_what_it_is_named_for(stored: Stored, search: dict[str, Any]) -> None:
    source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    ((sort_by, direction),) = search["attributes"]["sort"]
    assert direction == "desc"
    kql = source["query"]["query"]
    everything = stored.find(INDEX, "")
    name = search["id"].removeprefix(f"{INDEX}-")
    if name == "one-request":
        for field in ("event.id", "llm.request_id", "llm.response_id", "trace.id"):
            one = next(document for document in everything if field in document)
            same_id = [document for document in everything if document.get(field) == one[field]]
            assert ids(stored.find(INDEX, kql.replace('"ID"', f'"{one[field]}"'))) == ids(same_id)
        return
    found = stored.find(search["references"][0]["id"], kql, sort_by)
    assert found
    wanted = {
        "slowest-requests": lambda document: document["llm.outcome"] != "rejected",
        "slow-requests": lambda document: bool(SLOW & set(document.get("llm.flags", []))),
        "empty-completions": lambda document: "empty_completion" in document.get("llm.flags", []),
        "stream-errors": lambda document: document["llm.outcome"] == "stream_error",
    }
    if name == "alert-changes":
        assert found == [alert_document(ALERT, "vllm")]
    else:
        assert ids(found) == ids(list(filter(wanted[name], everything)))
    assert [document[sort_by] for document in found] == sorted((d[sort_by] for d in found), reverse=True)
    for column in search["attributes"]["columns"]:
        assert any(column in document for document in found), column


def test_empty_answers_are_those_that_a_recount_finds(stored: Stored) -> None:
    found = stored.find(INDEX, "llm.flags: empty_completion")
    assert len(found) == len(stored.requests.where(recount.is_empty)) > 0


def test_a_rule_measures_what_its_chart_shows_at_the_threshold_of_the_settings(stored: Stored) -> None:
    """As Kibana does it: each metric an aggregation below the search of the rule, then the equation."""
    measured = {}
    for rule in rules(INDEX, Thresholds()):
        params = rule.body["params"]
        (criterion,) = params["criteria"]
        values = {}
        for metric in criterion["metrics"]:
            if metric["aggType"] == "count":
                asked: dict[str, Any] = {"filter": query_of(metric["filter"])}
            else:
                percent = float(metric["aggType"].removeprefix("p"))
                asked = {"percentiles": {"field": metric["field"], "percents": [percent]}}
            search = params["searchConfiguration"]
            request = {"size": 0, "query": query_of(search["query"]["query"]), "aggs": {"value": asked}}
            answer = call(stored.url, "POST", f"/{search['index']}/_search", request)["aggregations"]["value"]
            values[metric["name"]] = (
                answer["doc_count"] if "doc_count" in answer else next(iter(answer["values"].values()))
            )
        assert criterion["equation"] in {"A", "A / B"}
        assert criterion["comparator"] == ">"
        measured[criterion["threshold"][0]] = values["A"] / values["B"] if "B" in values else values["A"]

    charts = recount.charts(stored.requests, stored.servers)
    assert measured.keys() == {0.05, 0.01, 3e9}
    assert measured[0.05] == pytest.approx(charts["Errors"][()]["errors"])
    assert measured[0.01] == pytest.approx(charts["Empty answers"][()]["empty"])
    assert charts["P99 duration"][()]["p99"] == measured[3e9]
