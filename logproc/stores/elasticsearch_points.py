"""Points of a plot out of Elasticsearch: the bodies of its two searches."""

from __future__ import annotations

from typing import Any, Final

from logproc.stores.points import FIELD_OF, FIELDS, Axes

_SEED: Final = 1
_TOLD: Final = [*(field.name for field in FIELDS), "event.outcome"]


def odd_body(query: dict[str, Any], axes: Axes, limit: int) -> dict[str, Any]:
    """The requests with a flag that took longest."""
    _, time = axes.fields
    flagged = {"exists": {"field": FIELD_OF["flags"]}}
    return {
        "size": limit,
        "_source": _TOLD,
        "query": {"bool": {"filter": [_with_both(query, axes), flagged]}},
        "sort": [{time: "desc"}, {FIELD_OF["id"]: "asc"}],
        "track_total_hits": False,
    }


def sample_body(query: dict[str, Any], axes: Axes, limit: int) -> dict[str, Any]:
    """An even sample, the same each time, and how many there are."""
    random = {"random_score": {"seed": _SEED, "field": FIELD_OF["id"]}, "boost_mode": "replace"}
    return {
        "size": limit,
        "_source": _TOLD,
        "query": {"function_score": {"query": _with_both(query, axes), **random}},
        "sort": [{"_score": "desc"}, {FIELD_OF["id"]: "asc"}],
        "track_total_hits": True,
    }


def _with_both(query: dict[str, Any], axes: Axes) -> dict[str, Any]:
    return {"bool": {"filter": [query, *({"exists": {"field": field}} for field in axes.fields)]}}
