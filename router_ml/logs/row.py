"""One row of a log, wherever it was kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from router_ml.errors import DataError

BLANK = "the line is empty."


class Row(NamedTuple):
    """One row of a log.

    Attributes:
        path: the file; for a database `file::table`.
        number: its line, or in Parquet and databases its row, from 1.
        data: the row as it was, and besides as the project says it: `prompt` or
            `messages`, and `label` or `labels` if it has any.
        layout: what kind of row it is, by name; "" until that is known.
        problem: why it cannot be read; None if it can.
        columns: of the table it is of, whether or not it has something in each; none for JSON.

    """

    path: Path | str
    number: int
    data: dict[str, Any]
    layout: str = ""
    problem: str | None = None
    columns: Sequence[str] = ()

    def error(self) -> DataError:
        """Return the problem as an error that names file and line."""
        return DataError(self.path, self.number, self.problem or "cannot be read.")
