"""The vLLM stat-logger plugin that hands the engine's timings to the middleware; the only module that imports vLLM."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from serve.timings import ENGINES, TIMINGS, timings_of

_LOG = logging.getLogger("logproc.serve")


class EngineTimings(StatLoggerBase):  # type: ignore[misc]  # vLLM is not installed where the types are checked
    """One for each engine. vLLM calls it in the event loop that serves HTTP.

    An exception in here would end vLLM's output handler, and with it every request: so nothing leaves it, nothing
    blocks, and no argument or field is taken for granted. vLLM calls its statistics unstable.
    """

    failed = False
    """Something here has failed before: it is said once, not at every step of the engine."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        """Take whatever vLLM gives; the engine's number comes with each record."""

    def record(self, scheduler_stats: Any = None, iteration_stats: Any = None, *args: Any, **kwargs: Any) -> None:
        """Note the engine's load and the requests that this step finished."""
        try:
            engine = kwargs.get("engine_idx", args[1] if len(args) > 1 else 0)
            _note_load(engine if isinstance(engine, int) else 0, scheduler_stats)
        except Exception as error:
            self._fail(error)
        try:
            for finished in getattr(iteration_stats, "finished_requests", None) or ():
                self._note_finished(finished)
        except Exception as error:
            self._fail(error)

    def log_engine_initialized(self) -> None:
        """Nothing to do: the base class wants it to be there."""

    def _note_finished(self, finished: Any) -> None:
        try:
            request_id = getattr(finished, "request_id", None)
            if isinstance(request_id, str) and request_id:
                TIMINGS.put(request_id, timings_of(finished))
        except Exception as error:  # one request's must not cost the others theirs
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if EngineTimings.failed:
            return
        EngineTimings.failed = True
        with suppress(Exception):  # a log handler of the server's may raise as well
            _LOG.warning("engine timings are incomplete: %s (said once)", type(error).__name__)


# A method that a later vLLM makes abstract must not keep the server from starting: the base's own body serves.
EngineTimings.__abstractmethods__ = frozenset()


def _note_load(engine: int, stats: Any) -> None:
    if stats is None:
        return  # an engine without statistics
    waiting = getattr(stats, "num_waiting_reqs", None)
    held_back = getattr(stats, "num_skipped_waiting_reqs", 0)  # waiting as well, for something other than room
    if isinstance(waiting, int) and isinstance(held_back, int):
        waiting += held_back
    ENGINES.put(engine, getattr(stats, "num_running_reqs", None), waiting, getattr(stats, "kv_cache_usage", None))
