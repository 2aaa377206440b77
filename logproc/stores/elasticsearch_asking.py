"""Searches of Elasticsearch: sent, judged, read; groups page by page until there are no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from logproc.stores.elasticsearch_client import Connection
from logproc.stores.store import StoreUnavailableError

_T = TypeVar("_T")

PAGE: Final = 1000
"""Documents, or groups, in one answer."""


class Aggregated(msgspec.Struct):
    """The part of an answer that holds aggregations: none where no index exists yet."""

    aggregations: dict[str, Any] = msgspec.field(default_factory=dict)


class Asking:
    """Asks the indices behind one alias. Each method raises StoreUnavailableError when there is no good answer."""

    def __init__(self, connection: Connection, alias: str) -> None:
        self._connection = connection
        self._path = (
            f"/{alias}/_search?ignore_unavailable=true&allow_no_indices=true&allow_partial_search_results=false"
        )

    def search(self, body: Mapping[str, Any], form: type[_T]) -> _T:
        """The answer to one search."""
        answer = self._connection.request("POST", self._path, msgspec.json.encode(body))
        if answer.status != 200:
            raise StoreUnavailableError(f"{self._connection.where} answered {answer.status}: {_reason(answer.json())}.")
        try:
            return msgspec.json.decode(answer.body, type=form)
        except msgspec.MsgspecError as error:
            raise StoreUnavailableError(
                f"{self._connection.where} gave an answer that cannot be read: {error}."
            ) from error

    def grouped(
        self, query: Mapping[str, Any], sources: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Every group (bucket of a composite aggregation), page by page: none is left out, however many there are."""
        after: dict[str, Any] | None = None
        while True:
            composite: dict[str, Any] = {"size": PAGE, "sources": list(sources)}
            if after is not None:
                composite["after"] = after
            body = {"size": 0, "query": query, "aggs": {"groups": {"composite": composite, "aggs": wanted}}}
            found = self.search(body, Aggregated).aggregations.get("groups", {})
            yield from found.get("buckets", ())
            after = found.get("after_key")
            if after is None:
                return


def _reason(answer: Any) -> str:
    """Why a question was refused, in the server's words."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        causes = error.get("root_cause") or [error]
        return str(causes[0].get("reason") or error.get("reason") or error.get("type"))[:300]
    return str(error or "no reason")[:300]
