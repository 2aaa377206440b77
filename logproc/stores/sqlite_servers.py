"""What servers said of themselves, read from the one file that holds their lines."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from logproc.record import SERVER_STARTED
from logproc.stores.archive import Question, Server
from logproc.stores.servers import COLUMNS, Key, Peak, servers_of
from logproc.stores.sqlite_condition import condition, is_any
from logproc.stores.sqlite_schema import SERVERS, text_of

_SHOWN: Final = ", ".join(text_of(field) for name in COLUMNS for field in SERVERS.fields if field.column == name)
_HOST: Final = next(text_of(field) for field in SERVERS.fields if field.column == "host")


def read_servers(connection: sqlite3.Connection, since_ms: int | None, until_ms: int | None) -> list[Server]:
    """The servers that wrote a line in this range of time."""
    where, parameters = condition(connection, Question(since_ms, until_ms))
    newest = _newest(connection, where, parameters)
    before_end, bound = condition(connection, Question(None, until_ms))
    is_start, *texts = is_any(connection, "event", [SERVER_STARTED])
    # No start tells of requests in flight, and there is an index of the lines that do not.
    starts = _newest(connection, f"in_flight IS NULL AND {is_start} AND {before_end}", [*texts, *bound])
    return servers_of(newest, starts, dict(_peaks(connection, where, parameters)))


def _newest(connection: sqlite3.Connection, where: str, parameters: list[Any]) -> Iterator[dict[str, Any]]:
    # With max() alone, SQLite gives the other columns of the row in which it was found.
    query = f"SELECT {_SHOWN}, max(time_ms) FROM {SERVERS.stored} WHERE {where} GROUP BY host, pid, event"  # noqa: S608
    for row in connection.execute(query, parameters):
        yield dict(zip(COLUMNS, row, strict=False))


def _peaks(connection: sqlite3.Connection, where: str, parameters: list[Any]) -> Iterator[tuple[Key, Peak]]:
    used, total = (f"json_extract(gpu.value, '$.memory_{name}_bytes')" for name in ("used", "total"))
    query = (
        f"SELECT {_HOST}, pid, max({used}), max(1.0 * {used} / {total}) "  # noqa: S608 - names of our own
        f"FROM (SELECT host, pid, gpus FROM {SERVERS.stored} WHERE gpus IS NOT NULL AND {where}) AS line, "
        f"json_each(line.gpus) AS gpu GROUP BY host, pid"
    )
    for host, pid, octets, ratio in connection.execute(query, parameters):
        yield (host, pid), (None if octets is None else int(octets), ratio)
