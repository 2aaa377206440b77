"""Requests as points of a plot, length against time: the odd ones first, and of all of them an even sample.

The sample is made by the random end of the ids: the same requests are shown however often one asks, and the requests
of a shorter range of time are among those that are shown of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final, Literal, Protocol, get_args

from logproc.stores.archive import Archive, Found, Question
from logproc.stores.fields import REQUEST_FIELDS

Length = Literal["prompt_tokens", "completion_tokens"]
Time = Literal["ttft", "decode", "duration"]
LENGTHS: Final[tuple[Length, ...]] = get_args(Length)
TIMES: Final[tuple[Time, ...]] = get_args(Time)

USUAL_POINTS: Final = 1500
TIME_BYTES: Final = 6
"""Of an id: the rest of it is its random end."""

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


def chosen(odd: Iterable[tuple[int, bytes]], sample: Iterable[bytes], limit: int) -> set[bytes]:
    """The ids to show: the `limit // 2` odd ones (time, id) that took longest, and as much of the sample as fits.

    `sample` holds at least those `limit` ids whose ends are the lowest, where there are so many.
    """
    slowest = nsmallest(limit // 2, odd, key=lambda each: (-each[0], each[1]))
    shown = {key for _, key in slowest}
    for key in nsmallest(limit, sample, key=lambda key: key[TIME_BYTES:]):
        if len(shown) >= limit:
            break
        shown.add(key)
    return shown
