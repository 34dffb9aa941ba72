"""The file of answers: labelled rows, as training reads them, safe on disk after each answer.

    {"annotator": "ann", "answered": "2026-01-05T09:30:00.1+00:00", "covers": 2,
     "proposed": ["legal"], "drawn": true, "prompt": "…", "label": "billing"}

An answer is one line for every row it covers, written at once; the lines are only ever added,
but for `undo`, which takes the last answer off the end. An answer that was cut short, by a
power failure say, is taken off when the file is opened again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from router_ml.errors import DataError
from router_ml.examples import labels_of, parse_object, request_of
from router_ml.labelling.log import key_of

try:
    import fcntl
except ImportError:  # Windows: two sessions on one file are not noticed there
    fcntl = None  # type: ignore[assignment]

Labels = tuple[str, ...]
"""Sorted, without repetitions."""

OWN = ("label", "labels", "annotator", "answered", "covers", "proposed", "drawn")
"""Keys that a session writes; a row's own of these names make way."""
_BEGINNING = b'{"annotator":'
"""Of every line that a session writes, by which one that was cut short is known as ours."""


class Answer(NamedTuple):
    """One answer.

    Attributes:
        annotator: whose it is; "" where no session wrote it.
        labels: empty: none of the labels.
        single: whether the rows name one `label`.
        keys: of the rows it covers.
        proposed: what was proposed; None: nothing was.
        drawn: whether the question was drawn at random, so that it speaks for the log.
        start: where in the file it begins, in bytes.

    """

    annotator: str
    labels: Labels
    single: bool
    keys: tuple[str, ...]
    proposed: Labels | None
    drawn: bool
    start: int


class _Line(NamedTuple):
    start: int
    row: dict[str, Any]
    labels: Labels
    single: bool


class AnswersFile:
    """Answers, read and appended. Close it, or use it in a `with`.

    Attributes:
        path: of the file.
        answers: all of them, in order.

    """

    def __init__(self, path: Path) -> None:
        """Open a file, or make one, for this session alone.

        Raises:
            DataError: it is no file of labelled rows, it cannot be read or written, or
                another session is writing to it.

        """
        self.path = path
        if path.suffix == ".gz":
            raise DataError(path, None, "answers are appended as plain lines: leave out the .gz.")
        self._is_new = not path.exists()
        try:
            self._file: BinaryIO = path.open("ab+", buffering=0)
        except OSError as error:
            raise DataError(path, None, f"cannot be written: {error.strerror or error}.") from error
        try:
            self._lock()
            self.answers = self._read()
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                self.path,
                None,
                "another session is writing to it: choose another file with -o, and join both "
                "with `router-ml merge`.",
            ) from error

    def _read(self) -> list[Answer]:
        """Read all answers, and cut off one that was not written to its end."""
        answers = []
        for lines in _by_answer(self._lines()):
            if len(lines) < _covers(lines[0]) and lines[-1].start == self._last:
                self._file.truncate(lines[0].start)
                break
            answers.append(_answer(lines))
        return answers

    def _lines(self) -> Iterator[_Line]:
        start = self._last = 0
        self._file.seek(0)
        for number, line in enumerate(self._file, 1):
            if not line.strip():
                start += len(line)
                continue
            try:
                row = parse_object(self.path, number, line)
            except DataError:
                if _is_cut_short(line):
                    self._file.truncate(start)
                    return
                raise
            request_of(self.path, number, row)
            labels, single = labels_of(self.path, number, row)
            if not line.endswith(b"\n"):
                self._file.write(b"\n")
            self._last = start
            yield _Line(start, row, labels, single)
            start += len(line)

    def check_kind(self, *, single: bool) -> None:
        """Refuse to go on where the answers so far are of the other kind.

        Raises:
            DataError: they are.

        """
        kinds = ("several labels a row", "one label a row")
        if any(answer.single != single for answer in self.answers):
            raise DataError(
                self.path,
                None,
                f"its answers are of {kinds[not single]}, and this session's would be of "
                f"{kinds[single]}: choose another file with -o.",
            )

    def append(
        self,
        rows: Sequence[dict[str, Any]],
        labels: Sequence[str],
        *,
        single: bool,
        annotator: str,
        proposed: Sequence[str] | None = None,
        drawn: bool = False,
        **more: Any,
    ) -> Answer:
        """Add an answer: it is on disk when this returns, or not in the file at all.

        Args:
            rows: those it covers, as they were read.
            labels: what holds of them.
            single: whether to write one `label`.
            annotator: whose answer it is.
            proposed: what was proposed, if anything.
            drawn: whether the question was drawn at random.
            more: further keys of the lines.

        Raises:
            OSError: the disk is full, or the like.

        """
        said = {"label": labels[0]} if single else {"labels": sorted(labels)}
        about = {
            "annotator": annotator,
            "answered": datetime.now(UTC).isoformat(),
            "covers": len(rows),
            "proposed": proposed,
            "drawn": drawn,
            **more,
        }
        lines = [{**about, **_without_own(row), **said} for row in rows]
        start = self._file.seek(0, os.SEEK_END)
        self._write(start, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        keys = tuple(map(key_of, rows))
        shown = None if proposed is None else tuple(proposed)
        answer = Answer(annotator, tuple(sorted(labels)), single, keys, shown, drawn, start)
        self.answers.append(answer)
        return answer

    def _write(self, start: int, data: bytes) -> None:
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(self._file.fileno())
        except OSError:
            with suppress(OSError):
                self._file.truncate(start)
            raise

    def undo(self) -> Answer | None:
        """Take the last answer off the file and return it; None if no session wrote it."""
        if not self.answers or not self.answers[-1].annotator:
            return None
        self._file.truncate(self.answers[-1].start)
        os.fsync(self._file.fileno())
        return self.answers.pop()

    def close(self) -> None:
        """Close the file, and let another session have it; none is left without an answer."""
        if self._is_new and not os.fstat(self._file.fileno()).st_size:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> AnswersFile:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def _is_cut_short(line: bytes) -> bool:
    return not line.endswith(b"\n") and _BEGINNING.startswith(line[: len(_BEGINNING)])


def _without_own(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in OWN}


def _by_answer(lines: Iterator[_Line]) -> Iterator[list[_Line]]:
    """Join the lines of each answer; a row that no session wrote is an answer of its own."""
    for answered, found in groupby(lines, lambda line: line.row.get("answered")):
        if answered is None:
            yield from ([line] for line in found)
        else:
            yield list(found)


def _covers(line: _Line) -> int:
    covers = line.row.get("covers")
    return covers if isinstance(covers, int) else 1


def _answer(lines: Sequence[_Line]) -> Answer:
    start, row, labels, single = lines[0]
    proposed = row.get("proposed")
    return Answer(
        str(row.get("annotator") or "") if row.get("answered") else "",
        labels,
        single,
        tuple(key_of(line.row) for line in lines),
        tuple(map(str, proposed)) if isinstance(proposed, list) else None,
        row.get("drawn") is True,
        start,
    )
