"""Reading a log row by row, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from router_ml.errors import DataError
from router_ml.logs.files import read_file
from router_ml.logs.layouts import recognise
from router_ml.logs.mapping import Mapping
from router_ml.logs.row import BLANK, Row
from router_ml.logs.scrubbing import make_scrub, scrub_row
from router_ml.logs.sources import find_files

Broken = Callable[[DataError], object]
"""Told of every row that cannot be read; it may raise."""


def refuse(error: DataError) -> None:
    """Stop at the first broken row."""
    raise error


class Skipped:
    """Broken rows that were passed over.

    Attributes:
        count: how many.
        first: the first few of them.

    """

    def __init__(self, keep: int = 5) -> None:
        self.count, self.first, self._keep = 0, [], keep  # type: int, list[DataError], int

    def __call__(self, error: DataError) -> None:
        """Count a broken row."""
        self.count += 1
        if len(self.first) < self._keep:
            self.first.append(error)

    def add(self, other: Skipped) -> None:
        """Count those that somebody else passed over."""
        self.count += other.count
        self.first = [*self.first, *other.first][: self._keep]


def read_log(
    sources: Iterable[Path | str],
    *,
    mapping: Mapping | None = None,
    broken: Broken = refuse,
    scrub: str = "",
) -> Iterator[Row]:
    """Yield the rows of a log in their order, each as the project says it.

    Args:
        sources: files, directories and globs: JSON Lines, JSON, CSV, TSV (each plain, gzip
            or zstd), Parquet, SQLite, DuckDB.
        mapping: where rows keep what they say, if their layout is not known.
        broken: told of rows that cannot be read; by default the first is raised.
        scrub: a country, to take e-mail addresses, phone numbers as they are dialled there,
            keys and card numbers out of what rows say; "": do not.

    Raises:
        DataError: a file is missing or has no rows, or what `broken` raises.
        MissingExtra: a file needs the extra `logs`, or scrubbing the extra `scrub`.

    """
    clean = make_scrub(scrub) if scrub else None
    for path in find_files(*sources):
        empty = True
        for row in scan(path, mapping):
            if row.problem == BLANK:
                continue
            empty = False
            if row.problem is None:
                yield scrub_row(row, clean) if clean else row
            else:
                broken(row.error())
        if empty:
            raise DataError(path, None, "the file has no rows.")


def scan(path: Path | str, mapping: Mapping | None = None) -> Iterator[Row]:
    """Yield every row of one file, with its `problem` where it cannot be read.

    Raises:
        DataError: the file cannot be read, or is no log.

    """
    for row in read_file(path):
        yield row if row.problem else recognise(row, mapping or {})
