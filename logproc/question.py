"""What was asked for, as people write it (`1h`, `3s`, a time, a name), made into a `Question`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from logproc.flags import FLAGS
from logproc.record import OUTCOMES
from logproc.stores.archive import Question
from logproc.stores.documents import time_text

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?")
_UNIT_MS: Final = {"ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6, "d": 8.64e7, "w": 6.048e8}


class UsageError(Exception):
    """What was asked for cannot be understood; the message says what can, `option` which one it was (if one)."""

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True, slots=True)
class Asked:
    """What was given, word by word; the names are those of the options and parameters (`since` is `from`).

    `last` is a span such as `90s`, `1h`, `7d`; `since` and `to` are RFC 3339 times, dates, or spans before now; without
    any of them everything stored is searched. `slower_than` is a span, a plain number means seconds.
    """

    last: str | None = None
    since: str | None = None
    to: str | None = None
    outcome: Sequence[str] = ()
    flag: Sequence[str] = ()
    model: Sequence[str] = ()
    client: Sequence[str] = ()
    user: Sequence[str] = ()
    id: Sequence[str] = ()
    slower_than: str | None = None


def question_of(asked: Asked, now_ms: int, *, options: bool = False) -> Question:
    """The question that was meant. With `options` a name is shown as `--slower-than`, else as `slower_than`.

    Raises:
        UsageError: a value is none of those that can be understood.
    """

    def shown(name: str) -> str:
        return f"--{name.replace('_', '-')}" if options else name

    if asked.last is not None and (asked.since is not None or asked.to is not None):
        message = f"{shown('last')} says all: give it alone, or {shown('from')} and {shown('to')}"
        raise UsageError(message, shown("last"))
    for name, given, known in (("outcome", asked.outcome, OUTCOMES), ("flag", asked.flag, FLAGS)):
        for each in given:
            check_one_of(each, known, shown(name))
    since_ms = None if asked.last is None else max(0, now_ms - round(span_ms(asked.last, shown("last"))))
    if asked.since is not None:
        since_ms = moment_ms(asked.since, now_ms, shown("from"))
    until_ms = None if asked.to is None else moment_ms(asked.to, now_ms, shown("to"))
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        message = f"{shown('from')} {time_text(since_ms)} is not before {shown('to')} {time_text(until_ms)}"
        raise UsageError(message, shown("from"))
    slower_than_ns = None
    if asked.slower_than is not None:
        slower_than_ns = round(span_ms(asked.slower_than, shown("slower_than"), bare_unit="s") * 1e6)
    return Question(
        since_ms=since_ms,
        until_ms=until_ms,
        outcomes=tuple(asked.outcome),
        flags=tuple(asked.flag),
        models=tuple(asked.model),
        clients=tuple(asked.client),
        users=tuple(asked.user),
        ids=tuple(asked.id),
        slower_than_ns=slower_than_ns,
    )


def check_one_of(name: str, known: Sequence[str], option: str) -> None:
    """Raises UsageError, with the nearest one, when a name is none of the known ones."""
    if name not in known:
        raise UsageError(f"{option} {name[:100]!r} is none of {', '.join(known)}.{did_you_mean(name, known)}", option)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of a message: the nearest of the known names, if one is near."""
    near = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {near[0]}?" if near else ""


def span_ms(text: str, option: str, bare_unit: str | None = None) -> float:
    """A span such as `250ms`, `3s`, `1.5h` → ms; `bare_unit` is that of a plain number, if there may be one.

    Raises:
        UsageError: it is no such text.
    """
    found = _SPAN.fullmatch(text.strip())
    unit = found and (found[2] or bare_unit)
    if not found or not unit or len(found[1]) > 15:
        raise UsageError(f"{option} {text[:100]!r}: expected a span such as 250ms, 3s, 15m, 1h, 7d", option)
    return float(found[1]) * _UNIT_MS[unit]


def moment_ms(text: str, now: int, option: str) -> int:
    """A time, a date, or a span before `now` → ms since 1970. Without a time zone it is UTC.

    Raises:
        UsageError: it is no such text.
    """
    if text.strip() == "now":
        return now
    if _SPAN.fullmatch(text.strip()) and not text.strip().isdigit():
        return max(0, now - round(span_ms(text, option)))
    try:
        when = datetime.fromisoformat(text.strip())
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0, int(when.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text[:100]!r}: expected a time such as 2026-11-20T14:02:00Z, a date, "
            "or a span before now such as 1h",
            option,
        ) from None
