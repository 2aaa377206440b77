"""Documents in Elasticsearch: plain indices named by the document's own time, so that an id is there only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from logproc.record import DAY_MS
from logproc.settings import ElasticsearchStore as StoreSettings
from logproc.stores.documents import Documents
from logproc.stores.elasticsearch_body import body
from logproc.stores.elasticsearch_client import Connection
from logproc.stores.elasticsearch_guard import TemplateGuard
from logproc.stores.elasticsearch_names import Family, Names, first_days
from logproc.stores.elasticsearch_sink import MOST_UNDER_WAY, Bulk, Sink
from logproc.stores.fields import REQUEST_FIELDS, SERVER_FIELDS, Field
from logproc.stores.store import Settled, Written

MOST_BYTES: Final = 4 << 20
MOST_DOCUMENTS: Final = 5000
"""A request is sent when it is so large."""

MOST_GATHERED_BYTES: Final = 4 * MOST_BYTES
"""Lines that leap about in time touch many indices; all are sent when they hold so much together."""

_FIELDS: Final[dict[Family, tuple[Field, ...]]] = {"requests": REQUEST_FIELDS, "servers": SERVER_FIELDS}


class ElasticsearchStore:
    """Hands documents over to a sink, and waits for it only in `settle` and when too many are on their way.

    Raises:
        ClientMissingError, SecretError: see `elasticsearch_client.Connection`. The server need not be there yet.
    """

    name = "elasticsearch"
    commit_every_s = 5.0
    rest_s = 1.0
    uncounted = 0
    """It cannot know which of its duplicates it stored itself before a stop."""

    def __init__(self, settings: StoreSettings, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._names = Names(settings.index)
        self._connection = Connection(settings, connections=MOST_UNDER_WAY + 1)
        self._sink = Sink(self._connection, TemplateGuard(self._connection, self._names, settings.period))
        self._gathered: dict[tuple[Family, str], _Gathered] = {}

    def resume(self, round_number: int, uncounted: int) -> None:
        """Nothing to find: see `uncounted`."""

    def next_round(self, round_number: int) -> None:
        """Nothing to note: see `uncounted`."""

    def write(self, requests: Sequence[Documents], servers: Sequence[Documents]) -> Written:
        """Take these documents; only what is too old is told at once.

        Raises:
            StoreUnavailableError: Elasticsearch cannot be reached or refuses; the message says what helps.
            StoreBusyError: too many documents are on their way.
        """
        self._sink.make_room()
        oldest_ms = (self._now_ms() // DAY_MS - self._settings.keep_days) * DAY_MS
        expired = sum(self._gather("requests", documents, oldest_ms) for documents in requests)
        expired += sum(self._gather("servers", documents, oldest_ms) for documents in servers)
        if sum(gathered.bytes for gathered in self._gathered.values()) >= MOST_GATHERED_BYTES:
            self._send_all()
        return Written(expired=expired)

    def settle(self) -> Settled:
        """Return when Elasticsearch has acknowledged everything, which it does once it would survive a power cut.

        Raises:
            StoreUnavailableError, StoreBusyError: see `write`.
        """
        self._send_all()
        return self._sink.settled()

    def close(self) -> None:
        """Give up what is not acknowledged, and close the connections."""
        self._sink.close()
        self._connection.close()

    def _gather(self, family: Family, documents: Documents, oldest_ms: int) -> int:
        """Add documents to the requests that are being made; returns how many are too old for that."""
        old = documents.times_ms < oldest_ms
        expired = int(np.count_nonzero(old))
        if expired:
            documents = documents.take(np.flatnonzero(~old).tolist())
        if not len(documents):
            return expired
        days = first_days(documents.times_ms, self._settings.period)
        first, last = int(days.min()), int(days.max())
        for day in [first] if first == last else np.unique(days).tolist():
            part = documents if first == last else documents.take(np.flatnonzero(days == day).tolist())
            key = family, self._names.concrete(family, day)
            gathered = self._gathered.setdefault(key, _Gathered())
            gathered.add(body(part, _FIELDS[family]), len(part))
            if gathered.bytes >= (self._sink.most_bytes or MOST_BYTES) or gathered.count >= MOST_DOCUMENTS:
                self._send(*key)
        return expired

    def _send_all(self) -> None:
        for key in list(self._gathered):
            self._send(*key)

    def _send(self, family: Family, index: str) -> None:
        gathered = self._gathered.pop((family, index))
        self._sink.add(Bulk(family, index, b"".join(gathered.parts), gathered.count))


class _Gathered:
    """Bodies for one index that become one request."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.bytes = 0
        self.count = 0

    def add(self, part: bytes, count: int) -> None:
        self.parts.append(part)
        self.bytes += len(part)
        self.count += count
