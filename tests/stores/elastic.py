"""Small helpers for tests on a real Elasticsearch: a store on indices of its own, and what is in them then."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from logproc.ids import id_text
from logproc.settings import ElasticsearchStore as StoreSettings
from logproc.stores.documents import Documents
from logproc.stores.elasticsearch import ElasticsearchStore
from logproc.stores.elasticsearch_client import Connection
from logproc.stores.elasticsearch_setup import install
from logproc.stores.store import Settled, Store, StoreBusyError, StoreUnavailableError
from tests.lines import NOW_MS
from tests.services.elasticsearch import call
from tests.stores.documents_of import at, documents

T = TypeVar("T")
_numbers = itertools.count()
LIMIT_S = 30.0


def new_name() -> str:
    """A `store.index` that no other test of this run has."""
    return f"test-{next(_numbers)}"


def settings(url: str, index: str, **more: Any) -> StoreSettings:
    return StoreSettings.model_validate({"kind": "elasticsearch", "urls": [url], "index": index, **more})


def set_up(chosen: StoreSettings) -> None:
    """The templates, as `logproc setup elasticsearch` puts them."""
    connection = Connection(chosen)
    said: list[str] = []
    assert install(connection, chosen, "vllm", said.append), said
    connection.close()


def store_for(chosen: StoreSettings, now_ms: int = NOW_MS) -> ElasticsearchStore:
    return ElasticsearchStore(chosen, lambda: now_ms)


def patiently(step: Callable[[], T]) -> T:
    """Do a step until it can be done."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return step()
        except (StoreBusyError, StoreUnavailableError) as error:
            if time.monotonic() > deadline:
                raise AssertionError("it cannot be done") from error
            time.sleep(0.02)


def written(store: Store, requests: Sequence[Documents], servers: Sequence[Documents] = ()) -> Settled:
    """Write and settle; all that became of the documents."""
    first = patiently(lambda: store.write(requests, servers))
    settled = patiently(store.settle)
    return Settled(settled.written.plus(first), settled.refused)


def problem_of(store: Store) -> str:
    """Settle until the store says what keeps it from that."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        assert time.monotonic() < deadline, "it never says a problem"
        try:
            store.settle()
        except StoreBusyError:
            continue
        except StoreUnavailableError as error:
            return str(error)
        raise AssertionError("there is no problem")


def stored(url: str, index: str) -> list[dict[str, Any]]:
    """Every document behind an alias or in an index, as it was given, by its id; none where there is no index yet."""
    call(url, "POST", f"/{index}/_refresh")
    return sorted(_all(url, index), key=lambda each: str(each["_id"]))


def _all(url: str, index: str, *, whole: bool = True) -> Iterator[dict[str, Any]]:
    body: dict[str, Any] = {"size": 5000, "sort": [{"event.id": "asc"}], "version": True, "_source": whole}
    while True:
        answer = call(url, "POST", f"/{index}/_search", body)
        hits = [] if answer.get("status") == 404 else answer["hits"]["hits"]
        yield from hits
        if len(hits) < body["size"]:
            return
        body["search_after"] = hits[-1]["sort"]


def sums(url: str, index: str) -> tuple[int, int, int, int]:
    """Documents, distinct ids, sum of prompt tokens, sum of completion tokens."""
    call(url, "POST", f"/{index}/_refresh")
    body = {
        "size": 0,
        "track_total_hits": True,
        "aggs": {
            "prompt": {"sum": {"field": "gen_ai.usage.input_tokens"}},
            "completion": {"sum": {"field": "gen_ai.usage.output_tokens"}},
        },
    }
    found = call(url, "POST", f"/{index}/_search", body)
    distinct = {each["sort"][0] for each in _all(url, index, whole=False)}
    total = found["hits"]["total"]["value"]
    values = (found["aggregations"][name]["value"] for name in ("prompt", "completion"))
    return total, len(distinct), *(int(value) for value in values)


def some(count: int, time_ms: int = NOW_MS, **fields: Any) -> list[Documents]:
    """Documents of so many requests, which differ."""
    return documents(*(at(time_ms, client=f"10.0.0.{i}", **fields) for i in range(count)))


def ids(found: list[Documents]) -> list[str]:
    """Their ids, sorted."""
    return sorted(id_text(each) for part in found for each in part.ids)


def ids_in(chosen: StoreSettings) -> list[str]:
    """The ids of the documents that are stored, sorted."""
    return [each["_id"] for each in stored(chosen.urls[0], chosen.index)]
