"""What every store can do: keep documents. What can be asked of it: see `archive.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from logproc.stores.documents import Documents


class StoreUnavailableError(Exception):
    """The store cannot take or give documents now; nothing was skipped. The message says where, why, and what helps.

    Whoever writes waits, and gives the same again: the ids make a repeat harmless.
    """


class Written(NamedTuple):
    """What became of documents that were handed to a store."""

    stored: int = 0
    duplicate: int = 0
    expired: int = 0
    rejected: int = 0


class Store(Protocol):
    """Where documents are written. One process writes."""

    @property
    def name(self) -> str:
        """The store's name in metrics."""

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
        """Keep these documents; those that are there already are counted, not written again.

        Each document is counted as stored once, though a stop or a failure comes between storing and counting.

        Raises:
            StoreUnavailableError: not now; give the same again later.
        """

    def settle(self) -> None:
        """Return when everything written so far would survive a power cut.

        Raises:
            StoreUnavailableError: not now; ask again later.
        """

    def close(self) -> None:
        """Let go of files and connections."""
