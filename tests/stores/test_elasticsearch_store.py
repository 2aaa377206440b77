"""The store on a real Elasticsearch: whatever the cluster or the way to it does, each document is there once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from logproc.record import DAY_MS
from logproc.settings import ElasticsearchStore as StoreSettings
from logproc.stores import elasticsearch as store_module
from logproc.stores.bulk_answer import FEW_REFUSED
from logproc.stores.documents import time_text
from logproc.stores.elasticsearch import ElasticsearchStore
from logproc.stores.store import StoreUnavailableError, Written
from tests.lines import NOW_MS, raw
from tests.services.elasticsearch import MOST_CONTENT_MB, call
from tests.stores.documents_of import at, documents, flat, read
from tests.stores.elastic import (
    ids,
    ids_in,
    new_name,
    patiently,
    problem_of,
    set_up,
    settings,
    some,
    store_for,
    stored,
    written,
)

pytestmark = pytest.mark.service


def test_documents_are_there_as_they_were_given_and_a_repeat_changes_nothing(
    store: ElasticsearchStore, chosen: StoreSettings
) -> None:
    lines = [at(NOW_MS, client="a", model="m", surplus={"x": [1]}), at(NOW_MS - 1, status=500, prompt_tokens=None)]
    found = read(raw(*lines))
    assert written(store, found.requests).written == Written(stored=2)
    assert written(store, found.requests).written == Written(duplicate=2)
    hits = stored(chosen.urls[0], chosen.index)
    assert [hit["_version"] for hit in hits] == [1, 1]
    expected = {each["event.id"]: each for each in flat(found)}
    for hit in hits:
        document = json.loads(json.dumps(expected[hit["_id"]], default=lambda value: json.loads(bytes(value))))
        assert flattened(hit["_source"]) == flattened(document)


def flattened(value: Any, name: str = "") -> dict[str, Any]:
    """A document as one mapping, whether its names came with dots or as objects."""
    if not isinstance(value, dict) or name == "llm.extra":
        return {name: value}
    made: dict[str, Any] = {}
    for key, each in value.items():
        made |= flattened(each, f"{name}.{key}" if name else key)
    return made


@pytest.mark.parametrize(
    ("period", "indices"),
    [
        ("day", ["2026.03.29", "2026.03.30", "2026.03.31", "2026.04.01"]),
        ("week", ["2026.03.23", "2026.03.30"]),
        ("month", ["2026.03.01", "2026.04.01"]),
    ],
)
def test_a_document_is_in_the_index_of_its_own_time(elasticsearch: str, period: str, indices: list[str]) -> None:
    chosen = settings(elasticsearch, new_name(), period=period)
    set_up(chosen)
    store = store_for(chosen, NOW_MS + 2 * DAY_MS)
    times = ["2026-03-29T23:59:59.999Z", "2026-03-30T00:00:00Z", "2026-03-31T12:00:00Z", "2026-04-01T00:00:00Z"]
    found = read(raw(*(at(NOW_MS) | {"time": time} for time in times))).requests
    assert written(store, found).written == Written(stored=4)
    hits = stored(elasticsearch, chosen.index)
    assert sorted({hit["_index"] for hit in hits}) == [f"{chosen.index}-{day}" for day in indices]
    store.close()


def test_server_lines_are_documents_of_their_own_behind_another_alias(
    store: ElasticsearchStore, chosen: StoreSettings
) -> None:
    engines = [{"engine": "0", "running": 3, "waiting": 1, "kv_cache_usage": 0.5}]
    line = {"time": time_text(NOW_MS), "event": "heartbeat", "host": "gpu-1", "in_flight": 4, "engines": engines}
    found = read(raw(line, at(NOW_MS)))
    assert written(store, found.requests, found.servers).written == Written(stored=2)
    (beat,) = stored(chosen.urls[0], f"{chosen.index}-servers")
    assert beat["_index"] == f"{chosen.index}-servers-2026.03.30"
    assert flattened(beat["_source"])["event.action"] == "heartbeat"
    body = {"size": 0, "aggs": {"kv": {"max": {"field": "llm.engines.kv_cache_usage"}}}}
    answer = call(chosen.urls[0], "POST", f"/{chosen.index}-servers/_search", body)
    assert answer["aggregations"]["kv"]["value"] == 0.5
    assert len(ids_in(chosen)) == 1


def test_what_is_older_than_the_retention_is_counted_and_not_written(elasticsearch: str) -> None:
    chosen = settings(elasticsearch, new_name(), keep_days=10)
    set_up(chosen)
    store = store_for(chosen)
    day = NOW_MS // DAY_MS * DAY_MS
    found = documents(at(day - 10 * DAY_MS), at(day - 10 * DAY_MS - 1), at(NOW_MS))
    assert written(store, found).written == Written(stored=2, expired=1)
    assert len(ids_in(chosen)) == 2
    store.close()


def change_template(chosen: StoreSettings, change: str) -> None:
    url, path = chosen.urls[0], f"/_index_template/{chosen.index}"
    if change == "remove":
        call(url, "DELETE", path)
        return
    template = call(url, "GET", path)["index_templates"][0]["index_template"]
    kept = {name: template[name] for name in ("index_patterns", "priority", "composed_of", "template", "_meta")}
    kept["_meta"]["logproc"] |= {"version": 99} if change == "version" else {"period": "day"}
    assert call(url, "PUT", path, kept) == {"acknowledged": True}


def mend_template(chosen: StoreSettings) -> None:
    call(chosen.urls[0], "DELETE", f"/_index_template/{chosen.index}")
    set_up(chosen)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("remove", "is missing"),
        ("version", "is of version 99"),
        ("period", "`store.period` is week, but the indices are made by the day"),
    ],
)
def test_templates_that_are_not_ours_pause_until_they_are_mended(
    store: ElasticsearchStore, chosen: StoreSettings, change: str, words: str
) -> None:
    change_template(chosen, change)
    found = some(3)
    store.write(found, [])
    assert words in problem_of(store)
    with pytest.raises(StoreUnavailableError):
        store.write(found, [])  # nothing more is taken meanwhile
    mend_template(chosen)
    assert patiently(store.settle).written == Written(stored=3)
    assert ids_in(chosen) == ids(found)


@pytest.mark.parametrize(("change", "words"), [("remove", "is missing"), ("version", "is of version 99")])
def test_a_template_that_changes_while_it_runs_is_noticed_before_the_next_index_is_made(
    store: ElasticsearchStore, chosen: StoreSettings, change: str, words: str
) -> None:
    assert written(store, some(1)).written == Written(stored=1)
    change_template(chosen, change)
    assert written(store, some(2)).written == Written(stored=1, duplicate=1)
    later = some(1, NOW_MS - 30 * DAY_MS)
    store.write(later, [])
    assert words in problem_of(store)
    mend_template(chosen)
    assert patiently(store.settle).written == Written(stored=1)


def block_writes(url: str, index: str) -> Callable[[], object]:
    call(url, "PUT", f"/{index}/_settings", {"index.blocks.write": True})
    return lambda: call(url, "PUT", f"/{index}/_settings", {"index.blocks.write": False})


def fill_the_disk(url: str, index: str) -> Callable[[], object]:
    """The block that a cluster puts on an index when its disk is full."""
    call(url, "PUT", f"/{index}/_settings", {"index.blocks.read_only_allow_delete": True})
    return lambda: call(url, "PUT", f"/{index}/_settings", {"index.blocks.read_only_allow_delete": None})


def close_it(url: str, index: str) -> Callable[[], object]:
    call(url, "POST", f"/{index}/_close")
    return lambda: call(url, "POST", f"/{index}/_open")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (block_writes, "cluster_block_exception"),
        (fill_the_disk, "disk usage exceeded flood-stage"),
        (close_it, "index_closed_exception"),
    ],
)
def test_an_index_that_cannot_be_written_pauses_until_it_is_mended(
    store: ElasticsearchStore, chosen: StoreSettings, fault: Callable[[str, str], Callable[[], object]], words: str
) -> None:
    found = some(5)
    assert written(store, some(2)).written == Written(stored=2)
    mend = fault(chosen.urls[0], f"{chosen.index}-2026.03.30")
    store.write(found, [])
    problem = problem_of(store)
    assert words in problem
    assert chosen.urls[0] in problem
    mend()
    assert patiently(store.settle).written == Written(stored=3, duplicate=2)
    assert ids_in(chosen) == ids(found)


def test_a_cluster_without_room_for_another_shard_pauses_until_it_has_some(
    store: ElasticsearchStore, chosen: StoreSettings
) -> None:
    limit = {"persistent": {"cluster.max_shards_per_node": 1}}
    call(chosen.urls[0], "PUT", "/_cluster/settings", limit)
    try:
        store.write(some(2), [])
        assert "validation_exception" in problem_of(store)
    finally:
        call(chosen.urls[0], "PUT", "/_cluster/settings", {"persistent": {"cluster.max_shards_per_node": None}})
    assert patiently(store.settle).written == Written(stored=2)


def foreign_index(chosen: StoreSettings, field: str, kind: str) -> str:
    """An index in the place of ours that somebody made with another mapping."""
    name = f"{chosen.index}-2026.03.30"
    mapping = {"mappings": {"properties": {field: {"type": kind}}}, "settings": {"index.mode": "standard"}}
    made = call(chosen.urls[0], "PUT", f"/{name}", mapping)
    assert made["acknowledged"], made
    return name


def test_a_few_documents_that_the_mapping_refuses_are_kept_aside_and_the_others_stored(
    store: ElasticsearchStore, chosen: StoreSettings
) -> None:
    foreign_index(chosen, "llm.n", "boolean")
    found = documents(*(at(NOW_MS, client=f"{i}", n=7 if i % 100 == 0 else ...) for i in range(300)))
    settled = written(store, found)
    assert settled.written == Written(stored=297, rejected=3)
    assert {each.error_type for each in settled.refused} == {"document_parsing_exception"}
    assert all("llm.n" in each.detail for each in settled.refused)
    refused = [json.loads(each.document) for each in settled.refused]
    assert [each["event.id"] for each in refused] == [each.event_id for each in settled.refused]
    assert {each["llm.n"] for each in refused} == {7}
    assert sorted([*ids_in(chosen), *(each.event_id for each in settled.refused)]) == ids(found)


def test_an_index_with_another_mapping_pauses_and_nothing_is_rejected(
    store: ElasticsearchStore, chosen: StoreSettings
) -> None:
    name = foreign_index(chosen, "http.response.status_code", "boolean")
    found = some(200)
    store.write(found, [])
    problem = problem_of(store)
    assert "200 of the last 200 documents were refused" in problem
    assert name in problem
    call(chosen.urls[0], "DELETE", f"/{name}")
    settled = patiently(store.settle)
    assert settled.written == Written(stored=200)
    assert settled.refused == []
    assert ids_in(chosen) == ids(found)


def test_another_mapping_is_noticed_though_documents_come_one_by_one(
    store: ElasticsearchStore, chosen: StoreSettings
) -> None:
    name = foreign_index(chosen, "http.response.status_code", "boolean")
    found = [documents(at(NOW_MS, client=f"{i}")) for i in range(FEW_REFUSED + 2)]
    settled = [written(store, each) for each in found[:FEW_REFUSED]]
    assert {each.written for each in settled} == {Written(rejected=1)}
    store.write(found[FEW_REFUSED], [])
    assert "11 of the last 11 documents were refused" in problem_of(store)
    call(chosen.urls[0], "DELETE", f"/{name}")
    assert patiently(store.settle).written == Written(stored=1)
    assert written(store, found[-1]).written == Written(stored=1)


def test_lines_whose_json_no_mapping_could_take_are_kept_aside_and_never_pause(
    store: ElasticsearchStore, chosen: StoreSettings
) -> None:
    line = raw(at(NOW_MS, client="a"))[:-2]
    odd = [line + b',"x%d":{"a":1,"a":2}}\n' % i for i in range(20)] + [line + b',"y":' + b"9" * 2000 + b"}\n"]
    settled = written(store, read(b"".join(odd)).requests)
    assert settled.written == Written(rejected=21)
    assert written(store, some(2)).written == Written(stored=2)


def test_a_request_that_is_too_large_for_the_server_is_split(
    store: ElasticsearchStore, chosen: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_BYTES", 5 * MOST_CONTENT_MB << 20)
    monkeypatch.setattr(store_module, "MOST_GATHERED_BYTES", 5 * MOST_CONTENT_MB << 20)
    long = "x" * 10_000
    found = documents(*(at(NOW_MS, client=f"{i}", surplus=long) for i in range(2000)))
    assert sum(map(len, found)) * len(long) > 2 * MOST_CONTENT_MB << 20
    assert written(store, found).written == Written(stored=2000)
    assert len(ids_in(chosen)) == 2000


def test_packed_requests_are_understood(elasticsearch: str) -> None:
    chosen = settings(elasticsearch, new_name(), gzip=True)
    set_up(chosen)
    store = store_for(chosen)
    assert written(store, some(50)).written == Written(stored=50)
    assert written(store, some(50)).written == Written(duplicate=50)
    store.close()
