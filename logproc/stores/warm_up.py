"""Counts the last day ahead, so that the first question about it is answered as soon as every later one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog

from logproc.record import DAY_MS
from logproc.stores.points import PlottedArchive
from logproc.stores.store import StoreUnavailableError

LOOK_S: Final = 1.0
EVERY_S: Final = 300.0
PATIENCE_S: Final = 5.0

log = structlog.get_logger("logproc.warm_up")


class WarmUp:
    """A thread that begins once `may_begin`, and then counts what is new every EVERY_S.

    `clock` is the wall clock, ms since 1970.
    """

    def __init__(self, archive: PlottedArchive, may_begin: Callable[[], bool], clock: Callable[[], int]) -> None:
        self._archive = archive
        self._may_begin = may_begin
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warm-up", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def close(self) -> None:
        """End, as a rule within the time that an hour takes to be counted. It only reads: nobody need wait longer."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            if self._may_begin():
                break
        while not self._over.is_set():
            now = self._clock()
            try:
                self._archive.warm(now - DAY_MS, now, self._over.is_set)
            except (StoreUnavailableError, OSError):
                log.debug("the last day could not be counted ahead", exc_info=True)  # whoever asks is told
            except Exception:
                log.exception("the last day could not be counted ahead: please report it")
            self._over.wait(EVERY_S)
