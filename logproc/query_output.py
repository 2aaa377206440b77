"""How found requests are shown: a table, JSON lines or CSV; a hostile text can do nothing to the terminal."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from logproc.harmless import HARMFUL, harmless
from logproc.ids import id_text
from logproc.stores.archive import Group
from logproc.stores.fields import EVENT_OUTCOMES, REQUEST_FIELDS

_STYLES: Final = {
    "ok": "green",
    "truncated": "yellow",
    "reasoning_only": "yellow",
    "client_disconnect": "yellow",
    "empty": "red",
    "rejected": "red",
    "stream_error": "bold red",
    "server_error": "bold red",
}

_CSV_FIELDS: Final = (*(field.name for field in REQUEST_FIELDS), "event.outcome")
_WIDE: Final = 100_000  # characters a line, where there is no terminal: nothing is cut or folded


def json_line(document: Mapping[str, Any]) -> str:
    """One document as one line of JSON. Harmful characters are escaped: the value is the same."""
    # A tab or return that is not escaped stands between tokens of an object kept as it came.
    text = msgspec.json.encode(document).decode("utf-8").translate({0x09: " ", 0x0D: " "})
    return HARMFUL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def seconds(ns: int | None) -> str:
    """A duration for people: `3.21 s`, `85 ms`; empty where it is unknown."""
    if ns is None:
        return ""
    if ns < 999_500_000:
        return f"{ns / 1e6:.1f} ms" if ns < 9_950_000 else f"{ns / 1e6:.0f} ms"
    return f"{ns / 1e9:.2f} s" if ns < 99_995_000_000 else f"{ns / 1e9:,.0f} s"


def _console(out: TextIO) -> Console:
    is_terminal = out.isatty()
    return Console(file=out, width=None if is_terminal else _WIDE, highlight=False, emoji=False)


def _text(value: Any) -> Text:
    return Text("" if value is None else harmless(str(value)))


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table of requests. A narrow terminal has what finds room, the smallest `rank` first; 0 always."""

    name: str
    width: int
    rank: int
    is_number: bool = False

    def fit(self, text: str, width: int) -> str:
        """The text cut or filled up to `width`."""
        short = text if len(text) <= width else text[: width - 1] + "…"
        return short.rjust(width) if self.is_number else short.ljust(width)


