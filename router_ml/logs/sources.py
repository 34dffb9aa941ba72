"""Which files a log is made of: one file, a directory of them, or a glob."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from router_ml.errors import DataError

TABLE = "::"
"""Between a database and the table that is meant: `log.db::requests`."""

_KNOWN = re.compile(
    r"\.(jsonl|ndjson|json|csv|tsv|parquet|sqlite3?|db|duckdb)(\.\d+)?(\.(gz|zst))?$", re.I
)


def find_files(*sources: Path | str) -> list[Path]:
    """Return the files that sources name, sorted within each.

    Args:
        sources: files, directories (searched in depth for the suffixes of logs; names that
            begin with `.` or `_` are passed over) and globs (`**` for any depth). A database
            may name its table: `log.db::requests`.

    Raises:
        DataError: a directory or a glob has no file. Whether a file exists shows when it
            is read.

    """
    return [path for source in sources for path in _find(str(source))]


def _find(source: str) -> list[Path]:
    if Path(source).exists():
        return _within(Path(source)) if Path(source).is_dir() else [Path(source)]
    pattern, table = split_table(source)
    if not glob.has_magic(pattern) or Path(pattern).exists():
        return [Path(source)]
    root = Path(pattern).anchor
    below = str(Path(pattern).relative_to(root))
    found = sorted(path for path in Path(root).glob(below) if path.is_file())
    if not found:
        raise DataError(source, None, "no file matches.")
    return [Path(f"{path}{TABLE}{table}") if table else path for path in found]


def passed_over(*sources: Path | str) -> list[Path]:
    """Return the files in directories that are taken for no logs, for their suffix."""
    directories = filter(Path.is_dir, map(Path, sources))
    return [path for directory in directories for path in _shown(directory) if not _is_log(path)]


def _within(directory: Path) -> list[Path]:
    shown = [path for path in _shown(directory) if _is_log(path)]
    if not shown:
        raise DataError(directory, None, "the directory has no log: no .jsonl, .csv, .parquet ….")
    return shown


def _shown(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and not is_hidden(path.relative_to(directory).parts)
    )


def _is_log(path: Path) -> bool:
    return _KNOWN.search(path.name) is not None


def is_hidden(parts: Iterable[str]) -> bool:
    """Say whether a path within a directory is passed over there, as Arrow and Spark do."""
    return any(part.startswith((".", "_")) for part in parts)


def split_table(source: str) -> tuple[str, str | None]:
    """Split `log.db::requests` into file and table; without a table, None."""
    path, found, table = source.rpartition(TABLE)
    return (path, table) if found and path and table else (source, None)
