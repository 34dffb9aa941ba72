"""Labelled rows as they stream by, a chunk at a time, and a chunk as arrays.

What a million requests say fits in no memory; what their evaluation needs of them does. The
words of the few rows whose labels a report doubts are read again at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.chunks import chunks
from router_ml.errors import DataError
from router_ml.evaluation.costs import tokens_of
from router_ml.examples import Example, example_of
from router_ml.logs import Broken, find_files, read_log, refuse, scan
from router_ml.logs import Mapping as Places
from router_ml.logs import Row as LogRow
from router_ml.policy import FACTS

CHUNK = 8_192
FIELDS = ("source", "lang")
"""Fields that every row is sliced by."""
NONE = "(none)"
"""What a field is called that a row does not have."""


class Row(NamedTuple):
    """A labelled request, the line it was parsed from, and where that is."""

    example: Example
    line: Mapping[str, Any]
    file: int
    number: int


class Names(dict[str, int]):
    """Numbers for names, in the order in which they are met."""

    def __missing__(self, name: str) -> int:
        """Give a new name the next number."""
        number = self[name] = len(self)
        return number

    def codes(self, names: Iterable[str]) -> NDArray[np.int32]:
        """Return the names' numbers, int32 [n]."""
        return np.fromiter(map(self.__getitem__, names), np.int32)


class Columns(NamedTuple):
    """A chunk of n rows.

    Attributes:
        file, number: int32 [n], which file of those read and which line of it.
        labels: bool [n, labels].
        by_words: bool [n], whether there are words to judge and no part decides instead.
        size: int32 [n], bytes of the deciding turn as the classifier reads it.
        several: bool [n], whether the request has more than one turn.
        tokens: int64 [n, 3], the first three of `Tokens`.
        counted: bool [n, 2], whether the log counted its input and its output.
        clusters: uint64 [n], equal for rows that are right or wrong together.
        fields: int32 [n, fields], numbers of the fields' values.
        values: field -> its values by number.

    """

    file: NDArray[np.int32]
    number: NDArray[np.int32]
    labels: NDArray[np.bool_]
    by_words: NDArray[np.bool_]
    size: NDArray[np.int32]
    several: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    counted: NDArray[np.bool_]
    clusters: NDArray[np.uint64]
    fields: NDArray[np.int32]
    values: Mapping[str, tuple[str, ...]]


class RowShape:
    """What rows of a log must be to be evaluated, and what is kept of them.

    Attributes:
        labels: in the order of the columns.
        fields: what rows are sliced by.

    """

    def __init__(self, labels: Sequence[str], by: Sequence[str] = ()) -> None:
        """Prepare for rows.

        Args:
            labels: that a row may have, besides the facts "vision" and "audio".
            by: further fields of the rows to slice by.

        """
        self.labels, self.fields = tuple(labels), tuple(dict.fromkeys((*FIELDS, *by)))
        self._known = frozenset((*labels, *FACTS))

    def row(self, read: LogRow, file: int = 0) -> Row:
        """Read a row of a log as a labelled request.

        Raises:
            DataError: it is none, or has an unknown label.

        """
        example = example_of(read.path, read.number, read.data)
        if not self._known.issuperset(example.labels):
            raise DataError(read.path, read.number, self._unknown(example.labels))
        return Row(example, read.data, file, read.number)

    def _unknown(self, labels: Iterable[str]) -> str:
        name = next(name for name in labels if name not in self._known)
        return (
            f"the label {name!r} is none that the artifact knows: "
            f"it knows {', '.join(sorted(self._known))}."
        )

    def columns(self, rows: Sequence[Row]) -> Columns:
        """Return some rows as arrays."""
        examples = [row.example for row in rows]
        tokens = [tokens_of(row.line, row.example.request) for row in rows]
        names = {field: Names() for field in self.fields}
        codes = [
            names[field].codes(_value(row.line.get(field)) for row in rows) for field in self.fields
        ]
        return Columns(
            np.array([row.file for row in rows], np.int32),
            np.array([row.number for row in rows], np.int32),
            label_matrix([example.labels for example in examples], self.labels),
            np.array([not e.has_parts and e.text.says_something for e in examples]),
            np.array([len(example.text.turn) for example in examples], np.int32),
            np.array([len(example.request.turns) > 1 for example in examples]),
            np.array([count[:3] for count in tokens], np.int64),
            np.array([count[3:] for count in tokens]),
            np.frombuffer(b"".join(map(_cluster, examples)), np.uint64),
            np.stack(codes, axis=1),
            {field: tuple(found) for field, found in names.items()},
        )


def _cluster(example: Example) -> bytes:
    """Return eight bytes that rows share which have one group, or else the same words."""
    if example.group:
        return digest(b"group", example.group.encode("utf-8", "surrogatepass"))
    return digest(example.text.turn, example.text.context)


def digest(*parts: bytes) -> bytes:
    """Return eight bytes that stand for some others."""
    return blake2b(b"\x1e".join(parts), digest_size=8).digest()


class RowReader:
    """Reads labelled files chunk by chunk.

    Attributes:
        files: what is read, in this order.
        shape: what rows must be.

    """

    def __init__(
        self,
        files: Sequence[Path | str],
        shape: RowShape,
        *,
        mapping: Places | None = None,
        broken: Broken = refuse,
    ) -> None:
        """Prepare to read.

        Args:
            files: as `router_ml.logs.read_log` takes them; regular ones, for they are read
                twice.
            shape: what rows must be.
            mapping: where rows keep what they say, if their layout is not known.
            broken: told of rows that cannot be used; by default the first is raised.

        Raises:
            DataError: a file is no regular one, or a directory or glob has none.

        """
        self.files, self.shape = tuple(find_files(*files)), shape
        self._mapping, self._broken = mapping, broken
        for path in self.files:
            if path.exists() and not path.is_file():
                raise DataError(path, None, "is no file: an evaluation reads its rows twice.")

    def chunks(self, size: int = CHUNK) -> Iterator[list[Row]]:
        """Yield the rows in their order, `size` at a time.

        Raises:
            DataError: a file is missing, empty or no log; or what `broken` raises of a row
                that is no labelled request or has an unknown label.

        """
        yield from chunks(self._rows(), size)

    def _rows(self) -> Iterator[Row]:
        for file, path in enumerate(self.files):
            for read in read_log([path], mapping=self._mapping, broken=self._broken):
                try:
                    row = self.shape.row(read, file)
                except DataError as error:
                    self._broken(error)
                else:
                    yield row

    def read_again(self, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Row]:
        """Return rows by file and line number.

        Raises:
            DataError: a file has changed so that it cannot be read any more.

        """
        wanted = set(places)
        found: dict[tuple[int, int], Row] = {}
        for file, path in enumerate(self.files):
            numbers = {number for at, number in wanted if at == file}
            for read in scan(path, self._mapping) if numbers else ():
                if read.number in numbers:
                    example = example_of(path, read.number, read.data)
                    found[file, read.number] = Row(example, read.data, file, read.number)
        return found


def _value(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) and value != "" else NONE


def label_matrix(labels: Iterable[Iterable[str]], columns: Sequence[str]) -> NDArray[np.bool_]:
    """Return which labels each row has, bool [n, columns]; others are left out."""
    place = {name: at for at, name in enumerate(columns)}
    rows = list(labels)
    found = np.zeros((len(rows), len(columns)), np.bool_)
    cells = [(at, place[name]) for at, row in enumerate(rows) for name in row if name in place]
    if cells:
        found[tuple(np.array(cells).T)] = True
    return found
