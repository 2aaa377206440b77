"""What a consumer is, and the one loop that feeds each of them: look, read, take, commit; at its own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from logproc.clock import now_ms
from logproc.tailing.block import Block, Cursor
from logproc.tailing.follower import Follower
from logproc.tailing.wake import Waker

log = structlog.get_logger("logproc.consumer")

RETRY_S = 1.0
IDLE_S = 1.0
BUSY_S = 0.02
GRACE_MS: Final = 300
"""A second of log time is over so long after its end: a line may be written a little later than its time says."""


class PausedError(Exception):
    """The consumer cannot go on just now (store down, disk full): the same step is tried again."""


class NotYetError(Exception):
    """The consumer needs longer, and nothing is wrong: it waited a moment, and the same step is tried again at once."""


class Consumer(Protocol):
    """Reads at its own pace with its own cursors, and owns one database that only it writes."""

    @property
    def name(self) -> str:
        """As in the label `consumer`."""

    @property
    def commit_every_s(self) -> float:
        """At least this often while there is something to commit."""

    @property
    def rest_s(self) -> float:
        """When caught up, gather what comes for so long before it is committed; 0: commit at once."""

    @property
    def is_new(self) -> bool:
        """Whether this is the very first start of its database."""

    def cursors(self) -> list[Cursor]:
        """Where to go on."""

    def take(self, block: Block) -> int | None:
        """Work on a block; its data is valid until this returns. The newest second (since 1970) that was read in its
        source so far, of those consumers that go by log time.

        May raise PausedError or NotYetError: it is then called again.
        """

    def advance(self, upto_ms: int) -> bool:
        """Log time (ms since 1970) has come so far; whether there is something to commit for that alone."""

    def commit(self, cursors: Sequence[Cursor], events: Mapping[str, int], dropped: Sequence[int] = ()) -> None:
        """Make everything taken durable together with the cursors; `dropped` are keys of cursors no longer needed.

        May raise PausedError or NotYetError: it is then called again.
        """

    def close(self) -> None:
        """Let go of the database."""


class Standing(Protocol):
    """Where a consumer stands, as others see it."""

    @property
    def lag_bytes(self) -> int:
        """Bytes that are there and not yet committed."""

    @property
    def lag_seconds(self) -> float:
        """How long the oldest of them has waited; 0 when there is none."""

    @property
    def has_caught_up(self) -> bool:
        """Whether it ever was at the end of all files."""

    @property
    def problem(self) -> str | None:
        """Why it cannot go on just now."""

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Files and directories that it cannot read, and why."""


@dataclass
class Progress:
    """Where a consumer stands, for others to read: written by its loop alone."""

    lag_bytes: int = 0
    waiting_since: float | None = None
    """time.monotonic() since when the oldest byte not yet committed has waited; None when there is none."""
    has_caught_up: bool = False
    problem: str | None = None
    """Why it cannot go on just now."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Files and directories that it cannot read, and why."""

    @property
    def lag_seconds(self) -> float:
        """How long the oldest byte not yet committed has waited; 0 when there is none."""
        since = self.waiting_since
        return 0.0 if since is None else max(0.0, time.monotonic() - since)


