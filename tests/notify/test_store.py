"""Alerts as documents in a real Elasticsearch: every entry once, whoever is told, whatever is killed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from logproc.alerts.alert import entry_id
from logproc.notify.deliveries import Deliveries
from logproc.notify.store import AlertDocuments, bulks
from logproc.settings import Alerts, ElasticsearchStore
from tests.notify.alerts import NOW_MS, Record, alert
from tests.pipeline import until
from tests.stores import elastic

service = [pytest.mark.service, pytest.mark.timeout(300)]
_numbers = itertools.count()


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(tmp_path)
    yield made
    made.close()


@pytest.fixture
def deliveries(tmp_path: Path) -> Iterator[Deliveries]:
    made = Deliveries(tmp_path / "notify.db", Alerts(), {})
    yield made
    made.close()


def running(chosen: ElasticsearchStore, record: Record, deliveries: Deliveries) -> AlertDocuments:
    made = AlertDocuments(chosen, "vllm", record.path, deliveries, lambda: NOW_MS)
    made.start()
    return made


def test_entries_older_than_the_retention_are_left_out_and_each_period_has_its_index() -> None:
    chosen = ElasticsearchStore(kind="elasticsearch", index="x", period="day", keep_days=3)
    entries = [alert(number, at_ms=NOW_MS - number * 86_400_000) for number in range(6)]

    made = list(bulks(entries, chosen, "vllm", NOW_MS))

    assert [bulk.count for bulk in made] == [1, 1, 1, 1]
    assert len({bulk.index for bulk in made}) == 4
    assert all(bulk.index.startswith("x-alerts-20") for bulk in made)


def test_a_store_that_is_not_there_is_waited_for_and_stops_quickly(record: Record, deliveries: Deliveries) -> None:
    record.add(alert())
    documents = running(elastic.settings("http://127.0.0.1:9", "x"), record, deliveries)
    try:
        until(lambda: bool(documents.problem), "the problem")
        documents.finish()
        assert documents.position() == 0
    finally:
        documents.stop()


class TestOnTheRealServer:
    pytestmark = service

    @pytest.fixture
    def chosen(self, elasticsearch: str) -> ElasticsearchStore:
        return elastic.settings(elasticsearch, f"alerts-{next(_numbers)}")

    def test_every_entry_is_stored_once_also_those_that_nobody_is_told_of(
        self, chosen: ElasticsearchStore, record: Record, deliveries: Deliveries
    ) -> None:
        elastic.set_up(chosen)
        entries = [
            alert(1, "pending", at_ms=NOW_MS),
            alert(1, "firing", at_ms=NOW_MS + 1000),
            alert(1, "resolved", at_ms=NOW_MS + 2000),
            alert(2, "firing", behind=True),
        ]
        record.add(*entries)
        documents = running(chosen, record, deliveries)
        documents.finish()
        documents.stop()

        found = elastic.stored(chosen.urls[0], f"{chosen.index}-alerts")
        assert {each["_id"] for each in found} == {entry_id(entry) for entry in entries}
        assert {each["_source"]["llm.alert.state"] for each in found} == {"pending", "firing", "resolved"}

    def test_after_a_restart_it_goes_on_and_what_is_sent_again_is_there_once(
        self, chosen: ElasticsearchStore, record: Record, deliveries: Deliveries
    ) -> None:
        elastic.set_up(chosen)
        for number in range(3):
            record.add(alert(number))
            documents = running(chosen, record, deliveries)
            documents.finish()
            documents.stop()
            assert documents.position() == number + 1
        with deliveries.writing() as connection:  # killed before the position was committed
            connection.execute("UPDATE documents SET seq = 1, entry_id = ?", (entry_id(alert(0)),))
        documents = running(chosen, record, deliveries)
        documents.finish()
        documents.stop()

        found = elastic.stored(chosen.urls[0], f"{chosen.index}-alerts")
        assert len(found) == 3
        assert {each["_version"] for each in found} == {1}

    def test_without_its_template_it_waits_and_goes_on_when_it_is_there(
        self, chosen: ElasticsearchStore, record: Record, deliveries: Deliveries
    ) -> None:
        record.add(alert())
        documents = running(chosen, record, deliveries)
        try:
            until(lambda: bool(documents.problem), "the problem")
            assert "logproc setup elasticsearch" in str(documents.problem)
            elastic.set_up(chosen)
            until(lambda: documents.position() == 1, "the documents")
        finally:
            documents.stop()

        assert len(elastic.stored(chosen.urls[0], f"{chosen.index}-alerts")) == 1
