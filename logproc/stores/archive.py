"""What can be asked of every store: find documents, group them, count them over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

from logproc.record import EngineLoad, GpuLoad

By = Literal["model", "client", "user_id", "api_key_id", "outcome"]

Who = Literal["client", "user_id", "api_key_id"]
"""Those of them that say whose requests they are."""

Percentiles = tuple[float, float, float] | None


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

    @property
    def has_filters(self) -> bool:
        """Whether anything but a range of time is asked for."""
        return self != Question(since_ms=self.since_ms, until_ms=self.until_ms)


class Position(NamedTuple):
    """Where a list of documents was left, to go on after it."""

    time_ms: int
    id: bytes


class Slowness(NamedTuple):
    """Where a list of the slowest documents was left, to go on after it."""

    duration_ns: int
    time_ms: int
    id: bytes


class Found(NamedTuple):
    """One document that was found, under its public names, and its place in the order of time."""

    position: Position
    document: dict[str, Any]


class Tokens(NamedTuple):
    """Sums over the requests whose number is known."""

    prompt: int
    completion: int


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
    """Percentiles of the duration: the least that so large a share of the requests did not exceed."""
    ttft_ms: Percentiles
    """Percentiles of the time to first token; None where it is known of none."""
    by_model: Mapping[str | None, Tokens]
    """The tokens once more, by the model that made them."""


class Span(NamedTuple):
    """A range of time, ms since 1970, without its end."""

    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What an answer rests on."""

    is_exact: bool = True
    """Whether percentiles are those of real requests; else they are within 1 % of them."""
    rolled_up: Span | None = None
    """Of this time only minutes are kept: whole minutes that begin in the range were taken."""
    left_out: Span | None = None
    """Of this time only minutes are kept, and they cannot tell what was asked: nothing of it is in the answer."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The groups, the largest first, and all of them together; `total` is None when nothing matches."""

    groups: list[Group]
    total: Group | None
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Step:
    """What the requests of one step of time (and one model, where so asked) came to.

    Percentiles (P50, P95, P99) and sums of times are ms; None where nothing is known.
    """

    time_ms: int
    model: str | None
    requests: int
    outcomes: Mapping[str, int]
    prompt_tokens: int
    completion_tokens: int
    duration_ms: Percentiles
    ttft_ms: Percentiles
    queue_ms: float
    prefill_ms: float
    decode_ms: float
    timed_ms: float
    """The durations of the requests of which one of these three is known: what they leave of it was none of them."""


@dataclass(frozen=True, slots=True)
class Series:
    """The steps in which there was a request, oldest first; percentiles are within 1 %."""

    steps: list[Step]
    coverage: Coverage


HeatOf = Literal["duration", "ttft"]

HEAT_EDGES_MS: Final = tuple(round(10 ** (place / 6), 3) for place in range(37))
"""Between the rows of a heat map: from 1 ms to 17 minutes, each reaching half as far again as the one before. What lies
beyond is in the first or the last."""


@dataclass(frozen=True, slots=True)
class Heat:
    """How many requests took how long, by steps of time: `counts` by (step's beginning in ms since 1970, row).

    A row holds the times from `HEAT_EDGES_MS[row]` up to the next edge; edges are within 1 %.
    """

    counts: Mapping[tuple[int, int], int]
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Server:
    """What one server process, known by host and process id, said of itself in a range of time.

    The fields from `in_flight` to `gpus` are those of its newest heartbeat; what is unknown is None.
    """

    host: str | None
    pid: int | None
    seen_ms: int
    """Its newest line, ms since 1970."""
    service: str | None = None
    version: str | None = None
    """This, the model and the start are those of its newest start, which may lie before the range."""
    model: str | None = None
    started_ms: int | None = None
    startup_ns: int | None = None
    stopped_ms: int | None = None
    """When it stopped; None for a server that has started, or sent a heartbeat, since."""
    heartbeat_ms: int | None = None
    in_flight: int | None = None
    oldest_in_flight_ns: int | None = None
    lines_lost: int | None = None
    engines: tuple[EngineLoad, ...] | None = None
    gpus: tuple[GpuLoad, ...] | None = None
    gpu_memory_peak_bytes: int | None = None
    """The most memory that one GPU had in use, over all its heartbeats of the range."""
    gpu_memory_peak_ratio: float | None = None
    """The same as a share of what that GPU has, 0 to 1."""


class Archive(Protocol):
    """Where documents are found again. Any number of processes read, while one writes."""

    @property
    def missing(self) -> str | None:
        """Why there is nothing to be asked yet, for a person; None when there is something."""

    def find(
        self, question: Question, *, limit: int | None = None, after: Position | None = None, oldest_first: bool = False
    ) -> Iterator[Found]:
        """The documents that match, newest first unless said otherwise, going on after the position `after`.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """

    def slowest(self, question: Question, *, limit: int, after: Slowness | None = None) -> list[Found]:
        """The documents that match and have a duration, the longest first, going on after `after`.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """

    def summarize(self, question: Question, by: By | None, *, exact: bool = True) -> Summary:
        """The documents that match, grouped. Percentiles need not be exact if that is quicker, unless `exact`.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """

    def series(self, question: Question, step_ms: int, *, by_model: bool = False) -> Series:
        """The documents that match, by steps of time that begin at multiples of `step_ms`.

        Steps are whole minutes, and a minute counts where it begins in the question's range of time; or they are parts
        of a minute, and so do they.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """

    def heat(self, question: Question, of: HeatOf, step_ms: int) -> Heat:
        """How many of the documents that match took how long, by steps of time as in `series`.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """

    def extent(self) -> tuple[int, int] | None:
        """The times (ms since 1970) of the oldest and the newest document; None when there is none."""

    def servers(self, since_ms: int | None = None, until_ms: int | None = None) -> list[Server]:
        """The servers that wrote a line of their own from `since_ms` until before `until_ms` (ms since 1970; None: no
        bound), the one that was heard of last first.

        Raises:
            StoreUnavailableError: the store, or a part of it, cannot be read.
        """
