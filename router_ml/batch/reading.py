"""What a fragment holds, a few thousand rows at a time: tables, as they were, and bad rows.

The columns of Parquet and CSV are the file's own; cells of CSV stay text. Those of JSON Lines
are found out before the run, in the beginnings of the files, so that all output has the same:
lists and objects are kept as their JSON, and what does not fit a column, or has none, is kept
as JSON in the column `_rest`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, TypeVar

import msgspec
import pyarrow as pa
from pyarrow import parquet

from router_ml.batch.fragments import Fragment, open_file_system, said
from router_ml.errors import DataError
from router_ml.logs.databases import text_of
from router_ml.logs.lines import LONGEST, csv_table, json_row, unpacked
from router_ml.logs.row import BLANK, Row

BATCH_ROWS = 4096
"""Rows at a time."""
BATCH_BYTES = 1 << 24
"""About how many bytes they have together at most, where single rows are not larger."""
REST = "_rest"
"""The column of JSON Lines that keeps what no other does."""

T = TypeVar("T")
Columns = Mapping[str, str]
"""Column of JSON Lines -> its Arrow type: "bool", "int64", "double" or "string"."""

_SAMPLED_FRAGMENTS, _SAMPLED_BYTES = 64, 1 << 18
_BUFFER = 1 << 22
"""Bytes of a Parquet column read at once, rather than all that a row group has of it."""
_LARGEST = {"int64": (1 << 63) - 1, "double": 1 << 53}
"""The integer up to which a column holds every one."""
_NAMES = {bool: "bool", int: "int64", float: "double", str: "string"}


class Bad(NamedTuple):
    """A row that cannot be read.

    Attributes:
        place: where it is in its file: a line or a row, from 1, or of JSON Lines a byte, from 0.
        problem: why.
        text: what it was, as far as that can be shown.

    """

    place: int
    problem: str
    text: str = ""


class Batch(NamedTuple):
    """Some rows of a fragment.

    Attributes:
        table: the columns as they were, [n].
        places: of each row, as in `Bad`.
        bad: the rows between them that are none.

    """

    table: pa.Table
    places: Sequence[int]
    bad: Sequence[Bad] = ()


def unit(fragment: Fragment) -> str:
    """Return what the places of a fragment's rows count: "byte", "line" or "row"."""
    return {"lines": "byte", "parquet": "row"}.get(fragment.kind, "line")


def read_batches(fragment: Fragment, columns: Columns) -> Iterator[Batch]:
    """Yield the rows of a fragment.

    Args:
        fragment: a part of a file.
        columns: what JSON Lines are made into; see `find_columns`.

    Raises:
        DataError: the file vanished, or is truncated or broken.

    """
    with _sentences(fragment):
        if fragment.kind == "parquet":
            yield from _parquet_batches(fragment)
        elif fragment.kind == "csv":
            yield from _csv_batches(fragment)
        else:
            for chunk in _chunks(_lines(fragment), lambda numbered: len(numbered[1])):
                yield _batch_of_lines(fragment, chunk, columns)


def read_rows(fragment: Fragment) -> Iterator[Row]:
    """Yield every row of a fragment as `router_ml.logs` knows rows, blank lines left out.

    Raises:
        DataError: the file vanished, or is truncated or broken.

    """
    with _sentences(fragment):
        if fragment.kind == "csv":
            with _open(fragment) as file, csv_table(fragment.path, file) as (_, rows):
                yield from (row for row in rows if row.problem != BLANK)
        elif fragment.kind == "parquet":
            for batch in _parquet_batches(fragment):
                yield from rows_of(fragment, batch.table, batch.places)
                for bad in batch.bad:
                    yield Row(fragment.path, bad.place, {}, problem=bad.problem)
        else:
            for place, line in _lines(fragment):
                yield json_row(fragment.path, place, line)


