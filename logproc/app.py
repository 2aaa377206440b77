"""One running pipeline: its consumers, each in a thread of its own, and the HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.applications import Starlette

from logproc.consumer import Consumer, Feeder, Standing
from logproc.measure.measure import Measure
from logproc.settings import Settings, SqliteStore
from logproc.stores.index import Index, read_counters
from logproc.tailing.follower import Follower
from logproc.tailing.wake import Waker
from logproc.web.elsewhere import Elsewhere
from logproc.web.metrics_page import MetricsPage
from logproc.web.server import WebServer, application, read_token

log = structlog.get_logger("logproc.app")

CONSUMERS: Final = ("measure", "index")


class UnsupportedError(Exception):
    """The settings ask for something that this version cannot do."""


@dataclass
class _Fed:
    """A consumer, the loop that feeds it, and the thread of the loop."""

    consumer: Consumer
    feeder: Feeder
    waker: Waker
    thread: threading.Thread


class App:
    """Opens the databases of the chosen consumers, then runs them until `stop`, or `once` to the end of the logs.

    Raises:
        StateLockedError, StateBrokenError, ListenError, UnsupportedError: nothing was started.
    """

    def __init__(
        self, settings: Settings, *, only: frozenset[str] = frozenset(CONSUMERS), once: bool = False, serve: bool = True
    ) -> None:
        if not isinstance(settings.store, SqliteStore):
            raise UnsupportedError("store.kind: this version knows only `sqlite`")
        if settings.notifiers:
            log.warning("this version does not send alerts yet: `notifiers` has no effect")
        self.settings = settings
        self.failed = threading.Event()
        self._done = threading.Event()
        self._once = once
        self._counting = threading.Lock()
        self._ended = 0
        self._fed: list[_Fed] = []
        self.measure: Measure | None = None
        self.web: WebServer | None = None
        try:
            if "measure" in only:
                self.measure = Measure(settings, settings.state)
                self._add(self.measure)
            if "index" in only:
                self._add(Index(settings, settings.state))
            if self.measure is not None and serve:
                self.web = WebServer(self._application(self.measure), settings.http)
        except BaseException:
            self._close()
            raise

    def _add(self, consumer: Consumer) -> None:
        logs = self.settings.logs
        follower = Follower(
            logs.paths, consumer.cursors(), start=logs.start, wrapped=logs.wrapped, first_start=consumer.is_new
        )
        waker = Waker(logs.paths, logs.poll_s)
        feeder = Feeder(consumer, follower, waker, once=self._once)
        thread = threading.Thread(target=self._run_one, args=(feeder,), name=consumer.name, daemon=True)
        self._fed.append(_Fed(consumer, feeder, waker, thread))

    def _application(self, measure: Measure) -> Starlette:
        own: dict[str, Standing] = {fed.consumer.name: fed.feeder.progress for fed in self._fed}
        index_db = self.settings.state / "index.db"
        elsewhere = Elsewhere(index_db, self.settings.state / "measure.db")

        def progress() -> Mapping[str, Standing]:
            return own if "index" in own or not elsewhere.exists else {**own, "index": elsewhere}

        page = MetricsPage(measure, self.settings.metrics.namespace, progress, lambda: read_counters(index_db))
        return application(page, progress, read_token(self.settings.http))

    def _run_one(self, feeder: Feeder) -> None:
        try:
            feeder.run()
        except Exception:
            log.exception("stopped by an error that should not happen: please report it", consumer=feeder.consumer.name)
            self.failed.set()
            self._done.set()
            return
        with self._counting:
            self._ended += 1
            if self._once and self._ended == len(self._fed):
                self._done.set()

    def start(self) -> None:
        """Begin to read and to answer."""
        if self.web is not None:
            self.web.start()
        for fed in self._fed:
            fed.thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until everything was read (`once`), a consumer failed, or `stop` was asked for. False when time ran out."""
        return self._done.wait(timeout_s)

    def ask_to_stop(self) -> None:
        """Make `wait` return; may be called from a signal handler."""
        self._done.set()

    def stop(self) -> None:
        """Let every consumer finish and commit, then close everything."""
        for fed in self._fed:
            fed.feeder.stop()
        for fed in self._fed:
            if fed.thread.ident is not None:
                fed.thread.join()
        if self.web is not None:
            self.web.stop()
        self._close()

    def _close(self) -> None:
        for fed in self._fed:
            fed.waker.close()
            fed.consumer.close()
        self._fed.clear()

    @property
    def lags(self) -> Mapping[str, int]:
        """Bytes not yet committed, by consumer."""
        return {fed.consumer.name: fed.feeder.progress.lag_bytes for fed in self._fed}