class RequestTable:
    """Requests as a table for people: at once with `show`, or row by row with `begin` and `add` for `--follow`."""

    _COLUMNS: Final = (
        _Column("time (UTC)", 23, 0),
        _Column("outcome", 17, 0),
        _Column("status", 6, 8, is_number=True),
        _Column("duration", 8, 0, is_number=True),
        _Column("most time", 15, 1),
        _Column("ttft", 8, 7, is_number=True),
        _Column("tokens", 13, 6, is_number=True),
        _Column("model", 24, 9),
        _Column("client", 15, 3),
        _Column("user", 14, 2),
        _Column("flags", 18, 5),
        _Column("event.id", 22, 4),
    )
    _GAP: Final = "  "

    def __init__(self, out: TextIO) -> None:
        self._console = _console(out)
        self._shown = [(place, column, column.width) for place, column in enumerate(self._COLUMNS)]

    def show(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """A whole table, its columns as wide as what is in them; then which of them found no room."""
        rows = [self._cells(document) for document in documents]
        self._shown = [
            (place, column, max(len(column.name), *(len(row[place].plain) for row in rows)))
            for place, column in enumerate(self._COLUMNS)
            if any(row[place].plain for row in rows)
        ]
        wanted = self._shown
        self._head()
        for row in rows:
            self._row(row)
        if left_out := [column.name for place, column, width in wanted if (place, column, width) not in self._shown]:
            note = f"Left out: {', '.join(left_out)}. --json shows all."
            self._console.print(Text(note, style="dim"), soft_wrap=True)

    def begin(self) -> None:
        """The head of a table whose rows come one by one."""
        self._head()

    def add(self, document: Mapping[str, Any]) -> None:
        """One row."""
        self._row(self._cells(document))

    def _head(self) -> None:
        room = self._console.width + len(self._GAP)
        found = []
        for each in sorted(self._shown, key=lambda each: each[1].rank):
            needed = each[2] + len(self._GAP)
            if each[1].rank == 0 or needed <= room:
                found.append(each)
                room -= needed
        self._shown = sorted(found, key=lambda each: each[0])
        line = Text(self._GAP.join(column.fit(column.name, width) for _, column, width in self._shown), style="bold")
        self._print(line)

    def _row(self, cells: Sequence[Text]) -> None:
        shown = [
            Text(column.fit(cells[place].plain, width), style=cells[place].style)
            for place, column, width in self._shown
        ]
        self._print(Text(self._GAP).join(shown))

    def _print(self, line: Text) -> None:
        line.rstrip()
        self._console.print(line, soft_wrap=True)

    @staticmethod
    def _cells(document: Mapping[str, Any]) -> list[Text]:
        tokens = [document.get(f"gen_ai.usage.{side}_tokens") for side in ("input", "output")]
        outcome = document["llm.outcome"]
        return [
            Text(document["@timestamp"].replace("T", " ").removesuffix("Z")),
            Text(outcome, style=_STYLES.get(outcome, "")),
            _text(document.get("http.response.status_code")),
            Text(seconds(document.get("event.duration"))),
            Text(_most_time(document)),
            Text(seconds(document.get("llm.ttft"))),
            Text("" if tokens == [None, None] else " → ".join("?" if each is None else f"{each}" for each in tokens)),
            _text(document.get("gen_ai.request.model")),
            _text(document.get("source.address")),
            _text(document.get("user.id", document.get("llm.api_key_id"))),
            _text(" ".join(document.get("llm.flags", ()))),
            Text(document["event.id"]),
        ]


def _most_time(document: Mapping[str, Any]) -> str:
    """The part of the engine that took most of the time, and how much; empty where the engine said nothing."""
    times = {part: document.get(f"llm.{part}_time") for part in ("queue", "prefill", "decode")}
    part, longest = max(times.items(), key=lambda each: each[1] or 0)
    return f"{part} {seconds(longest)}" if longest else ""


def show_whole(documents: Iterable[Mapping[str, Any]], out: TextIO) -> None:
    """Every field of each document, one a line."""
    console = _console(out)
    for document in documents:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in document.items():
            table.add_row(name, _whole(name, value))
        console.print(table)
        console.print()


def _whole(name: str, value: Any) -> Text:
    if isinstance(value, msgspec.Raw):
        return Text(harmless(bytes(value).decode("utf-8")))
    if isinstance(value, list):
        return _text(" ".join(value))
    return Text(f"{value} ns  ({seconds(value)})") if name in _DURATIONS else _text(value)


_DURATIONS: Final = frozenset(field.name for field in REQUEST_FIELDS if field.type == "duration")


class CsvWriter:
    """Documents as CSV with every field as a column; lists joined by spaces, harmful characters as escapes."""

    def __init__(self, out: TextIO) -> None:
        self._writer = csv.writer(out, lineterminator="\n")

    def begin(self) -> None:
        """The head."""
        self._writer.writerow(_CSV_FIELDS)

    def add(self, document: Mapping[str, Any]) -> None:
        """One row."""
        self._writer.writerow([_csv_cell(document.get(name)) for name in _CSV_FIELDS])


def _csv_cell(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        value = bytes(value).decode("utf-8")
    elif isinstance(value, list):
        value = " ".join(value)
    elif isinstance(value, bytes):
        value = id_text(value) if len(value) == 16 else value.hex()
    elif isinstance(value, bool):
        value = "true" if value else "false"
    return harmless(value) if isinstance(value, str) else value


def _not_ok(group: Group) -> int:
    """How many requests did not get what they asked for; a long answer that was cut at its limit did."""
    return sum(count for outcome, count in group.outcomes.items() if EVENT_OUTCOMES.get(outcome) != "success")


def show_groups(by: str, groups: Sequence[Group], out: TextIO) -> None:
    """Groups as a table for people."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(by, overflow="fold")
    for name in ("requests", "not ok", "prompt tokens", "completion tokens", "P50", "P95", "P99"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        table.add_row(
            Text("(unknown)", style="dim") if group.key is None else _text(group.key),
            f"{group.requests:,}",
            f"{_not_ok(group):,}",
            f"{group.prompt_tokens:,}",
            f"{group.completion_tokens:,}",
            *(seconds(ns) for ns in (group.p50_ns, group.p95_ns, group.p99_ns)),
        )
    _console(out).print(table)


def write_groups_csv(by: str, groups: Sequence[Group], out: TextIO) -> None:
    """Groups as CSV; percentiles of the duration are ns."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [by, "requests", "not_ok", "prompt_tokens", "completion_tokens", "p50_ns", "p95_ns", "p99_ns"],
    )
    for group in groups:
        counts = [group.requests, _not_ok(group)]
        tokens = [group.prompt_tokens, group.completion_tokens]
        writer.writerow([_csv_cell(group.key), *counts, *tokens, group.p50_ns, group.p95_ns, group.p99_ns])


def write_rows(names: Sequence[str], rows: Iterable[Sequence[Any]], form: str, out: TextIO) -> None:
    """The answer to an SQL question; ids are shown as text."""
    if form == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([_csv_cell(name) for name in names])
        writer.writerows([_csv_cell(value) for value in row] for row in rows)
    elif form == "json":
        for row in rows:
            plain = [_csv_cell(value) if isinstance(value, bytes) else value for value in row]
            out.write(json_line(dict(zip(names, plain, strict=True))) + "\n")
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in names:
            table.add_column(_text(name), overflow="fold")
        for row in rows:
            table.add_row(*(_text(_csv_cell(value)) for value in row))
        _console(out).print(table)
