"""The file of results: outcome rows, one a line, appended whole; what is in it is not sent again.

    {"id": "7", "prompt": "…", "expected": "4", "results": {"small": {"correct": true, …}},
     "spent_usd": 0.0004}

A line repeats its row and adds one model's result. `spent_usd` is all that the line cost,
failed attempts and the judge included.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from router_ml.errors import DataError
from router_ml.evaluation.outcomes import Result, id_of, results_of
from router_ml.examples import parse_object, request_of


class ResultsFile:
    """Results that are appended. Close it, or use it in a `with`.

    Attributes:
        path: of the file.
        finished: (id, model) of what was answered when it was opened.
        spent: what all of it had cost then, in US dollars.

    """

    def __init__(self, path: Path) -> None:
        """Read a file, if there is one, and open it for appending.

        Raises:
            DataError: it is no file of results, or cannot be read or written.

        """
        self.path, self.spent = path, 0.0
        self.finished: set[tuple[str, str]] = set()
        if path.suffix == ".gz":
            raise DataError(path, None, "results are appended as plain lines: leave out the .gz.")
        try:
            self._file = path.open("ab+", buffering=0)
        except OSError as error:
            raise DataError(path, None, f"cannot be written: {error.strerror or error}.") from error
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        """Read what is there; a last line that was not written to its end is cut off."""
        end = 0
        self._file.seek(0)
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n") and end:
                self._file.truncate(end)
                break
            self._read_line(number, line)
            end += len(line)

    def _read_line(self, number: int, line: bytes) -> None:
        row = parse_object(self.path, number, line)
        spent = row.get("spent_usd")
        if not isinstance(spent, int | float) or "results" not in row:
            raise DataError(self.path, number, "no result of a replay: choose another file.")
        self.spent += spent
        results = results_of(self.path, number, row)
        key = id_of(row, request_of(self.path, number, row))
        self.finished.update((key, name) for name, r in results.items() if r.error is None)

    def append(
        self, row: Mapping[str, Any], key: str, model: str, result: Result, spent: float
    ) -> None:
        """Add a model's result of a row, in one write.

        Raises:
            OSError: the disk is full, or the like.

        """
        line = {**row, "id": key, "results": {model: result}, "spent_usd": spent}
        data = msgspec.json.encode(line) + b"\n"
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ResultsFile:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()
