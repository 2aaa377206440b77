"""The databases of the consumers: made and migrated at once or not at all, refused with what helps, never replaced."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from logproc.state import Database, StateBrokenError

FIRST = "CREATE TABLE sums (name TEXT PRIMARY KEY, value INTEGER) STRICT;"
SECOND = "CREATE TABLE sums (name TEXT PRIMARY KEY, value INTEGER, unit TEXT NOT NULL) STRICT;"
TO_SECOND = "ALTER TABLE sums ADD COLUMN unit TEXT NOT NULL DEFAULT 'lines';"
TO_THIRD = "UPDATE sums SET value = value * 1000;"


def tables(path: Path) -> list[tuple[str]]:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()


def version(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        number: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return number


def of_version_1(path: Path) -> None:
    database = Database(path, schema=FIRST)
    database.connection.execute("INSERT INTO sums VALUES ('requests', 7)")
    database.close()
    assert version(path) == 1


def test_an_older_database_is_migrated_step_by_step_and_keeps_what_it_holds(tmp_path: Path) -> None:
    of_version_1(tmp_path / "a.db")

    for _ in range(2):  # the second time there is nothing left to do
        database = Database(tmp_path / "a.db", schema=SECOND, migrations=(TO_SECOND, TO_THIRD))
        assert database.connection.execute("SELECT * FROM sums").fetchall() == [("requests", 7000, "lines")]
        database.close()
    assert version(tmp_path / "a.db") == 3


def test_a_new_database_is_made_by_the_schema_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", schema=SECOND, migrations=("this is no SQL;",))
    database.close()
    assert version(tmp_path / "a.db") == 2


def test_a_migration_that_fails_changes_nothing_and_lets_go_of_the_file(tmp_path: Path) -> None:
    of_version_1(tmp_path / "a.db")

    for _ in range(2):
        with pytest.raises(StateBrokenError, match=r"a\.db cannot be opened: no such table: oops"):
            Database(tmp_path / "a.db", schema=SECOND, migrations=(TO_SECOND, "DROP TABLE oops;"))

    assert version(tmp_path / "a.db") == 1
    Database(tmp_path / "a.db", schema=FIRST).close()


def test_a_schema_that_fails_leaves_nothing_half_made(tmp_path: Path) -> None:
    with pytest.raises(StateBrokenError):
        Database(tmp_path / "a.db", schema=FIRST + "CREATE nonsense;")
    assert tables(tmp_path / "a.db") == []


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Database(tmp_path / "a.db", schema=SECOND, migrations=(TO_SECOND,)).close()
    with pytest.raises(StateBrokenError, match=r"newer logproc \(version 2, this one knows 1\)"):
        Database(tmp_path / "a.db", schema=FIRST)
