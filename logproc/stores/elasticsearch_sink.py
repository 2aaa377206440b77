"""Bulk requests on their way: several at a time, each repeated until every document of it is stored or refused."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from logproc.stores.bulk_answer import FILTER_PATH, Refusal, RefusedLately, Verdict, judge
from logproc.stores.elasticsearch_client import NDJSON, Connection
from logproc.stores.elasticsearch_guard import TemplateGuard
from logproc.stores.elasticsearch_names import Family
from logproc.stores.elasticsearch_pace import Pace, wait_s
from logproc.stores.store import Refused, Settled, StoreBusyError, StoreUnavailableError, Written

log = structlog.get_logger("logproc.stores")

MOST_UNDER_WAY: Final = 4
MOST_WAITING: Final = 4
"""Requests that are made and wait for their turn: with those under way the bound of the memory."""

PATIENCE_S: Final = 0.5
"""So long a call waits for the server before it says that it needs longer."""

SILENT_S: Final = 15.0
"""A server that has not answered for so long is said to be away, long before the request is given up."""

SAID_AFTER: Final = 3
"""A problem that may pass by itself (a reset, a server that is busy) is said after so many attempts in a row."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """Documents for one index: for each two lines of `body`."""

    family: Family
    index: str
    body: bytes
    count: int

    def only(self, places: Sequence[int]) -> Bulk:
        """The documents at these places."""
        if len(places) == self.count:
            return self
        lines = self.body.split(b"\n")
        kept = b"".join(b"%b\n%b\n" % (lines[2 * place], lines[2 * place + 1]) for place in places)
        return replace(self, body=kept, count=len(places))

    def halves(self) -> tuple[Bulk, Bulk]:
        """Two that hold the same documents."""
        half = self.count // 2
        return self.only(range(half)), self.only(range(half, self.count))

    def refused(self, refusals: Sequence[Refusal]) -> list[Refused]:
        """The refused documents themselves."""
        lines = self.body.split(b"\n")
        return [
            Refused(_id(lines[2 * each.place]), each.error_type, each.reason, lines[2 * each.place + 1])
            for each in refusals
        ]


def _id(action: bytes) -> str:
    """The id in a line `{"create":{"_id":"…"}}`."""
    return action.rsplit(b":", 1)[1].strip(b'"}').decode("ascii")


class Sink:
    """Takes requests without waiting; `settled` tells what became of all of them. One thread may call it."""

    def __init__(self, connection: Connection, guard: TemplateGuard, most_under_way: int = MOST_UNDER_WAY) -> None:
        self._connection = connection
        self._guard = guard
        self._pace = Pace(most_under_way)
        self._changed = threading.Condition()
        self._waiting: deque[Bulk] = deque()
        self._unfinished = 0
        self._written = Written()
        self._refused: list[Refused] = []
        self._lately: defaultdict[str, RefusedLately] = defaultdict(RefusedLately)
        """By index."""
        self._problems: dict[int, str] = {}
        """By thread, from the first time that it is said until something goes on."""
        self._heard_at = time.monotonic()
        """When there was an answer, or nothing to wait for."""
        self._closing = threading.Event()
        self.most_bytes: int | None = None
        """The largest body that the server takes, once it said of one that it is too large."""
        for number in range(most_under_way):
            # Not waited for at the exit: a server that does not answer must not keep us.
            threading.Thread(target=self._work, name=f"elasticsearch-{number}", daemon=True).start()

    def make_room(self) -> None:
        """Return when more requests may be handed over.

        Raises:
            StoreUnavailableError, StoreBusyError: not now; not yet.
        """
        with self._changed:
            self._say_problem()
            if not self._changed.wait_for(lambda: len(self._waiting) < MOST_WAITING or self._problems, PATIENCE_S):
                raise StoreBusyError
            self._say_problem()

    def add(self, bulk: Bulk) -> None:
        """Hand a request over."""
        with self._changed:
            if not self._unfinished:
                self._heard_at = time.monotonic()
            self._waiting.append(bulk)
            self._unfinished += 1
            self._changed.notify_all()

    def settled(self) -> Settled:
        """What became of everything that was handed over since the last time.

        Raises:
            StoreUnavailableError, StoreBusyError: not now; not yet.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._unfinished, PATIENCE_S):
                self._say_problem()
                raise StoreBusyError
            settled = Settled(self._written, self._refused)
            self._written, self._refused = Written(), []
            return settled

    def _say_problem(self) -> None:
        for problem in self._problems.values():
            where = self._connection.where  # which the connection's own errors begin with
            raise StoreUnavailableError(problem if problem.startswith(where) else f"{where}: {problem}")
        if self._unfinished and time.monotonic() - self._heard_at > SILENT_S:
            raise StoreUnavailableError(f"{self._connection.where}: no answer for more than {SILENT_S:.0f} s.")

    def close(self) -> None:
        """Give up what is not finished."""
        self._closing.set()
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
                if self._closing.is_set():
                    return
                bulk = self._waiting.popleft()
                self._changed.notify_all()
            self._deliver(bulk)
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()

    def _deliver(self, bulk: Bulk) -> None:
        """Try until every document is stored or refused, or we are closed."""
        attempt, suspected = 0, False
        while not self._closing.is_set():
            with self._pace.turn():
                verdict = self._send(bulk)
            self._pace.too_much() if verdict.busy else self._pace.taken()
            if verdict.split:
                self.most_bytes = min(self.most_bytes or len(bulk.body), len(bulk.body)) // 2
                for half in bulk.halves():
                    self._deliver(half)
                return
            refused = bulk.refused(verdict.refused)
            with self._changed:
                self._heard_at = time.monotonic()
                self._problems.pop(threading.get_ident(), None)
                self._written = self._written.plus(Written(verdict.stored, verdict.duplicate, 0, len(refused)))
                self._refused += refused
                suspected |= verdict.suspected
                if not verdict.again:
                    if suspected:
                        self._lately[bulk.index].mended()
                    return
                attempt = 0 if len(verdict.again) < bulk.count else attempt + 1
                bulk = bulk.only(verdict.again)
                if verdict.problem is not None and (verdict.pause or attempt >= SAID_AFTER):
                    self._problems[threading.get_ident()] = verdict.problem
                self._changed.notify_all()
            self._closing.wait(wait_s(attempt))

    def _send(self, bulk: Bulk) -> Verdict:
        try:
            problem = self._guard.problem(bulk.family, bulk.index)
            if problem is not None:
                return Verdict(again=list(range(bulk.count)), problem=problem, pause=True)
            path = f"/{bulk.index}/_bulk?filter_path={FILTER_PATH}"
            answer = self._connection.request("POST", path, bulk.body, NDJSON)
        except StoreUnavailableError as error:
            self._guard.forget()
            return Verdict(again=list(range(bulk.count)), problem=str(error))
        except Exception as error:  # a thread that ends in silence would hold up everything for ever
            log.exception("an error that should not happen: please report it")
            problem = f"{type(error).__name__}, which should not happen: please report it. It is tried again."
            return Verdict(again=list(range(bulk.count)), problem=problem, pause=True)
        verdict = judge(answer.status, answer.body, bulk.count)
        if verdict.pause:
            self._guard.forget()
        with self._changed:
            problem = self._lately[bulk.index].problem(verdict, bulk.count, bulk.index)
        if problem is not None:
            verdict.problem = problem
            verdict.again = sorted([*verdict.again, *(each.place for each in verdict.refused)])
            verdict.refused, verdict.pause, verdict.suspected = [], True, True
        return verdict
