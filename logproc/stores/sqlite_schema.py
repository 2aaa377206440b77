"""How documents lie in a SQLite file: tables made of the field lists, texts kept once a file, a view to read by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from logproc.stores.fields import REQUEST_FIELDS, SERVER_FIELDS, Field

APPLICATION_ID: Final = 0x6C6F6764  # "logd"
VERSION: Final = 4

SPAN_MS: Final = 300_000
"""Time is cut into spans of this length, to know where documents were added since somebody counted them."""


@dataclass(frozen=True, slots=True)
class Table:
    """The table `stored_NAME`, and the view NAME that shows it with its texts in place of their numbers."""

    name: str
    fields: tuple[Field, ...]
    index: str = ""
    """The statement that makes an index, if there is one."""

    @property
    def stored(self) -> str:
        """The table's own name."""
        return f"stored_{self.name}"

    def schema(self) -> str:
        """The statements that make everything in one file."""
        columns = ", ".join(_declaration(field) for field in self.fields)
        shown = ", ".join(f"{text_of(field)} AS {field.column}" for field in self.fields)
        return f"""
            CREATE TABLE IF NOT EXISTS texts (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
            CREATE TABLE IF NOT EXISTS skew (ms INTEGER NOT NULL) STRICT;
            CREATE TABLE IF NOT EXISTS uncounted (
                one INTEGER PRIMARY KEY CHECK (one = 1), round INTEGER NOT NULL, stored INTEGER NOT NULL
            ) STRICT;
            CREATE TABLE IF NOT EXISTS changes (span INTEGER PRIMARY KEY, version INTEGER NOT NULL) STRICT;
            CREATE TABLE IF NOT EXISTS {self.stored} ({columns}) WITHOUT ROWID;
            {self.index}
            CREATE VIEW IF NOT EXISTS {self.name} AS SELECT {shown} FROM {self.stored};
        """  # noqa: S608 - names of our own

    def insert(self, columns: Sequence[str]) -> str:
        """The statement that adds a row of these columns unless its id is there."""
        marks = ", ".join("?" * len(columns))
        return f"INSERT OR IGNORE INTO {self.stored} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of our own


NOTE_UNCOUNTED: Final = """
    INSERT INTO uncounted (one, round, stored) VALUES (1, ?, ?) ON CONFLICT (one) DO UPDATE SET
        stored = excluded.stored + iif(round = excluded.round, stored, 0), round = excluded.round
"""
"""The statement that adds to the documents stored in a round; an earlier round is forgotten, for it was counted."""

NOTE_CHANGE: Final = """
    INSERT INTO changes (span, version) VALUES (?, 1) ON CONFLICT (span) DO UPDATE SET version = version + 1
"""
"""The statement that notes that documents were added to a span of time."""


def _declaration(field: Field) -> str:
    if field.type == "id":
        return f"{field.column} BLOB PRIMARY KEY NOT NULL"
    return f"{field.column} {field.sqlite_type} {'NOT NULL' if field.type == 'date' else ''}".strip()


def text_of(field: Field) -> str:
    """The SQL expression for a column's value: a repeated text is kept once, and a row holds its number."""
    name = field.column
    if not field.is_numbered:
        return name
    return f"iif(typeof({name}) = 'integer', (SELECT text FROM texts WHERE number = {name}), {name})"  # noqa: S608 - names of our own


REQUESTS: Final = Table("requests", REQUEST_FIELDS)
SERVERS: Final = Table(
    "servers",
    SERVER_FIELDS,
    # Starts and stops, which are few among the heartbeats.
    "CREATE INDEX IF NOT EXISTS starts_and_stops ON stored_servers (id) WHERE in_flight IS NULL;",
)
