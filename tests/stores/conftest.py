"""Stores on the real Elasticsearch, each with indices of its own: direct, and through a proxy that harms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from logproc.settings import ElasticsearchStore as StoreSettings
from logproc.stores.elasticsearch import ElasticsearchStore
from tests.services.elasticsearch_proxy import ElasticsearchProxy
from tests.stores.elastic import new_name, set_up, settings, store_for


@pytest.fixture
def chosen(elasticsearch: str) -> StoreSettings:
    """Settings with an index of this test's own, and its templates."""
    made = settings(elasticsearch, new_name())
    set_up(made)
    return made


@pytest.fixture
def store(chosen: StoreSettings) -> Iterator[ElasticsearchStore]:
    made = store_for(chosen)
    yield made
    made.close()


@pytest.fixture
def proxy(elasticsearch: str) -> Iterator[ElasticsearchProxy]:
    with ElasticsearchProxy(elasticsearch) as made:
        yield made


@pytest.fixture
def harmed(chosen: StoreSettings, proxy: ElasticsearchProxy) -> Iterator[ElasticsearchStore]:
    """A store that reaches the server through the proxy alone."""
    made = store_for(chosen.model_copy(update={"urls": [proxy.url]}))
    yield made
    made.close()
