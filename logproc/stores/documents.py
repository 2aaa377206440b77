"""Documents as columns, and one document under its public names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from logproc.ids import id_text
from logproc.stores.fields import EVENT_OUTCOMES, Field, FieldType


@dataclass(slots=True)
class Documents:
    """n documents as columns: ids of 16 bytes, times in ms since 1970, and the rest by `Field.column`.

    In a column None is unknown; a column in which nothing is known is not there. Durations are ns, `keywords` one
    string with commas, `json` a string.
    """

    ids: list[bytes]
    times_ms: npt.NDArray[np.int64]
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: Sequence[int]) -> Documents:
        """Only the documents at these places."""
        return Documents(
            [self.ids[place] for place in places],
            self.times_ms[list(places)],
            {name: [values[place] for place in places] for name, values in self.columns.items()},
        )

    def flat(self, fields: Sequence[Field]) -> list[dict[str, Any]]:
        """Each document as a flat mapping (see `flat_document`)."""
        empty = [None] * len(self)
        made = [self.ids, self.times_ms.tolist(), *(self.columns.get(field.column, empty) for field in fields[2:])]
        return [flat_document(fields, values) for values in zip(*made, strict=True)]


def flat_document(fields: Sequence[Field], values: Sequence[Any]) -> dict[str, Any]:
    """One document under its public names, unknown fields left out; `values` stand in the order of `fields`.

    `@timestamp` is RFC 3339, `event.id` text, flags and finish reasons lists, an object stays raw JSON.
    """
    document: dict[str, Any] = {}
    for each, value in zip(fields, values, strict=True):
        if value is None:
            continue
        public = _PUBLIC.get(each.type)
        document[each.name] = value if public is None else public(value)
        if each.column == "outcome":
            document["event.outcome"] = EVENT_OUTCOMES.get(value, "unknown")
    return document


def time_text(time_ms: int) -> str:
    """Ms since 1970 → RFC 3339 in UTC with milliseconds."""
    when = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{when.isoformat()[:19]}.{time_ms % 1000:03d}Z"


_PUBLIC: Final[dict[FieldType, Callable[[Any], Any]]] = {
    "id": id_text,
    "date": time_text,
    "keywords": lambda text: text.split(","),
    "boolean": bool,
    "json": lambda text: msgspec.Raw(text.encode("utf-8")),
}
"""What a stored value of some types becomes; of the others it stays."""
