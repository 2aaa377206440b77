"""What can be asked of every store: find documents, group them, count them over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

By = Literal["model", "client", "user_id", "api_key_id", "outcome"]


@dataclass(frozen=True, slots=True)
class Question:
    """Which requests are asked for. Empty means any; several values of one kind mean any of them."""

    since_ms: int | None = None
    """The first moment, ms since 1970."""
    until_ms: int | None = None
    """The moment after the last."""
    outcomes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    """User ids or API key ids."""
    ids: tuple[str, ...] = ()
    """Event, request, response or trace ids."""
    slower_than_ns: int | None = None


class Position(NamedTuple):
    """Where a list of documents was left, to go on after it."""

    time_ms: int
    id: bytes


class Found(NamedTuple):
    """One document that was found, under its public names, and its place in the order of time."""

    position: Position
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """The requests that share one value of what they were grouped by (None: unknown)."""

    key: str | None
    requests: int
    outcomes: Mapping[str, int]
    prompt_tokens: int
    """Sum over those whose number is known; so too `completion_tokens`."""
    completion_tokens: int
    p50_ns: int
    p95_ns: int
    p99_ns: int
    """Durations of real requests: the least that so large a share of the requests did not exceed."""


class Archive(Protocol):
    """Where documents are found again. Any number of processes read, while one writes."""

    def find(
        self, question: Question, *, limit: int | None = None, after: Position | None = None, oldest_first: bool = False
    ) -> Iterator[Found]:
        """The documents that match, newest first unless said otherwise, going on after the position `after`.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """

    def summarize(self, question: Question, by: By) -> list[Group]:
        """The documents that match, grouped; the largest group first.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """

    def extent(self) -> tuple[int, int] | None:
        """The times (ms since 1970) of the oldest and the newest document; None when there is none."""
