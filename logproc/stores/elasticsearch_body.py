"""Documents as columns → the body of a bulk request: for each one a line that says `create` and its id, and itself."""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from logproc.ids import id_texts
from logproc.stores.documents import Documents
from logproc.stores.fields import EVENT_OUTCOMES, Field

_encoder: Final = msgspec.json.Encoder()


class _Id(msgspec.Struct, gc=False, frozen=True):
    id: str = msgspec.field(name="_id")


class _Create(msgspec.Struct, gc=False, frozen=True):
    create: _Id


def body(documents: Documents, fields: tuple[Field, ...]) -> bytes:
    """Two lines for each document, in their order. The index stands in the path of the request, not here."""
    ids = id_texts(documents.ids)
    names, columns = ["event.id", "@timestamp"], [ids, time_texts(documents.times_ms)]
    for field in fields:
        values = documents.columns.get(field.column)
        if values is None:
            continue
        names.append(field.name)
        columns.append(_public(field, values))
        if field.column == "outcome":
            names.append("event.outcome")
            columns.append([EVENT_OUTCOMES.get(value, "unknown") for value in values])
    made = map(_document(tuple(names)), *columns)
    return _encoder.encode_lines(chain.from_iterable(zip(map(_Create, map(_Id, ids)), made, strict=True)))


def time_texts(times_ms: npt.NDArray[np.int64]) -> list[str]:
    """`documents.time_text` of many times."""
    texts: list[str] = np.datetime_as_string(times_ms.astype("datetime64[ms]"), timezone="UTC").tolist()
    return texts


@lru_cache(maxsize=256)
def _document(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """A type whose instances are written under these names, without those that are None."""
    places = [f"f{place}" for place in range(len(names))]
    return msgspec.defstruct(
        "Document",
        [(place, Any, None) for place in places],
        rename=dict(zip(places, names, strict=True)),
        omit_defaults=True,
        gc=False,
    )


def _public(field: Field, values: list[Any]) -> list[Any]:
    match field.type:
        case "keywords":
            return [None if value is None else value.split(",") for value in values]
        case "json":
            return [None if value is None else msgspec.Raw(value.encode("utf-8")) for value in values]
        case _:
            return values
