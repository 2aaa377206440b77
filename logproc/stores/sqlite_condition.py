"""A question as an SQL condition over the stored columns of one file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from logproc.ids import id_bytes
from logproc.stores.archive import Question


def skew_ms(connection: sqlite3.Connection) -> int:
    """The farthest that an id's time lies from its document's, ms: 0 where the order of ids is the order of time."""
    (skew,) = connection.execute("SELECT max(ms) FROM skew").fetchone()
    return skew or 0


def condition(connection: sqlite3.Connection, question: Question) -> tuple[str, list[Any]]:
    """The question as an SQL condition over the stored columns of one file, and its parameters."""
    parts: list[str] = ["1"]
    parameters: list[Any] = []
    skew = skew_ms(connection)

    def add(part: str, *values: Any) -> None:
        parts.append(part)
        parameters.extend(values)

    for moment, sign, earliest in ((question.since_ms, ">=", -skew), (question.until_ms, "<", skew)):
        if moment is not None:
            add(f"id {sign} ?", min(max(moment + earliest, 0), (1 << 48) - 1).to_bytes(6, "big"))
            if skew:
                add(f"time_ms {sign} ?", moment)
    if question.slower_than_ns is not None:
        add("duration_ns > ?", question.slower_than_ns)
    for column, texts in (("outcome", question.outcomes), ("model", question.models), ("client", question.clients)):
        if texts:
            add(*is_any(connection, column, texts))
    if question.users:
        users, keys = (is_any(connection, column, question.users) for column in ("user_id", "api_key_id"))
        add(f"({users[0]} OR {keys[0]})", *users[1:], *keys[1:])
    if question.flags:
        add(*_has_any(connection, question.flags))
    if question.ids:
        marks = ", ".join("?" * len(question.ids))
        events = [raw for raw in map(id_bytes, question.ids) if raw is not None]
        places = " OR ".join(f"{column} IN ({marks})" for column in ("request_id", "response_id", "trace_id"))
        add(f"(id IN ({', '.join('?' * len(events))}) OR {places})", *events, *question.ids * 3)
    return " AND ".join(parts), parameters


def is_any(connection: sqlite3.Connection, column: str, texts: Sequence[str]) -> tuple[Any, ...]:
    """The condition that a column of repeated texts holds one of these, and its parameters."""
    marks = ", ".join("?" * len(texts))
    rows = connection.execute(f"SELECT number FROM texts WHERE text IN ({marks})", texts)  # noqa: S608
    values = [*(number for (number,) in rows), *texts]
    return f"{column} IN ({', '.join('?' * len(values))})", *values


def _has_any(connection: sqlite3.Connection, flags: Sequence[str]) -> tuple[Any, ...]:
    """The condition that a request has one of these flags, and its parameters."""
    wanted = set(flags)
    texts = connection.execute("SELECT number, text FROM texts")
    values = [number for number, text in texts if wanted & set(text.split(","))]
    unnumbered = " OR ".join("instr(',' || flags || ',', ?)" for _ in flags)
    condition = f"(flags IN ({', '.join('?' * len(values))}) OR typeof(flags) = 'text' AND ({unnumbered}))"
    return condition, *values, *(f",{flag}," for flag in flags)
