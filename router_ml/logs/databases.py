"""Parquet files and tables of SQLite and DuckDB, a few rows at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from router_ml.errors import DataError, MissingExtra
from router_ml.logs.lines import UNREADABLE
from router_ml.logs.row import Row

_BATCH = 256
_MODEST = "SET memory_limit = '256MB'; SET enable_progress_bar = false"
"""DuckDB takes most of the memory else, and draws its bar on standard output."""
_TABLES = """
    SELECT table_name FROM information_schema.tables
    WHERE table_schema NOT IN ('information_schema', 'pg_catalog')
"""


def read_parquet(path: Path | str) -> Iterator[Row]:
    """Yield the rows of a Parquet file.

    Raises:
        DataError: it is no Parquet file, or a broken one.
        MissingExtra: pyarrow is not installed.

    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtra("logs", "Reading Parquet") from error
    try:
        with parquet.ParquetFile(path) as file:
            batches = (batch.to_pylist() for batch in file.iter_batches(_BATCH))
            yield from _rows(path, (row for batch in batches for row in batch))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(path, None, f"cannot be read as Parquet: {error}.") from error


def read_sqlite(path: Path | str, table: str | None) -> Iterator[Row]:
    """Yield the rows of a table; of the only one, if none is named.

    Raises:
        DataError: the file is broken, or has no such table, or several and none is named.

    """
    place = f"{Path(path).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(place, uri=True)) as database:
            database.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            tables = database.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
                "AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
            )
            name = _choose(path, [row[0] for row in tables], table)
            cursor = database.execute(f"SELECT * FROM {_quoted(name)}")
            columns = [column[0] for column in cursor.description]
            yield from _rows(f"{path}::{name}", _named(columns, cursor))
    except sqlite3.Error as error:
        raise DataError(path, None, f"cannot be read as SQLite: {error}.") from error


def read_duckdb(path: Path | str, table: str | None) -> Iterator[Row]:
    """Yield the rows of a table; of the only one, if none is named.

    Raises:
        DataError: the file is broken, or has no such table, or several and none is named.
        MissingExtra: duckdb is not installed.

    """
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise MissingExtra("logs", "Reading DuckDB") from error
    try:
        with duckdb.connect(str(path), read_only=True) as database:
            database.execute(_MODEST)
            tables = database.execute(_TABLES).fetchall()
            name = _choose(path, [row[0] for row in tables], table)
            result = database.execute(f"SELECT * FROM {_quoted(name)}")
            columns = [column[0] for column in result.description]
            batches = iter(lambda: result.fetchmany(_BATCH), [])
            cells = (row for batch in batches for row in batch)
            yield from _rows(f"{path}::{name}", _named(columns, cells))
    except duckdb.Error as error:
        raise DataError(path, None, f"cannot be read as DuckDB: {error}.") from error


def _choose(path: Path | str, tables: Sequence[str], wanted: str | None) -> str:
    if wanted in tables:
        return str(wanted)
    if wanted is None and len(tables) == 1:
        return tables[0]
    listed = ", ".join(sorted(tables)) or "none"
    asked = f"has no table {wanted!r}" if wanted else f"say which table is the log: {path}::TABLE"
    raise DataError(path, None, f"{asked}; it has {listed}.")


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _named(columns: Sequence[str], cells: Iterable[Sequence[Any]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(columns, row, strict=True)) for row in cells)


def _rows(path: Path | str, rows: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Number rows from 1; as in CSV, what a row lacks is left out."""
    for number, row in enumerate(rows, 1):
        data = {key: text_of(cell) for key, cell in row.items() if cell is not None}
        bad = next((key for key, cell in data.items() if _is_unreadable(cell)), None)
        problem = None if bad is None else f"its {bad!r} is no UTF-8."
        yield Row(path, number, data, problem=problem, columns=tuple(row))


def text_of(cell: Any) -> Any:
    """Return bytes that are UTF-8 as the text they are; anything else as it is."""
    try:
        return cell.decode() if isinstance(cell, bytes) else cell
    except UnicodeDecodeError:
        return cell


def _is_unreadable(cell: Any) -> bool:
    return isinstance(cell, str) and bool(UNREADABLE.search(cell))
