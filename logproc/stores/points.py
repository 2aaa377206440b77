"""Requests as points of a plot, length against time: the odd ones first, and of all of them an even sample.

The sample is made by the random end of the ids: the same requests are shown however often one asks, and the requests
of a shorter range of time are among those that are shown of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from logproc.stores.archive import Archive, Found, Question
from logproc.stores.fields import REQUEST_FIELDS

Ints = npt.NDArray[np.int64]
Length = Literal["prompt_tokens", "completion_tokens"]
Time = Literal["ttft", "decode", "duration"]
LENGTHS: Final[tuple[Length, ...]] = get_args(Length)
TIMES: Final[tuple[Time, ...]] = get_args(Time)

USUAL_POINTS: Final = 1000
ID_BYTES: Final = 16
TIME_BYTES: Final = 6
"""Of an id: the rest of it is its random end."""
_ENDS: Final = np.uint64((1 << 8 * (8 - TIME_BYTES)) - 1)
"""What of the first 8 bytes belongs to the end."""

_TOLD: Final = {
    "id", "time_ms", "duration_ns", "outcome", "flags", "model", "prompt_tokens", "completion_tokens", "cached_tokens",
    "ttft_ns", "stall_max_ns", "queue_ns", "prefill_ns", "decode_ns",
}  # fmt: skip
FIELDS: Final = tuple(field for field in REQUEST_FIELDS if field.column in _TOLD)
"""What is told of a point: enough to judge it."""

FIELD_OF: Final = {field.column: field.name for field in REQUEST_FIELDS}


@dataclass(frozen=True, slots=True)
class Axes:
    """What is plotted against what."""

    length: Length
    time: Time

    @property
    def columns(self) -> tuple[str, str]:
        """The columns of the two."""
        return self.length, f"{self.time}_ns"

    @property
    def fields(self) -> tuple[str, str]:
        """The fields of the two in a document."""
        length, time = self.columns
        return FIELD_OF[length], FIELD_OF[time]


USUAL_AXES: Final = (Axes("prompt_tokens", "ttft"), Axes("completion_tokens", "decode"))
"""What the page plots."""


@dataclass(frozen=True, slots=True)
class Points:
    """`total` requests have both; `shown` are some of them, oldest first, with FIELDS of their documents."""

    total: int
    shown: list[Found]


class PlottedArchive(Archive, Protocol):
    """An archive that gives points too: each that there is."""

    def points(self, question: Question, axes: Axes, limit: int) -> Points:
        """At most `limit` of the documents that match and have what is on both axes.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """

    def warm(self, since_ms: int, until_ms: int, is_over: Callable[[], bool]) -> None:
        """Count ahead what is usually asked of a range of time (ms since 1970), until `is_over`.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """


def chosen(odd_ns: Ints, odd: bytes, sample: bytes, limit: int) -> set[bytes]:
    """The ids to show: the `limit // 2` odd ones that took longest, and as much of the sample as fits.

    `odd` and `sample` are ids one after the other, `odd_ns` the times of the odd ones. The sample holds at least those
    `limit` ids whose ends are the lowest, where there are so many.
    """
    longest = _least(~odd_ns, limit // 2)
    high, low = _halves(odd)
    order = np.lexsort((low[longest], high[longest], ~odd_ns[longest]))
    shown = {_at(odd, place) for place in longest[order][: limit // 2].tolist()}
    high, low = _halves(sample)
    end = high & _ENDS
    lowest = _least(end << np.uint64(8 * TIME_BYTES) | low >> np.uint64(8 * (8 - TIME_BYTES)), limit)
    order = np.lexsort((low[lowest], end[lowest]))
    for place in lowest[order].tolist():
        if len(shown) >= limit:
            break
        shown.add(_at(sample, place))
    return shown


def _least(values: Ints | npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.intp]:
    """The places of the `count` least values, and of those that equal the last of them, in no order."""
    if not 0 < count < len(values):
        return np.arange(len(values) if count else 0)
    return np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])


def _halves(ids: bytes) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The first and the last 8 bytes of each id, as numbers."""
    found = np.frombuffer(ids, ">u8").astype(np.uint64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _at(ids: bytes, place: int) -> bytes:
    return ids[ID_BYTES * place : ID_BYTES * (place + 1)]