def rows_of(fragment: Fragment, table: pa.Table, places: Sequence[int]) -> list[Row]:
    """Return rows of a fragment as they were; what a row lacks is left out, bytes are text.

    One with a cell that Python has no value for, as of a year beyond 9999, has a problem.
    """
    try:
        found = table.to_pylist()
    except (ValueError, OverflowError) as error:
        if len(places) == 1:
            problem = f"has a cell that is no value: {said(error)}."
            return [Row(fragment.path, places[0], {}, problem=problem)]
        one_by_one = (
            rows_of(fragment, table.slice(at, 1), [place]) for at, place in enumerate(places)
        )
        return [row for rows in one_by_one for row in rows]
    lines = fragment.kind.endswith("lines")
    rows, columns = map(_line if lines else _row, found), () if lines else table.column_names
    return [
        Row(fragment.path, place, row, columns=columns)
        for place, row in zip(places, rows, strict=True)
    ]


def _row(cells: dict[str, Any]) -> dict[str, Any]:
    return {key: text_of(cell) for key, cell in cells.items() if cell is not None}


def _line(cells: dict[str, Any]) -> dict[str, Any]:
    row = _row(cells)
    rest = row.pop(REST, None)
    return {**row, **_decode(rest)} if rest else row


def find_columns(fragments: Sequence[Fragment]) -> dict[str, str]:
    """Find the columns of JSON Lines in the beginnings of some fragments, spread over all.

    Raises:
        DataError: a file vanished, or is broken.

    """
    lines = [fragment for fragment in fragments if fragment.kind.endswith("lines")]
    seen: dict[str, set[str]] = {}
    for fragment in lines[:: max(1, len(lines) // _SAMPLED_FRAGMENTS)]:
        for row in _beginning(fragment):
            for key, value in row.data.items():
                if value is not None:
                    seen.setdefault(key, set()).add(_NAMES.get(type(value), "string"))
    seen.pop(REST, None)  # a field of that name is kept there, as others without a column
    return {key: _common(kinds) for key, kinds in seen.items()}


def _beginning(fragment: Fragment) -> Iterator[Row]:
    left = _SAMPLED_BYTES
    with _sentences(fragment):
        for place, line in _lines(fragment):
            yield json_row(fragment.path, place, line)
            left -= len(line)
            if left <= 0:
                return


def _common(kinds: set[str]) -> str:
    """Return the type that holds all of these: a float holds integers, text holds anything."""
    if len(kinds) == 1:
        return next(iter(kinds))
    return "double" if kinds == {"int64", "double"} else "string"


@contextmanager
def _sentences(fragment: Fragment) -> Iterator[None]:
    """Turn what the file system and pyarrow raise into one sentence."""
    what = "cannot be read as Parquet" if fragment.kind == "parquet" else "cannot be read"
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(fragment.path, None, f"{what}: {said(error)}.") from error


@contextmanager
def _open(fragment: Fragment) -> Iterator[BinaryIO]:
    system, _ = open_file_system(fragment.source)
    with (
        system.open_input_file(fragment.path) as file,
        io.BufferedReader(file, 1 << 20) as raw,
        unpacked(fragment.path, raw) as found,
    ):
        if fragment.kind == "lines" and fragment.start:
            raw.seek(fragment.start - 1)
        yield found


def _lines(fragment: Fragment) -> Iterator[tuple[int, bytes]]:
    """Yield (place, line) of the lines that begin in a fragment; blank ones are left out.

    Raises:
        DataError: a compressed stream breaks off.

    """
    with _open(fragment) as file:
        cut = fragment.kind == "lines"
        place = fragment.start - 1 if cut and fragment.start else 0
        if cut and fragment.start:
            place += _rest_of_line(file, file.readline(LONGEST))
        while not cut or place < fragment.stop:
            line = file.readline(LONGEST)
            if not line:
                return
            length = _rest_of_line(file, line)
            if not place:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.isspace():
                yield (place if cut else place + 1), line
            place += length if cut else 1


def _rest_of_line(file: BinaryIO, line: bytes) -> int:
    """Pass over what is left of a line too long to be one; return how long all of it is."""
    length = len(line)
    while len(line) == LONGEST and not line.endswith(b"\n"):
        line = file.readline(LONGEST)
        length += len(line)
    return length


def _chunks(rows: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Gather rows until they are enough for a batch, by number or by size."""
    chunk: list[T] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += size_of(row)
        if len(chunk) == BATCH_ROWS or size >= BATCH_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def _batch_of_lines(
    fragment: Fragment, chunk: Sequence[tuple[int, bytes]], columns: Columns
) -> Batch:
    bad: list[Bad] = []
    try:
        rows = [_decode(line) for _, line in chunk]
        places = [place for place, _ in chunk]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        rows, places = [], []
        for place, line in chunk:
            row = json_row(fragment.path, place, line)
            if row.problem is None:
                rows.append(row.data)
                places.append(place)
            else:
                bad.append(Bad(place, row.problem, line.decode("utf-8", "replace").rstrip()))
    return Batch(_tabulate(rows, columns), places, bad)


def _tabulate(rows: Sequence[dict[str, Any]], columns: Columns) -> pa.Table:
    rest = [_without(row, columns) for row in rows]
    arrays = {
        name: _column([row.get(name) for row in rows], name, kind, rest)
        for name, kind in columns.items()
    }
    kept = [msgspec.json.encode(row).decode() if row else None for row in rest]
    return pa.table({**arrays, REST: pa.array(kept, pa.string())})


def _without(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """Return what a row has beyond the columns."""
    if row.keys() <= columns.keys():
        return {}
    return {key: value for key, value in row.items() if key not in columns}


def _column(values: list[Any], name: str, kind: str, rest: Sequence[dict[str, Any]]) -> pa.Array:
    """Make a column; what does not fit into it goes to the rest of its row."""
    if kind == "string" and name != "prompt":
        return pa.array([_as_text(value) for value in values], pa.string())
    for row, value in enumerate(values):
        if value is not None and not _fits(value, kind):
            rest[row][name] = value
            values[row] = None
    return pa.array(values, pa.type_for_alias(kind))


def _as_text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    return msgspec.json.encode(value).decode()


def _fits(value: Any, kind: str) -> bool:
    name = _NAMES.get(type(value))
    if name == "int64":
        return bool(abs(value) <= _LARGEST.get(kind, -1))
    return name == kind


def _parquet_batches(fragment: Fragment) -> Iterator[Batch]:
    system, _ = open_file_system(fragment.source)
    with (
        system.open_input_file(fragment.path) as source,
        parquet.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER) as file,
    ):
        groups = [file.metadata.row_group(at) for at in range(fragment.stop)]
        mine = groups[fragment.start :]
        place = 1 + sum(group.num_rows for group in groups[: fragment.start])
        size = sum(group.total_byte_size for group in mine) / max(
            1, sum(group.num_rows for group in mine)
        )
        rows = max(1, min(BATCH_ROWS, int(BATCH_BYTES / max(1, size))))
        wanted = range(fragment.start, fragment.stop)
        for batch in file.iter_batches(rows, row_groups=[*wanted], use_threads=False):
            yield _valid(pa.Table.from_batches([batch]), range(place, place + len(batch)))
            place += len(batch)


def _valid(table: pa.Table, places: Sequence[int]) -> Batch:
    """Take out the rows that Parquet should not hold, such as text that is no UTF-8."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        problems = [_problem(table.take(pa.array([row]))) for row in range(len(places))]
        good = [row for row, problem in enumerate(problems) if not problem]
        bad = [Bad(places[row], problem) for row, problem in enumerate(problems) if problem]
        taken = table.take(pa.array(good, pa.int64()))
        return Batch(taken, [places[row] for row in good], bad)
    return Batch(table, places)


def _problem(row: pa.Table) -> str:
    """Say what is wrong with a row's cells; "" if nothing is."""
    for name, column in zip(row.column_names, row.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            return f"{name!r} is broken: {said(error).rpartition(': ')[2]}."
    return ""


def _csv_batches(fragment: Fragment) -> Iterator[Batch]:
    with _open(fragment) as file, csv_table(fragment.path, file) as (header, rows):
        names = [name for name in header if name]
        for chunk in _chunks(rows, lambda row: sum(map(len, row.data.values()))):
            good = [row for row in chunk if row.problem is None]
            bad = [
                Bad(row.number, row.problem) for row in chunk if row.problem not in {None, BLANK}
            ]
            table = {
                name: pa.array([row.data.get(name) for row in good], pa.string()) for name in names
            }
            yield Batch(pa.table(table), [row.number for row in good], bad)
