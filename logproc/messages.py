"""Messages for the operator: one form on the error stream, whoever tells them."""

from __future__ import annotations

import logging
import sys

import structlog

from logproc.harmless import harmless


def log_to_stderr() -> None:
    """One form for every message, whether it was told to structlog or to the standard library's logging."""
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _harmless,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=True)
        if sys.stderr.isatty()
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[*before, renderer],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.getLogger("logproc").addHandler(handler)


def _harmless(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Names of files and answers of servers are not ours; only a traceback has lines."""
    for name, value in event.items():
        if name != "exception" and not name.startswith("_") and not isinstance(value, bool | int | float | None):
            event[name] = harmless(str(value))
    return event
