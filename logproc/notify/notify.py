"""The consumer `notify`: committed alerts → deliveries → messages; one thread plans, and one for each channel sends.

A channel that is dead, slow, hangs or lies holds up its own thread, and nothing else.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog

from logproc.alerts import record
from logproc.alerts.alert import Alert, entry_id
from logproc.clock import now_ms
from logproc.measure.exposition import Gauge
from logproc.notify.channel import Answer, Attempt, Channel, Delivered, Rejected, Retryable, deliver
from logproc.notify.deliveries import Deliveries, Outlet
from logproc.notify.messages import message_of
from logproc.notify.metrics import gauges
from logproc.notify.sending import Claim, Sending
from logproc.settings import Settings

log = structlog.get_logger("logproc.notify")

POLL_S: Final = 1.0
"""Nobody calls when time alone makes something due."""
TIDY_S: Final = 3600.0
RETRY_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0


class Notify:
    """Owns `notify.db` in the state directory.

    `failed` is called when a thread ended that should not. To others it looks like a `consumer.Standing`.

    Raises:
        StateLockedError, StateBrokenError: see `state.Database`.
    """

    name = "notify"
    lag_bytes = 0
    """It reads no files."""

    def __init__(
        self,
        settings: Settings,
        state: Path,
        channels: Mapping[str, Channel],
        clock: Callable[[], int] = now_ms,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._measure_db = state / "measure.db"
        self._channels = channels
        self._clock = clock
        self._failed = failed
        self._routes = list(settings.alerts.routes)
        self._ends_at = 0.0
        self._stopping = threading.Event()
        self._planner_awake = threading.Event()
        self._workers_awake = {name: threading.Event() for name in channels}
        outlets = {
            name: Outlet(each.limits, settings.notifiers[name].fallback, each.refresh_s)
            for name, each in channels.items()
        }
        self.deliveries = Deliveries(state / "notify.db", settings.alerts, outlets, queued=self._wake_workers)
        self._sending = Sending(self.deliveries)
        self._threads = [threading.Thread(target=self._guard, args=(self._plan,), name="notify", daemon=True)]
        self._threads += [
            threading.Thread(target=self._guard, args=(self._send, name), name=f"notify {name}", daemon=True)
            for name in channels
        ]
        self._problems: dict[str, str] = {}
        """Why a thread cannot read or write its database, by the thread's channel; that of the planner is ``."""
        self._unplanned_since: float | None = None
        self.has_caught_up = False

    @property
    def problem(self) -> str | None:
        """Why it cannot read or commit just now."""
        return next(iter(dict(self._problems).values()), None)

    @property
    def unreadable(self) -> Mapping[str, str]:
        """It reads no files."""
        return {}

    @property
    def lag_seconds(self) -> float:
        """How long it has not been able to plan."""
        since = self._unplanned_since
        return 0.0 if since is None else time.monotonic() - since

    def start(self) -> None:
        """Begin to plan and to send."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be new alerts, or something else to plan."""
        self._planner_awake.set()

    def finish(self, patience_s: float = 10.0) -> None:
        """Plan everything committed so far, and wait until it is told, as far as channels take it now."""
        deadline = time.monotonic() + patience_s
        while self._is_busy() and time.monotonic() < deadline:
            self.wake()
            self._stopping.wait(0.02)

    def _is_busy(self) -> bool:
        try:
            position = self.deliveries.position()
            if position is None or record.after(self._measure_db, position[0], 1):
                return True
            now = self._clock()
            return any(
                standing.waiting[0] and not standing.health.is_paused(now)
                for standing in self.deliveries.standings().values()
            )
        except sqlite3.Error:
            return True

    def ask_to_stop(self, patience_s: float = 8.0) -> None:
        """Begin to end; what is under way has so many seconds."""
        if not self._stopping.is_set():
            self._ends_at = time.monotonic() + patience_s
            self._stopping.set()
            self._planner_awake.set()
            self._wake_workers()

    def stop(self) -> None:
        """End every thread, and let go of the database. A message still under way is sent again after the start."""
        self.ask_to_stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, self._ends_at - time.monotonic()))
        self.deliveries.close()

    def gauges(self) -> list[Gauge]:
        """What `/metrics` says of delivery; nothing while `notify.db` cannot be read."""
        try:
            return gauges(self.deliveries, self._routes, self._clock())
        except sqlite3.Error:
            return []

    def _wake_workers(self) -> None:
        for awake in self._workers_awake.values():
            awake.set()

    def _guard(self, work: Callable[..., None], *arguments: str) -> None:
        try:
            work(*arguments)
        except Exception:
            if not self._stopping.is_set():
                log.exception("stopped by an error that should not happen: please report it", consumer="notify")
                self._failed()

    # --- the planner -----------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        tidied = -math.inf
        while not self._stopping.is_set():
            self._planner_awake.clear()
            if time.monotonic() - tidied >= TIDY_S and self._try("", lambda: self.deliveries.tidy(self._clock())):
                tidied = time.monotonic()
            done = self._try("", self._read_and_plan)
            self._unplanned_since = None if done else self._unplanned_since or time.monotonic()
            self.has_caught_up = self.has_caught_up or done
            self._planner_awake.wait(POLL_S if done else RETRY_S)

    def _read_and_plan(self) -> None:
        position = self.deliveries.position()
        if position is None:
            self.deliveries.begin(self._entries_after(0), self._clock())
        elif not self.has_caught_up and self._is_another_record(*position):
            log.warning("measure.db began anew: alerts are planned from its beginning; none is told twice")
            self.deliveries.rewind()
        while not self._stopping.is_set():
            at = self.deliveries.position()
            entries = record.after(self._measure_db, at[0] if at else 0)
            if not entries:
                break
            self.deliveries.take(entries, self._clock())
        self.deliveries.plan_again(self._clock())

    def _entries_after(self, seq: int) -> Iterator[tuple[int, Alert]]:
        while entries := record.after(self._measure_db, seq):
            yield from entries
            seq = entries[-1][0]

    def _is_another_record(self, seq: int, last: str) -> bool:
        """Whether the entry that was planned last is not where it was. Old entries may have been dropped."""
        found = record.after(self._measure_db, seq - 1, 1)
        return bool(seq) and (not found or (found[0][0] == seq and entry_id(found[0][1]) != last))

    # --- the workers -----------------------------------------------------------------------------------------------

    def _send(self, channel: str) -> None:
        awake = self._workers_awake[channel]
        while not self._stopping.is_set():
            awake.clear()
            claim = self._claim(channel)
            if claim is None:
                self._stopping.wait(RETRY_S)
            elif isinstance(claim, Claim):
                self._send_one(channel, claim)
            else:
                awake.wait(min(claim, LONGEST_WAIT_S))

    def _claim(self, channel: str) -> Claim | float | None:
        claimed: list[Claim | float] = []
        self._try(channel, lambda: claimed.append(self._sending.claim(channel, self._clock())))
        return claimed[0] if claimed else None

    def _send_one(self, channel: str, claim: Claim) -> None:
        attempt = _attempt(self._channels[channel], claim, self._clock() / 1000)
        _tell(channel, claim, attempt)
        in_doubt = isinstance(attempt.outcome, Retryable) and not attempt.answer.status and not attempt.answer.is_unsent
        while not self._try(
            channel, lambda: self._sending.settle(claim, attempt.outcome, self._clock(), in_doubt=in_doubt)
        ):
            if self._stopping.wait(RETRY_S):
                return

    def _try(self, thread: str, step: Callable[[], object]) -> bool:
        """Do a step on the database; when it cannot be done say so once, and return False."""
        try:
            step()
        except sqlite3.Error as error:
            if self._stopping.is_set():
                return False
            problem = f"cannot read measure.db or write notify.db in {self._measure_db.parent}: {error}"
            if self._problems.get(thread) != problem:
                log.error("paused", consumer="notify", problem=problem)  # noqa: TRY400 - known, no trace
            self._problems[thread] = problem
            return False
        if self._problems.pop(thread, None) is not None:
            log.info("goes on", consumer="notify")
        return True


def _attempt(channel: Channel, claim: Claim, now_s: float) -> Attempt:
    """One attempt; a defect of ours is a refusal, so that it holds up nothing and goes to the fallback."""
    try:
        return deliver(channel, message_of(claim.message, claim.deliveries), now_s)
    except Exception as error:  # its text may hold anything: only where it was is told
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        return Attempt(Rejected(f"{type(error).__name__} at {where}: it should not happen, please report it"), Answer())


def _tell(channel: str, claim: Claim, attempt: Attempt) -> None:
    said = {"channel": channel, "message": claim.message, "entries": len(claim.deliveries)}
    if isinstance(attempt.outcome, Delivered):
        log.info("told", **said)
    else:
        log.warning("not told", outcome=type(attempt.outcome).__name__.lower(), why=attempt.outcome.why, **said)
