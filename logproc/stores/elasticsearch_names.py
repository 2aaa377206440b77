"""What writers, `setup` and readers of Elasticsearch agree on: names of indices and templates, and the mapping."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from logproc.stores.fields import Field

Period = Literal["day", "week", "month"]
Family = Literal["requests", "servers", "alerts"]

TEMPLATE_VERSION: Final = 1
"""Stands in the `_meta` of each template. Any change of what `mapping` gives needs a new one, and a new `setup`."""

LONGEST_KEYWORD: Final = 1024
"""A longer text (characters) is kept but cannot be searched: a megabyte would be refused."""

PERIOD_DAYS: Final[dict[Period, int]] = {"day": 1, "week": 7, "month": 31}
"""The most days that one index covers."""

_MONDAY: Final = 3
"""1970-01-01 was a Thursday: the week that it lies in began 3 days before."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names that follow from `store.index`; the families are requests, server lines and alerts."""

    index: str

    def alias(self, family: Family) -> str:
        """The alias that stands for all indices of a family; their template has the same name."""
        return self.index if family == "requests" else f"{self.index}-{family}"

    template = alias

    def pattern(self, family: Family) -> str:
        """What the template of a family matches: its indices of the years 2000 to 2999, and those of no other."""
        return f"{self.alias(family)}-2*"

    def concrete(self, family: Family, day: int) -> str:
        """The index of the period that begins on this day (days since 1970)."""
        return f"{self.alias(family)}-{datetime.fromtimestamp(day * 86_400, UTC):%Y.%m.%d}"


def first_days(times_ms: npt.NDArray[np.int64], period: Period) -> npt.NDArray[np.int64]:
    """The day (days since 1970, UTC) on which the period of each time begins; shape (n,) → (n,). Weeks: Mondays."""
    days = times_ms // 86_400_000
    if period == "day":
        return days
    if period == "week":
        weeks: npt.NDArray[np.int64] = (days + _MONDAY) // 7 * 7 - _MONDAY
        return weeks
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    return months.astype("datetime64[D]").astype(np.int64)


def delete_after_days(period: Period, keep_days: int) -> int:
    """The age, counted from the first day of its period, at which an index holds only what is older than `keep_days`.

    Writers count older documents as `expired`, so none of them makes such an index anew.
    """
    return keep_days + PERIOD_DAYS[period]


def meta(period: Period) -> dict[str, Any]:
    """The `_meta` of the template of each family."""
    return {"logproc": {"version": TEMPLATE_VERSION, "period": period}}


def mapping(fields: Iterable[Field]) -> dict[str, Any]:
    """The mapping of documents with these fields: explicit, unknown fields are kept but not searched."""
    root: dict[str, Any] = {}
    for field in fields:
        _put(root, field.name, _type(field))
        if field.name == "llm.outcome":
            _put(root, "event.outcome", _keyword())
    return {"dynamic": False, "properties": root}


def _put(properties: dict[str, Any], name: str, kind: dict[str, Any]) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        properties = properties.setdefault(parent, {"properties": {}})["properties"]
    properties[last] = kind


def _type(field: Field) -> dict[str, Any]:
    match field.elasticsearch_type:
        case "object" if field.parts:
            return {"properties": {name: _simple(kind) for name, kind in field.parts}}
        case "object":
            return {"type": "object", "enabled": False}
        case kind:
            return _simple(kind)


def _simple(kind: str) -> dict[str, Any]:
    match kind:
        case "keyword":
            return _keyword()
        case "long" | "double" | "date":
            return {"type": kind, "ignore_malformed": False}
        case _:
            return {"type": kind}


def _keyword() -> dict[str, Any]:
    return {"type": "keyword", "ignore_above": LONGEST_KEYWORD}
