"""The demo as a whole: a stand-in server, a load on it and the real pipeline; shown while they run, ended in order."""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from rich.console import Console
from rich.live import Live

from logproc.app import App
from logproc.demo.alerts import Alerts
from logproc.demo.load import Load
from logproc.demo.numbers import Look, Recent, growth, load_of, look
from logproc.demo.screen import FLAGGED_SHOWN, TITLE, Pointers, Screen, alert_line, plain_line, summary
from logproc.demo.setup import NoStoreError, make_folder, open_pipeline, query_command, set_up_elasticsearch, short
from logproc.demo.stand_in_process import StandInFailedError, StandInProcess
from logproc.flags import FLAGS
from logproc.measure.measure import Measure
from logproc.stores.archive import Archive, Question
from logproc.stores.archives import open_archive
from logproc.stores.index import read_counters
from logproc.stores.store import StoreUnavailableError
from logproc.web.server import ListenError

LOOK_S: Final = 0.5
LOOKS_A_SECOND: Final = 2
LOOKS_A_LINE: Final = 4
TREND_OVER_S: Final = 5.0
CATCH_UP_S: Final = 10.0


class DemoFailedError(Exception):
    """The demo could not begin, or could not go on; the message says why."""


def run_demo(seconds: float | None, console: Console, elasticsearch: str | None = None) -> int:
    """Play until a signal comes or `seconds` are over. The exit code: 0, or 1 when not every line was counted once.

    `elasticsearch` is the URL of a server that is to have the documents, in place of files.

    Raises:
        DemoFailedError: nothing that was started still runs.
    """
    with _signals() as stop:
        folder = make_folder()
        with folder.joinpath("logproc.log").open("w", encoding="utf-8") as own_log:
            structlog.configure(logger_factory=structlog.PrintLoggerFactory(own_log))  # the terminal is taken
            try:
                store = None if elasticsearch is None else set_up_elasticsearch(elasticsearch)
                app, pipeline = open_pipeline(folder, store)
            except (ListenError, NoStoreError) as error:
                raise DemoFailedError(str(error)) from error
            try:
                return _Demo(app, folder, query_command(pipeline), console).play(seconds, stop)
            finally:
                app.stop()


class _Demo:
    """One run."""

    def __init__(self, app: App, folder: Path, command: str, console: Console) -> None:
        assert app.measure is not None
        assert app.web is not None
        self._app = app
        self._measure: Measure = app.measure
        self._folder = folder
        self._log = folder / "access.jsonl"
        self._pointers = Pointers(app.web.address, command, short(folder))
        self._console = console
        self._alerts = Alerts(folder / "measure.db")
        self._is_screen = console.is_terminal and console.file.isatty() and not console.is_dumb_terminal
        self._began = time.monotonic()

    def play(self, seconds: float | None, stop: threading.Event) -> int:
        """Start everything, show it, end it, sum it up."""
        self._app.start()
        nothing = look(self._measure, self._began)
        server = StandInProcess(self._log, self._began)
        load = Load("127.0.0.1", server.port, random.Random())
        load.start()
        try:
            self._show(nothing, server, seconds, stop)
            self._console.print("ending: the last requests finish, and every line is committed …", style="dim")
        except StandInFailedError as error:
            raise DemoFailedError(str(error)) from error
        finally:
            load.stop()
            server.stop()
        _await(lambda: _agree(self._counted(look(self._measure, 0.0))))
        self._app.stop()
        total = look(self._measure, time.monotonic())
        counted = self._counted(total)
        self._alerts.read()
        self._console.print(
            summary(total, growth(nothing, total), counted, self._pointers, self._alerts.fired), soft_wrap=True
        )
        return 0 if _agree(counted) and not total.lines_lost else 1

    def _show(self, nothing: Look, server: StandInProcess, seconds: float | None, stop: threading.Event) -> None:
        """Show the numbers until it is time to stop: on a terminal as a screen, else as lines."""
        recent = Recent(nothing)
        archive = open_archive(self._app.settings, LOOK_S)
        screen = Screen(self._pointers)
        console = self._console
        if not self._is_screen:
            address = self._pointers.address
            where = f"page {address}/, metrics {address}/metrics; look further: {self._pointers.command}"
            console.print(f"logproc demo: {TITLE}; {where}", soft_wrap=True)
        with Live(console=console, screen=True, auto_refresh=False) if self._is_screen else _no_screen() as live:
            for turn in itertools.count(1):
                until = LOOK_S * turn if seconds is None else min(LOOK_S * turn, seconds)
                stopped = stop.wait(max(0.0, self._began + until - time.monotonic()))
                server.check()
                if self._app.failed.is_set():
                    raise DemoFailedError(f"the pipeline stopped: see {self._pointers.folder}/logproc.log")
                newest = look(self._measure, time.monotonic())
                recent.add(newest)
                played = newest.at - self._began
                gauges = load_of(self._measure.gauges())
                if turn % LOOKS_A_SECOND == 0:
                    screen.note(recent.over(TREND_OVER_S))
                changes = self._alerts.read()
                if live is not None:
                    alerts = list(self._alerts.newest.values())
                    view = screen.draw(played, newest, recent.over(), gauges, _newest_flagged(archive), alerts)
                    live.update(view, refresh=True)
                else:
                    for change in changes:
                        console.print(alert_line(played, change), soft_wrap=True, markup=False)
                    if turn % LOOKS_A_LINE == 0:
                        console.print(plain_line(played, newest, recent.over(), gauges), soft_wrap=True)
                if stopped or (seconds is not None and played >= seconds):
                    return

    def _counted(self, total: Look) -> dict[str, int]:
        """Every line, wherever it should be in the end."""
        lines = sum(path.read_bytes().count(b"\n") for path in self._folder.glob("access.jsonl*"))
        documents = read_counters(self._folder / "index.db").get("logproc_documents", [])
        stored = sum(int(value) for labels, value in documents if labels["result"] in {"stored", "duplicate"})
        return {"written": lines, "counted": total.lines.total(), "stored": stored}


def _agree(counted: Mapping[str, int]) -> bool:
    return len(set(counted.values())) == 1


def _newest_flagged(archive: Archive) -> list[Mapping[str, Any]]:
    """The documents of the newest odd requests; none while the store cannot be read."""
    try:
        return [found.document for found in archive.find(Question(flags=FLAGS), limit=FLAGGED_SHOWN)]
    except StoreUnavailableError:
        return []


@contextmanager
def _no_screen() -> Iterator[None]:
    yield None


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM or the end of the terminal sets; then the handlers of before come back."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _await(condition: Callable[[], bool]) -> None:
    """Return when the condition holds, or it has taken too long."""
    until = time.monotonic() + CATCH_UP_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
