"""What every store can do: keep documents. What can be asked of it: see `archive.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from logproc.stores.documents import Documents


class StoreUnavailableError(Exception):
    """The store cannot take or give documents now; nothing was skipped. The message says where, why, and what helps.

    Whoever writes waits, and gives the same again: the ids make a repeat harmless.
    """


class StoreBusyError(Exception):
    """The store needs longer, and nothing is wrong with it: it waited a moment, and may be asked again at once."""


class Written(NamedTuple):
    """What became of documents that were handed to a store."""

    stored: int = 0
    duplicate: int = 0
    expired: int = 0
    rejected: int = 0

    def plus(self, other: Written) -> Written:
        """The sum of both."""
        return Written(*(one + more for one, more in zip(self, other, strict=True)))


class Refused(NamedTuple):
    """A document that the store will never take: as the store was given it (JSON), and why."""

    event_id: str
    error_type: str
    detail: str
    document: bytes


class Settled(NamedTuple):
    """What became of the documents of which no answer of `write` said it."""

    written: Written = Written()
    refused: Sequence[Refused] = ()
    """One for each that is counted as rejected."""


class Store(Protocol):
    """Where documents are written. One process writes."""

    @property
    def name(self) -> str:
        """The store's name in metrics."""

    @property
    def commit_every_s(self) -> float:
        """While there is a backlog, settle about so often."""

    @property
    def rest_s(self) -> float:
        """When there is no backlog, gather what comes for so long before it is settled."""

    @property
    def uncounted(self) -> int:
        """Documents that are stored, but that no answer of `write` has counted as stored yet."""

    def resume(self, round_number: int, uncounted: int) -> None:
        """Go on after a stop: find what was stored in this round, of which the counts are lost.

        A round lasts from one commit of the consumer's cursors to the next. `uncounted` is what was left at the last.
        """

    def next_round(self, round_number: int) -> None:
        """The counts of the last round are committed."""

    def write(self, requests: Sequence[Documents], servers: Sequence[Documents]) -> Written:
        """Take these documents, all or none; those that are there already are counted, not written again.

        Returns what is known at once of their fate; `settle` tells the rest. Each document is counted as stored once,
        though a stop or a failure comes between storing and counting, if the store has means to know it (`uncounted`).

        Raises:
            StoreUnavailableError: not now; give the same again later.
            StoreBusyError: not yet; give the same again.
        """

    def settle(self) -> Settled:
        """Return when everything taken so far would survive a power cut.

        Raises:
            StoreUnavailableError: not now; ask again later.
            StoreBusyError: not yet; ask again.
        """

    def close(self) -> None:
        """Let go of files and connections."""