class Feeder:
    """Feeds one consumer from one follower until it is told to stop, or once to the end."""

    def __init__(
        self,
        consumer: Consumer,
        follower: Follower,
        waker: Waker,
        *,
        once: bool = False,
        wall_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.consumer = consumer
        self.progress = Progress()
        self.committed: Callable[[], None] = lambda: None
        """Called after each commit, in the thread of the loop."""
        self._follower = follower
        self._waker = waker
        self._once = once
        self._wall_ms = wall_ms
        self._looked_ms = 0
        self._stop = threading.Event()
        self._give_up_at: float | None = None
        self._last_commit = time.monotonic()

    def stop(self, patience_s: float = 10.0) -> None:
        """Finish the block in hand, commit, and return from `run`; a dead store is waited for `patience_s` at most."""
        self._give_up_at = time.monotonic() + patience_s
        self._stop.set()
        self._waker.wake()

    def run(self) -> None:
        """The loop. Returns when stopped, or with `once` when everything that was there is committed."""
        try:
            self._look()
            self._commit()  # on the very first start: where each file begins, before a byte is read
            has_looked = True
            while not self._stop.is_set():
                block = self._follower.read()
                if block is not None:
                    has_looked = False
                    self._try(lambda block=block: self._take(block))
                    if time.monotonic() - self._last_commit >= self.consumer.commit_every_s:
                        self._commit()
                        self._look()  # what is new has its turn before the backlog
                    continue
                rest_s = self._last_commit + self.consumer.rest_s - time.monotonic()
                if rest_s <= 0 or self._once:
                    self._commit()
                if not has_looked:  # an event since the last look ends the wait at once
                    self._look()
                if not self._follower.caught_up:
                    self._waker.wait(BUSY_S)  # a very long line, or a file that is just being packed
                    has_looked = False
                    continue
                self.progress.has_caught_up = True
                if self._once:
                    break
                # Awake just when another second of log time is over, so that no alert waits for longer.
                over_s = IDLE_S - (self._wall_ms() - GRACE_MS) % 1000 / 1000 + 0.001
                self._waker.wait(min(over_s, rest_s) if rest_s > 0 else over_s)
                self._look()
                has_looked = True
            self._commit()
        except _GivenUpError:
            log.warning("stopped before the store came back; the next start goes on there", consumer=self.consumer.name)
        finally:
            self._follower.close()

    def _look(self) -> None:
        self._looked_ms = self._wall_ms()
        self._follower.look()
        self._note_lag()

    def _take(self, block: Block) -> None:
        second = self.consumer.take(block)
        if second is not None:
            self._follower.reached(second)

    def _log_time_ms(self) -> int:
        """Log time: how far the file has come that is farthest behind, of those with something unread. Where all are
        read to their end it is the time of the last look; with `once` it ends with the newest record, as in `replay`.
        """
        held = self._follower.held_at
        if held is None and self._once:
            held = self._follower.newest
        return self._looked_ms if held is None else min(held * 1000, self._looked_ms)

    def _note_lag(self) -> None:
        lag_bytes, seconds = self._follower.lag()
        self.progress.unreadable = self._follower.unreadable
        self.progress.lag_bytes = lag_bytes
        self.progress.waiting_since = time.monotonic() - seconds if lag_bytes else None

    def _commit(self) -> None:
        cursors, events, dropped = self._follower.changed(), dict(self._follower.events), list(self._follower.dropped)
        advanced = self.consumer.advance(self._log_time_ms())
        if cursors or events or dropped or advanced or self.consumer.is_new:
            for name, size in self._follower.lost:
                log.warning("a file was gone before it was read", file=name, bytes=size, consumer=self.consumer.name)
            self._try(lambda: self.consumer.commit(cursors, events, dropped))
            self._follower.settled()
            self.committed()
        self._last_commit = time.monotonic()
        self._note_lag()

    def _try(self, step: object) -> None:
        """Do a step; while it cannot be done say so once, and try again until it can, or until we are to stop."""
        assert callable(step)
        while True:
            try:
                step()
            except NotYetError:
                if self._give_up_at is not None and time.monotonic() > self._give_up_at:
                    raise _GivenUpError from None
                continue
            except PausedError as error:
                if self.progress.problem != str(error):
                    log.error("paused", consumer=self.consumer.name, problem=str(error))  # noqa: TRY400 - known, no trace
                self.progress.problem = str(error)
            else:
                if self.progress.problem is not None:
                    log.info("goes on", consumer=self.consumer.name)
                self.progress.problem = None
                return
            if self._give_up_at is not None and time.monotonic() > self._give_up_at:
                raise _GivenUpError
            time.sleep(RETRY_S) if not self._stop.is_set() else time.sleep(RETRY_S / 5)


class _GivenUpError(Exception):
    """Told to stop while the store was down."""
