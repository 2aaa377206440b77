"""One running pipeline: its consumers, each in a thread of its own, and the HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.routing import Route

from logproc.clock import now_ms
from logproc.consumer import Consumer, Feeder, Standing
from logproc.measure.measure import Measure
from logproc.notify.channels import build
from logproc.notify.notify import Notify
from logproc.notify.store import AlertDocuments
from logproc.settings import Settings
from logproc.stores.archives import UnusableArchiveError, open_archive
from logproc.stores.elasticsearch_client import ClientMissingError, SecretError
from logproc.stores.index import Index, read_counters
from logproc.stores.warm_up import WarmUp
from logproc.tailing.follower import Follower
from logproc.tailing.wake import Waker
from logproc.web.alerts_api import alerts_routes
from logproc.web.api import LONGEST_S, api_routes
from logproc.web.elsewhere import Elsewhere
from logproc.web.health import readiness
from logproc.web.metrics_page import MetricsPage
from logproc.web.now_api import commit_facts, now_routes
from logproc.web.relay import relay_routes
from logproc.web.server import WebServer, application, read_token
from logproc.web.stream import Stream

log = structlog.get_logger("logproc.app")

CONSUMERS: Final = ("measure", "notify", "index")


class UnsupportedError(Exception):
    """The settings ask for something that cannot be done here: a package is missing, a secret cannot be read."""


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
        StateLockedError, StateBrokenError, ListenError, ChannelError, UnsupportedError: nothing was started.
    """

    def __init__(
        self, settings: Settings, *, only: frozenset[str] = frozenset(CONSUMERS), once: bool = False, serve: bool = True
    ) -> None:
        self.settings = settings
        self.failed = threading.Event()
        self._done = threading.Event()
        self._once = once
        self._counting = threading.Lock()
        self._ended = 0
        self._fed: list[_Fed] = []
        self.measure: Measure | None = None
        self.notify: Notify | None = None
        self._alert_documents: AlertDocuments | None = None
        self._stream: Stream | None = None
        self._warm_up: WarmUp | None = None
        self.web: WebServer | None = None
        try:
            if "measure" in only:
                self.measure = Measure(settings, settings.state)
                feeder = self._add(self.measure)
                if "notify" in only:
                    self.notify = Notify(settings, settings.state, build(settings), failed=self._fail)
                    self._alert_documents = _alert_documents(settings, self.notify)
                feeder.committed = self._tell
            if "index" in only:
                self._add(_index(settings)).committed = self._tell_listeners
            if self.measure is not None and serve:
                self.web = WebServer(self._application(self.measure), settings.http)
        except BaseException:
            self._close()
            raise

    def _add(self, consumer: Consumer) -> Feeder:
        logs = self.settings.logs
        follower = Follower(
            logs.paths, consumer.cursors(), start=logs.start, wrapped=logs.wrapped, first_start=consumer.is_new
        )
        waker = Waker(logs.paths, logs.poll_s)
        feeder = Feeder(consumer, follower, waker, once=self._once)
        thread = threading.Thread(target=self._run_one, args=(feeder,), name=consumer.name, daemon=True)
        self._fed.append(_Fed(consumer, feeder, waker, thread))
        return feeder

    def _application(self, measure: Measure) -> Starlette:
        own: dict[str, Standing] = {fed.consumer.name: fed.feeder.progress for fed in self._fed}
        notify = self.notify
        if notify is not None:
            own["notify"] = notify
        index_db = self.settings.state / "index.db"
        elsewhere = Elsewhere(index_db, self.settings.state / "measure.db")

        def progress() -> Mapping[str, Standing]:
            return own if "index" in own or not elsewhere.exists else {**own, "index": elsewhere}

        page = MetricsPage(
            measure,
            self.settings.metrics.namespace,
            progress,
            lambda: read_counters(index_db),
            list if notify is None else notify.gauges,
        )
        self._stream = Stream(
            lambda: commit_facts(measure, progress(), now_ms()), lambda: readiness(progress()), elsewhere.last_written
        )
        pages = [
            *self._stream.routes,
            *now_routes(self.settings, measure.servers, now_ms),
            *self._questions(progress),
            *([] if notify is None else self._alerts_pages(notify)),
        ]
        return application(page, progress, read_token(self.settings.http), pages)

    def _alerts_pages(self, notify: Notify) -> list[Route]:
        """The relay, and the pages about alerts and silences."""

        def changed() -> None:
            notify.wake()
            self._tell_listeners()

        measure_db = self.settings.state / "measure.db"
        return [
            *relay_routes(notify.deliveries, self.settings.alerts.routes, now_ms),
            *alerts_routes(measure_db, notify.deliveries, now_ms, changed),
        ]

    def _questions(self, progress: Callable[[], Mapping[str, Standing]]) -> list[Route]:
        """The pages that find requests."""
        try:
            archive = open_archive(self.settings, LONGEST_S)
        except UnusableArchiveError as error:
            log.warning("no requests can be found at /api/v1", reason=str(error))
            return []
        self._warm_up = WarmUp(archive, lambda: all(each.has_caught_up for each in progress().values()), now_ms)
        return api_routes(archive, self.settings.logs.wrapped, now_ms, self.settings.thresholds, self.settings.prices)

    def _run_one(self, feeder: Feeder) -> None:
        try:
            feeder.run()
        except Exception:
            log.exception("stopped by an error that should not happen: please report it", consumer=feeder.consumer.name)
            self._fail()
            return
        with self._counting:
            self._ended += 1
            if self._once and self._ended == len(self._fed):
                self._done.set()

    def _fail(self) -> None:
        self.failed.set()
        self._done.set()

    def start(self) -> None:
        """Begin to read and to answer."""
        if self.web is not None:
            self.web.start()
        if self.notify is not None:
            self.notify.start()
        if self._alert_documents is not None:
            self._alert_documents.start()
        for fed in self._fed:
            fed.thread.start()
        if self._warm_up is not None and not self._once:
            self._warm_up.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until everything was read (`once`), a consumer failed, or `stop` was asked for. False when time ran out."""
        return self._done.wait(timeout_s)

    def ask_to_stop(self) -> None:
        """Make `wait` return; may be called from a signal handler."""
        self._done.set()

    def stop(self) -> None:
        """Let every consumer finish and commit, then close everything."""
        if self.notify is not None and self._once and self._ended == len(self._fed):
            self.notify.finish()
            if self._alert_documents is not None:
                self._alert_documents.finish()
        if self.notify is not None:
            self.notify.ask_to_stop()  # what it does not get done now is done after the next start
        for fed in self._fed:
            fed.feeder.stop()
        for fed in self._fed:
            if fed.thread.ident is not None:
                fed.thread.join()
        if self._warm_up is not None:
            self._warm_up.close()
        if self._stream is not None:
            self._stream.close()
        if self.web is not None:
            self.web.stop()
        self._close()

    def _tell(self) -> None:
        """There may be new alerts on record."""
        for each in (self.notify, self._alert_documents):
            if each is not None:
                each.wake()
        self._tell_listeners()

    def _tell_listeners(self) -> None:
        """There is something new to be seen."""
        if self._stream is not None:
            self._stream.changed()

    def _close(self) -> None:
        for fed in self._fed:
            fed.waker.close()
            fed.consumer.close()
        self._fed.clear()
        if self._alert_documents is not None:
            self._alert_documents.stop()
            self._alert_documents = None
        if self.notify is not None:
            self.notify.stop()
            self.notify = None


def _alert_documents(settings: Settings, notify: Notify) -> AlertDocuments | None:
    """None with SQLite: there `measure.db` is what alerts are found in."""
    if settings.store.kind == "sqlite":
        return None
    try:
        return AlertDocuments(
            settings.store, settings.service, settings.state / "measure.db", notify.deliveries, now_ms
        )
    except (ClientMissingError, SecretError) as error:
        raise UnsupportedError(str(error)) from error


def _index(settings: Settings) -> Index:
    try:
        return Index(settings, settings.state)
    except (ClientMissingError, SecretError) as error:
        raise UnsupportedError(str(error)) from error
