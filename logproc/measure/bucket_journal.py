"""The part of `measure.db` that the judge of alerts needs: buckets, hours, its own state, and the entries it made."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from logproc.alerts.alert import Alert
from logproc.alerts.clearest import SLOT_S, Pick, Sort
from logproc.alerts.history import KEEP_S
from logproc.alerts.judge import Judge, State
from logproc.alerts.record import append
from logproc.alerts.usual import DAYS

BUCKETS: Final = """
CREATE TABLE IF NOT EXISTS seconds (
    second INTEGER NOT NULL, model TEXT NOT NULL, cells BLOB NOT NULL, PRIMARY KEY (second, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hours (
    hour INTEGER NOT NULL, model TEXT NOT NULL, cells BLOB NOT NULL, PRIMARY KEY (hour, model)
) STRICT, WITHOUT ROWID;
"""
"""`cells` are the columns that are not 0: two bytes each where they stand in the fact `columns`, then eight each."""

STRETCHES: Final = """
CREATE TABLE IF NOT EXISTS stretches (
    number INTEGER PRIMARY KEY, model TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, cells BLOB NOT NULL
) STRICT;
"""
"""All there was of a model from one second to another, as `_Stretch` in MessagePack. Of several the last one holds, and
what stands in `seconds` is newer.
"""
MANY: Final = 64
"""So many seconds at once are written as a stretch: a backlog is read, and rows would cost more than the reading."""

GAP_S: Final = 60
"""A longer pause between two seconds ends a stretch."""

CLEAREST: Final = """
CREATE TABLE IF NOT EXISTS clearest (
    slot INTEGER NOT NULL, model TEXT NOT NULL, picks BLOB NOT NULL, PRIMARY KEY (slot, model)
) STRICT, WITHOUT ROWID;
"""
"""`picks` are a slot of `alerts.clearest` as MessagePack."""

_PUT_SECOND: Final = (
    "INSERT INTO seconds (second, model, cells) VALUES (?, ?, ?) "
    "ON CONFLICT (second, model) DO UPDATE SET cells = excluded.cells"
)
_PUT_STRETCH: Final = "INSERT INTO stretches (model, first, last, cells) VALUES (?, ?, ?, ?)"
_NARROW: Final = (1 << 31) - 1
_PUT_HOUR: Final = (
    "INSERT INTO hours (hour, model, cells) VALUES (?, ?, ?) "
    "ON CONFLICT (hour, model) DO UPDATE SET cells = excluded.cells"
)
_PUT_CLEAREST: Final = (
    "INSERT INTO clearest (slot, model, picks) VALUES (?, ?, ?) "
    "ON CONFLICT (slot, model) DO UPDATE SET picks = excluded.picks"
)
_PUT_FACT: Final = (
    "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_FORGET_EVERY_S: Final = 60

Ints = npt.NDArray[np.int64]
_decode: Final = msgspec.msgpack.Decoder(State).decode
_decode_picks: Final = msgspec.msgpack.Decoder(dict[Sort, list[Pick]]).decode


class BucketJournal:
    """Saves and loads what a judge holds, inside the transactions of `Journal`."""

    def __init__(self) -> None:
        self._forgotten = 0
        self._columns: tuple[str, ...] = ()
        """As they are stored."""

    def load(self, connection: sqlite3.Connection, facts: Mapping[str, bytes], judge: Judge) -> None:
        """Fill the judge with what was committed. Columns that it no longer has are left out."""
        names = json.loads(facts.get("columns", b"[]"))
        self._columns = tuple(names)
        if "judge" in facts:
            judge.restore(_decode(facts["judge"]))
        places = np.array([judge.columns.at.get(name, -1) for name in names], np.int64)
        for model, cells in connection.execute("SELECT model, cells FROM stretches ORDER BY number"):
            judge.history.seconds.rows.setdefault(model, {}).update(_unrolled(cells, places, len(judge.columns)))
        for second, model, cells in connection.execute("SELECT second, model, cells FROM seconds"):
            judge.history.seconds.rows.setdefault(model, {})[second] = _unpacked(cells, places, len(judge.columns))
        if judge.judged is not None:
            judge.history.seconds.forget_before(judge.judged - KEEP_S)
        for hour, model, cells in connection.execute("SELECT hour, model, cells FROM hours"):
            judge.history.hours.add(model, hour, _unpacked(cells, places, len(judge.columns)))
        for slot, model, picks in connection.execute("SELECT slot, model, picks FROM clearest"):
            judge.history.clearest[model, slot] = _decode_picks(picks)
        judge.history.hours.dirty.clear()
        if names and tuple(names) != judge.columns.names:  # stored anew by their new places
            judge.history.dirty |= {
                (model, second) for model, rows in judge.history.seconds.rows.items() for second in rows
            }
            judge.history.hours.dirty |= {
                (model, hour) for model, rows in judge.history.hours.rows.items() for hour in rows
            }

    def save(self, connection: sqlite3.Connection, judge: Judge, entries: Iterable[Alert]) -> None:
        """Everything that changed since `saved`. Raises sqlite3.Error."""
        if self._columns != judge.columns.names:
            connection.execute(_PUT_FACT, ("columns", json.dumps(judge.columns.names).encode()))
            connection.execute("DELETE FROM seconds")  # everything is dirty
            connection.execute("DELETE FROM stretches")
        _save_seconds(connection, judge)
        if judge.judged is not None and judge.judged >= self._forgotten + _FORGET_EVERY_S:
            connection.execute("DELETE FROM seconds WHERE second < ?", (judge.judged - KEEP_S,))
            connection.execute("DELETE FROM stretches WHERE last < ?", (judge.judged - KEEP_S,))
            connection.execute("DELETE FROM clearest WHERE slot < ?", ((judge.judged - KEEP_S) // SLOT_S,))
            connection.execute("DELETE FROM hours WHERE hour < ?", (judge.judged // 3600 - DAYS * 24 - 1,))
        clearest = judge.history.clearest
        connection.executemany(
            _PUT_CLEAREST,
            [
                (slot, model, msgspec.msgpack.encode(clearest[model, slot]))
                for model, slot in judge.history.dirty_slots & clearest.keys()
            ],
        )
        hours = judge.history.hours.rows
        changed = [(hour, model) for model, hour in judge.history.hours.dirty if hour in hours.get(model, ())]
        cells = _packed([hours[model][hour] for hour, model in changed])
        connection.executemany(_PUT_HOUR, [(*key, blob) for key, blob in zip(changed, cells, strict=True)])
        if judge.has_changed:
            connection.execute(_PUT_FACT, ("judge", msgspec.msgpack.encode(judge.state())))
        append(connection, entries)

    def saved(self, judge: Judge) -> None:
        """What was saved is committed."""
        self._columns = judge.columns.names
        judge.history.dirty.clear()
        judge.history.dirty_slots.clear()
        judge.history.hours.dirty.clear()
        judge.has_changed = False
        if judge.judged is not None and judge.judged >= self._forgotten + _FORGET_EVERY_S:
            self._forgotten = judge.judged


def _save_seconds(connection: sqlite3.Connection, judge: Judge) -> None:
    """The seconds that changed, those of a backlog as stretches."""
    changed: dict[str, list[int]] = {}
    for model, second in judge.history.dirty:
        if second in judge.history.seconds.rows.get(model, ()):
            changed.setdefault(model, []).append(second)
    for model, seconds in changed.items():
        kept = judge.history.seconds.rows[model]
        for run in _runs(sorted(seconds)):
            if len(run) < MANY:
                cells = _packed([kept[second] for second in run])
                connection.executemany(
                    _PUT_SECOND, [(second, model, blob) for second, blob in zip(run, cells, strict=True)]
                )
            else:
                first, last = run[0], run[-1]
                rolled = _rolled({second: row for second, row in kept.items() if first <= second <= last})
                connection.execute(
                    "DELETE FROM seconds WHERE second BETWEEN ? AND ? AND model = ?", (first, last, model)
                )
                connection.execute(_PUT_STRETCH, (model, first, last, rolled))


def _runs(seconds: list[int]) -> Iterator[list[int]]:
    """Parts of sorted seconds between which nothing was for long: a live file beside an old one is no stretch."""
    begin = 0
    for place in range(1, len(seconds) + 1):
        if place == len(seconds) or seconds[place] - seconds[place - 1] > GAP_S:
            yield seconds[begin:place]
            begin = place


class _Stretch(msgspec.Struct, array_like=True):
    """Of each second the columns that are not 0 in all of them."""

    seconds: bytes
    """int64"""
    columns: bytes
    """uint16: where they stand in the fact `columns`"""
    values: bytes
    """int32 where that is wide enough, else int64; shape (seconds, columns)"""
    is_wide: bool


_decode_stretch: Final = msgspec.msgpack.Decoder(_Stretch).decode


def _rolled(rows: Mapping[int, Ints]) -> bytes:
    table = np.array(list(rows.values()))
    used = np.flatnonzero(table.any(axis=0))
    values = table[:, used]
    is_wide = bool(values.max(initial=0) > _NARROW or values.min(initial=0) < -_NARROW)
    return msgspec.msgpack.encode(
        _Stretch(
            np.array(list(rows), np.int64).tobytes(),
            used.astype(np.uint16).tobytes(),
            values.astype(np.int64 if is_wide else np.int32).tobytes(),
            is_wide,
        )
    )


def _unrolled(cells: bytes, places: Ints, count: int) -> dict[int, Ints]:
    """The rows by second, by the present columns."""
    stretch = _decode_stretch(cells)
    seconds = np.frombuffer(stretch.seconds, np.int64)
    at = places[np.frombuffer(stretch.columns, np.uint16)]
    values = np.frombuffer(stretch.values, np.int64 if stretch.is_wide else np.int32).reshape(len(seconds), len(at))
    table = np.zeros((len(seconds), count), np.int64)
    table[:, at[at >= 0]] = values[:, at >= 0]
    return dict(zip(seconds.tolist(), table, strict=True))


def _packed(rows: list[Ints]) -> Iterator[bytes]:
    """Each row without its zeros."""
    if not rows:
        return
    table = np.array(rows)
    which, columns = np.nonzero(table)
    values = table[which, columns].tobytes()
    places = columns.astype(np.uint16).tobytes()
    ends = np.searchsorted(which, np.arange(len(rows)), side="right").tolist()
    start = 0
    for end in ends:
        yield places[2 * start : 2 * end] + values[8 * start : 8 * end]
        start = end


def _unpacked(cells: bytes, places: Ints, count: int) -> Ints:
    """The row, by the present columns."""
    used = len(cells) // 10
    row = np.zeros(count, np.int64)
    at = places[np.frombuffer(cells, np.uint16, used)]
    row[at[at >= 0]] = np.frombuffer(cells, np.int64, used, 2 * used)[at >= 0]
    return row
