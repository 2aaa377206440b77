"""Things go wrong between the store and a real Elasticsearch: nothing is lost or there twice, and it is said."""

from __future__ import annotations

import base64
import threading
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from logproc.settings import ElasticsearchStore as StoreSettings
from logproc.stores import elasticsearch as store_module
from logproc.stores import elasticsearch_sink as sink_module
from logproc.stores.documents import Documents
from logproc.stores.elasticsearch import ElasticsearchStore
from logproc.stores.elasticsearch_client import Connection
from logproc.stores.store import StoreBusyError, StoreUnavailableError, Written
from tests.lines import NOW_MS
from tests.services import elasticsearch_proxy as harm
from tests.services.elasticsearch_proxy import Answered, ElasticsearchProxy, Exchange, Harm
from tests.stores.documents_of import at, documents
from tests.stores.elastic import ids, ids_in, patiently, problem_of, some, store_for, stored, written

pytestmark = pytest.mark.service

HARMS: dict[str, Harm] = {
    "the connection is reset before": harm.reset_before,
    "the connection is reset after": harm.reset_after,
    "the answer is cut": harm.cut_in_the_middle,
    "the answer is whole but shorter": harm.shorter,
    "busy with every other document": harm.every_other_busy,
    "429": harm.answering(429, b'{"error":{"type":"es_rejected_execution_exception","reason":"x"},"status":429}'),
    "502 of something between": harm.answering(502, b"<html>Bad Gateway</html>"),
    "503": harm.answering(503),
    "403": harm.answering(403, b'{"error":{"type":"security_exception","reason":"x"},"status":403}'),
    "413": harm.answering(413),
    "an empty answer": harm.answering(200),
}


@pytest.mark.parametrize("kind", HARMS)
def test_what_happens_on_the_way_neither_loses_nor_doubles(
    harmed: ElasticsearchStore, proxy: ElasticsearchProxy, chosen: StoreSettings, kind: str
) -> None:
    proxy.harms += [HARMS[kind], harm.passing, HARMS[kind]]
    found = some(40)
    first = written(harmed, found[:1])
    again = written(harmed, found)
    total = first.written.plus(again.written)
    assert total.stored + total.duplicate == 80
    assert total.rejected == 0
    assert ids_in(chosen) == ids(found)
    assert all(hit["_version"] == 1 for hit in stored(chosen.urls[0], chosen.index))


def test_a_server_that_is_always_busy_is_said_at_last_and_forgotten_when_it_is_not(
    harmed: ElasticsearchStore, proxy: ElasticsearchProxy
) -> None:
    proxy.always = HARMS["429"]
    harmed.write(some(3), [])
    assert "429 es_rejected_execution_exception" in problem_of(harmed)
    proxy.always = harm.passing
    assert patiently(harmed.settle).written == Written(stored=3)
    assert harmed.write(some(3), []) == Written()


def test_another_password_while_it_runs_pauses_until_the_file_of_the_settings_has_it(
    proxy: ElasticsearchProxy, chosen: StoreSettings, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    proxy.login = "Basic " + base64.b64encode(b"me:old").decode()
    more = {"urls": [proxy.url], "username": "me", "password_file": file}
    store = store_for(chosen.model_copy(update=more))
    assert written(store, some(2)).written == Written(stored=2)
    proxy.login = "Basic " + base64.b64encode(b"me:new").decode()
    store.write(some(3), [])
    problem = problem_of(store)
    assert "401" in problem
    assert "The user or key of the settings" in problem
    assert "old" not in problem
    file.unlink()  # as while somebody writes it anew
    assert "401" in problem_of(store)
    file.write_text("new\n")
    assert patiently(store.settle).written == Written(stored=1, duplicate=2)
    store.close()


HTML: Final = b"<html><title>Sign in</title></html>"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answered(200, HTML), "an answer that is none of a bulk request"),
        (Answered(302, HTML), "the server answers 302. Something between here and there sends us elsewhere"),
        (Answered(403, HTML), "the server answers 403"),
        (Answered(502, HTML), "the server answers 502"),
    ],
)
def test_a_page_of_something_between_is_said_and_nothing_is_lost(
    harmed: ElasticsearchStore, proxy: ElasticsearchProxy, chosen: StoreSettings, answer: Answered, words: str
) -> None:
    proxy.always = lambda _: answer
    found = some(3)
    harmed.write(found, [])
    problem = problem_of(harmed)
    assert words in problem
    assert "Sign in" not in problem
    proxy.always = harm.passing
    assert patiently(harmed.settle).written == Written(stored=3)
    assert ids_in(chosen) == ids(found)


def test_a_server_that_is_silent_is_said_before_its_time_is_over(
    harmed: ElasticsearchStore, proxy: ElasticsearchProxy, chosen: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "SILENT_S", 0.2)
    over = threading.Event()

    def silent(exchange: Exchange) -> Answered:
        over.wait(60)
        return harm.passing(exchange)

    proxy.harms.append(silent)
    found = some(3)
    harmed.write(found, [])
    assert "no answer for more than" in problem_of(harmed)
    over.set()
    assert patiently(harmed.settle).written == Written(stored=3)
    assert ids_in(chosen) == ids(found)


def test_an_error_that_nobody_thought_of_is_said_and_tried_again(
    store: ElasticsearchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "request", lambda *_: 1 // 0)
        store.write(some(2), [])
        assert "ZeroDivisionError, which should not happen" in problem_of(store)
    assert patiently(store.settle).written == Written(stored=2)


def how_many_are_taken(store: ElasticsearchStore, found: list[list[Documents]]) -> int:
    """Write one after the other until the store wants no more."""
    for taken, each in enumerate(found):
        try:
            store.write(each, [])
        except (StoreUnavailableError, StoreBusyError):
            return taken
    return len(found)


def test_while_the_server_does_not_answer_only_so_much_is_taken(
    harmed: ElasticsearchStore, proxy: ElasticsearchProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_BYTES", 1)
    proxy.always = HARMS["503"]
    found = [documents(at(NOW_MS, client=f"{i}")) for i in range(100)]
    taken = how_many_are_taken(harmed, found)
    assert 0 < taken < 20
    proxy.always = harm.passing
    for each in found[taken:]:
        patiently(partial(harmed.write, each, []))
    assert patiently(harmed.settle).written == Written(stored=100)
