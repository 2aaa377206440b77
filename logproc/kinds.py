"""What is not a number of a request: whatever has few values (model, status, outcome, …) is one kind, numbered once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from weakref import proxy

import numpy as np
import numpy.typing as npt

from logproc.decode import OddBlockError
from logproc.harmless import harmless
from logproc.learned import ALL_FIELDS, DEFAULTS, LearnedDecoder
from logproc.record import GENERATION, OUTCOMES, REQUEST, RequestRecord, operation_of

LABEL_LENGTH: Final = 128
"""Longer label values (a megabyte of model name) are cut."""

MOST_KINDS: Final = 20_000
MOST_CHARACTERS: Final = 8 << 20
"""Of the texts by which kinds are told apart: a line may hold a megabyte of model name."""

NOT_A_REQUEST: Final = -1


def outcome_of(status: int, finish_reason: str | None, outcome: str | None) -> str:
    """The outcome of a line: its own where it is one of the list, else what status and finish reason tell."""
    if outcome in OUTCOMES:
        return outcome
    if status == 499:
        return "client_disconnect"
    if 400 <= status < 500 or status == 503:
        return "rejected"
    if status >= 500 or finish_reason in {"abort", "error"}:
        return "server_error"
    return "truncated" if finish_reason == "length" else "ok"


def label(text: str) -> str:
    """A text from outside as the value of a label: bounded, and without anything that does harm in a terminal."""
    return harmless(text[:LABEL_LENGTH])[:LABEL_LENGTH]


@dataclass(frozen=True, slots=True)
class Kind:
    """What all requests of one kind share; `stream` is False only where the line says so.

    `empty_twin` is the number of the same kind with the outcome `empty`, for lines that do not say theirs.
    """

    model: str
    operation: str
    status: int
    outcome: str
    finish_reason: str | None
    stream: bool
    empty_twin: int = -1


_KEY: Final = ("event", "model", "path", "operation", "method", "status", "outcome", "finish_reason", "stream")


class _Numbers(dict[tuple[Any, ...], int]):
    """The numbers of the kinds by the values of those key fields that are present in a log.

    `look_up` is a comprehension over the key's attributes by their literal names. It is made as text because nothing
    else in Python comes near its speed: after decoding this is the line that costs most.
    """

    def __init__(self, kinds: Kinds, present: frozenset[str]) -> None:
        super().__init__()
        self.characters = 0
        self._kinds = proxy(kinds)  # no circle: what is forgotten is to be freed at once
        self._names = [name for name in _KEY if name in present]
        key = "".join(f"r.{name}, " for name in self._names)
        self.look_up: Callable[[dict[Any, int], Sequence[RequestRecord]], list[int]] = eval(  # noqa: S307 - own names
            f"lambda numbers, rows: [numbers[({key})] for r in rows]"
        )

    def __missing__(self, values: tuple[Any, ...]) -> int:
        number: int = self._kinds.number({**_ABSENT, **dict(zip(self._names, values, strict=True))})
        self[values] = number  # not where a field is missing: bad input must not fill the table
        self.characters += sum(len(value) for value in values if isinstance(value, str))
        return number


_ABSENT: Final = {name: DEFAULTS[name] for name in _KEY}


class Kinds:
    """Numbers the kinds as they appear. Lines that are no requests get NOT_A_REQUEST."""

    def __init__(self, decoder: LearnedDecoder | None = None) -> None:
        self.decoder = decoder or LearnedDecoder()
        self.list: list[Kind] = []
        self.twins: npt.NDArray[np.int32] = np.empty(0, np.int32)
        """The `empty_twin` of each kind."""
        self.streams: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self._by_kind: dict[Kind, int] = {}
        self._by_present: dict[frozenset[str], _Numbers] = {}

    def of(self, rows: Sequence[RequestRecord], present: frozenset[str] = ALL_FIELDS) -> npt.NDArray[np.int32]:
        """The number of each record's kind; fields that are not `present` are not looked at.

        Raises:
            OddBlockError: a record lacks a required field.
        """
        numbers = self._by_present.get(present)
        if numbers is None:
            numbers = self._by_present[present] = _Numbers(self, present)
        found = np.fromiter(numbers.look_up(numbers, rows), np.int32, len(rows))
        if len(self.twins) != len(self.list):
            self.twins = np.array([kind.empty_twin for kind in self.list], np.int32)
            self.streams = np.array([kind.stream for kind in self.list], np.bool_)
        return found

    def number(self, key: dict[str, Any]) -> int:
        """The number of the kind with these values of the key fields.

        Raises:
            OddBlockError: a required field is missing.
        """
        model, path, status, outcome, reason = (
            key[name] for name in ("model", "path", "status", "outcome", "finish_reason")
        )
        if key["event"] != REQUEST:
            return NOT_A_REQUEST
        if key["method"] is None or path is None or status is None:
            raise OddBlockError("a field is missing")
        kind = Kind(
            label(model or "unknown"),
            label(key["operation"] or operation_of(path) or "unknown"),
            status,
            outcome_of(status, reason, outcome),
            reason and label(reason),
            key["stream"] is not False,
        )
        if outcome not in OUTCOMES and kind.outcome == "ok" and kind.operation in GENERATION and 200 <= status < 300:
            # The line does not say its outcome: no token at all means `empty` (see `events.Gathered.take`).
            kind = replace(kind, empty_twin=self._number(replace(kind, outcome="empty")))
        return self._number(kind)

    def _number(self, kind: Kind) -> int:
        number = self._by_kind.setdefault(kind, len(self.list))
        if number == len(self.list):
            self.list.append(kind)
        return number

    @property
    def is_full(self) -> bool:
        """Whether so many keys were seen (a hostile or broken writer) that it is time to begin anew."""
        tables = self._by_present.values()
        return sum(map(len, tables)) > MOST_KINDS or sum(each.characters for each in tables) > MOST_CHARACTERS
