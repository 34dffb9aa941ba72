"""Files of lines, plain or compressed: JSON Lines, JSON and CSV."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from router_ml.errors import DataError, MissingExtra
from router_ml.logs.row import BLANK, Row
from router_ml.plurals import counted

LONGEST = 1 << 26
"""Bytes of a line, of a cell of CSV, and of a whole JSON document: what is longer is no row."""

UNREADABLE = re.compile(r"[\udc80-\udcff]")
"""A byte that is no UTF-8, as Python decodes it with `surrogateescape`."""

_HEADER_LINES = 20
"""A CSV's header has at most so many lines."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@contextmanager
def open_bytes(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file, decompressed if its first bytes say gzip or zstd.

    Raises:
        DataError: it cannot be read, or its stream is broken or cut short.

    """
    try:
        with Path(path).open("rb") as raw, unpacked(path, raw) as file:
            yield file
    except OSError as error:
        raise DataError(path, None, f"cannot be read: {error.strerror or error}.") from error


@contextmanager
def unpacked(path: Path | str, raw: io.BufferedReader) -> Iterator[BinaryIO]:
    """Decompress an open file if its first bytes say gzip or zstd; `path` is for errors.

    Raises:
        DataError: its stream is broken or cut short.

    """
    try:
        start = raw.peek(4)[:4]
        if start.startswith(_GZIP):
            with gzip.open(raw) as file:
                yield file  # type: ignore[misc]  # a GzipFile reads as a BinaryIO does
        elif start.startswith(_ZSTD):
            yield _zstd(raw)
        else:
            yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(path, None, "the gzip stream is broken or cut short.") from error
    except OSError as error:
        if error.errno is None:  # pyarrow's own
            raise DataError(path, None, "the zstd stream is broken or cut short.") from error
        raise


def _zstd(raw: BinaryIO) -> BinaryIO:
    """Decompress with pyarrow, which says when a stream is cut short; others just end."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise MissingExtra("logs", "Reading .zst") from error
    return io.BufferedReader(pyarrow.CompressedInputStream(raw, "zstd"), 1 << 17)


def read_lines(path: Path | str) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, bytes) of every line; of one beyond `LONGEST`, its beginning.

    Raises:
        DataError: the file cannot be read; where a stream breaks off, it names the line.

    """
    number = 0
    try:
        with open_bytes(path) as file:
            while line := file.readline(LONGEST):
                number += 1
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                while len(line) == LONGEST and not line.endswith(b"\n"):
                    line = file.readline(LONGEST)
    except DataError as error:
        raise DataError(path, number + 1 if number else None, error.problem) from error


def read_jsonl(path: Path | str) -> Iterator[Row]:
    """Yield every line of JSON Lines; one that is no JSON object has a problem."""
    for number, line in read_lines(path):
        yield json_row(path, number, line)


def json_row(path: Path | str, number: int, line: bytes) -> Row:
    """Parse one line as a JSON object."""
    if not line.strip():
        return Row(path, number, {}, problem=BLANK)
    if len(line) == LONGEST:
        return Row(path, number, {}, problem=f"the line is longer than {LONGEST >> 20} MiB.")
    try:
        data = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Row(path, number, {}, problem=_no_json(line, error))
    except RecursionError:
        return Row(path, number, {}, problem="nested too deeply.")
    return _object_row(path, number, data, "a line")


def _no_json(line: bytes, error: Exception) -> str:
    if b"\0" in line or isinstance(error, UnicodeDecodeError):
        return no_utf8("\0" if b"\0" in line else "")
    if line.strip() in {b"{", b"["}:
        return (
            "no JSON: a row must be one line, or an item of one array in a .json file; "
            "jq -c '.[]' makes lines of an array, jq -c . of objects."
        )
    return f"no JSON: {error}."


def no_utf8(text: str) -> str:
    """Say that a text, with what could not be read of it, is no UTF-8, and what to do."""
    encoding = "UTF-16" if "\0" in text else "WINDOWS-1252"
    return f"is no UTF-8: convert the file, perhaps with iconv -f {encoding} -t UTF-8."


def _object_row(path: Path | str, number: int, data: Any, what: str) -> Row:
    if not isinstance(data, dict):
        return Row(path, number, {}, problem=f"{what} must be a JSON object.")
    return Row(path, number, data)


def read_json(path: Path | str) -> Iterator[Row]:
    """Yield the items of a JSON array, or read the file as JSON Lines if it is none."""
    with open_bytes(path) as file:
        start = file.read(LONGEST)
    if not start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        yield from read_jsonl(path)
        return
    if len(start) == LONGEST:
        raise DataError(
            path, None, f"a JSON array above {LONGEST >> 20} MiB; make it lines: jq -c '.[]'."
        )
    try:
        items = msgspec.json.decode(start.removeprefix(codecs.BOM_UTF8))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(path, None, f"no JSON: {error}.") from error
    for number, item in enumerate(items, 1):
        yield _object_row(path, number, item, "an item")


def read_csv(path: Path | str) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file with a header; empty cells are left out.

    What separates cells is the one of comma, semicolon, tab and bar that the header has most of.

    Raises:
        DataError: the file cannot be read, or its header names a column twice.

    """
    with open_bytes(path) as file, csv_table(path, file) as (_, rows):
        yield from rows


@contextmanager
def csv_table(path: Path | str, file: BinaryIO) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """Yield the columns of an open CSV or TSV file, and its rows; see `read_csv`.

    Raises:
        DataError: its header names a column twice, or none, or is no UTF-8.

    """
    lines = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        first = _header_lines(lines)
        delimiter = max(",;\t|", key="".join(first).count)
        with _long_cells():
            reader = csv.reader(chain(first, lines), delimiter=delimiter)
            header = _header(path, reader)
            yield header, _csv_rows(path, header, reader)
    finally:
        lines.detach()  # whoever opened the file closes it


def _header_lines(lines: io.TextIOWrapper) -> list[str]:
    """Read the first line, and more where it ends in the middle of a quoted name."""
    read = [lines.readline(LONGEST)]
    while sum(line.count('"') for line in read) % 2 and len(read) < _HEADER_LINES:
        read.append(lines.readline(LONGEST))
    return read


def _header(path: Path | str, reader: Iterator[list[str]]) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise DataError(path, 1, f"no CSV: {error}.") from error
    if UNREADABLE.search(said := "".join(header)) or "\0" in said:
        raise DataError(path, 1, no_utf8(said))
    if len(set(header)) < len(header) or not any(header):
        raise DataError(path, 1, "the first line must name the columns, each once.")
    return header


def _csv_rows(path: Path | str, header: list[str], reader: Any) -> Iterator[Row]:
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(path, number, {}, problem=f"no CSV: {error}.")
            continue
        if not cells:
            yield Row(path, number, {}, problem=BLANK)
        elif len(cells) != len(header):
            found, named = counted(len(cells), "cell"), counted(len(header), "column")
            problem = f"has {found}, where the header names {named}."
            yield Row(path, number, {}, problem=problem)
        elif UNREADABLE.search("".join(cells)):
            yield Row(path, number, {}, problem=no_utf8(""))
        else:
            data = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
            yield Row(path, number, data, columns=header)


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be as long as lines; the limit belongs to the process."""
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
