"""Found requests as one Parquet file, for DuckDB, pandas and the like; needs the extra `parquet` (pyarrow)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from logproc.question import UsageError
from logproc.stores.archive import Found
from logproc.stores.fields import REQUEST_FIELDS, Field

_ROWS: Final = 50_000
"""Rows of one group in the file, and in memory."""


def write_parquet(found: Iterable[Found], path: Path) -> int:
    """Write documents into a new file that takes the place of `path` when it is whole; how many they were.

    Columns are those of `--sql`, but for `time` (a timestamp in UTC), `id` (text), and lists of flags and reasons.

    Raises:
        UsageError: pyarrow is not installed.
        OSError: the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        message = "--parquet: the package pyarrow is missing: pip install pyarrow"
        raise UsageError(message, "--parquet") from error
    schema = pyarrow.schema([(_column(field), _type(field, pyarrow)) for field in REQUEST_FIELDS])
    count, rest, partial = 0, iter(found), path.with_name(f"{path.name}.part")
    try:
        with parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            while rows := [_row(each.document) for each in islice(rest, _ROWS)]:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                count += len(rows)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _column(field: Field) -> str:
    return "time" if field.type == "date" else field.column


def _type(field: Field, pyarrow: Any) -> Any:
    match field.type:
        case "date":
            return pyarrow.timestamp("ms", tz="UTC")
        case "long" | "duration":
            return pyarrow.int64()
        case "boolean":
            return pyarrow.bool_()
        case "keywords":
            return pyarrow.list_(pyarrow.string())
        case _:
            return pyarrow.string()


def _row(document: dict[str, Any]) -> dict[str, Any]:
    return {_column(field): _value(document.get(field.name), field) for field in REQUEST_FIELDS}


def _value(value: Any, field: Field) -> Any:
    if field.type == "date":
        return datetime.fromisoformat(value)
    return bytes(value).decode("utf-8") if isinstance(value, msgspec.Raw) else value
