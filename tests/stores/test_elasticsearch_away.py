"""What is said where Elasticsearch, or its client, is not there; needs no server."""

from __future__ import annotations

import sys

import pytest

from logproc.stores import elasticsearch_sink as sink_module
from logproc.stores.elasticsearch_client import ClientMissingError, Connection
from tests.stores.elastic import problem_of, settings, some, store_for

NOBODY = "http://127.0.0.1:1"


def test_a_server_that_is_not_there_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "wait_s", lambda _: 0.0)
    store = store_for(settings(NOBODY, "x"))
    store.write(some(1), [])
    assert problem_of(store) == f"{NOBODY}: Connection refused."
    store.close()


def test_without_the_client_it_is_said_how_to_install_it_from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elasticsearch", None)
    with pytest.raises(ClientMissingError, match=r"in the checkout, pip install '\.\[elasticsearch\]'"):
        Connection(settings(NOBODY, "x"))
