"""What commands write: standard output, or a file that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from router_ml.errors import DataError, naming
from router_ml.logs import split_table


@contextmanager
def open_sink(output: Path | None) -> Iterator[BinaryIO]:
    """Open what is written to: standard output, a device or pipe, else a file, made whole."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    through = output.exists() and not output.is_file()
    with naming(output), output.open("wb") if through else _whole_file(output) as sink:
        yield sink


@contextmanager
def _whole_file(output: Path) -> Iterator[BinaryIO]:
    """Write beside the file and move it there at the end: it appears whole or not at all."""
    target = Path(os.path.realpath(output))  # a link stays: what it points to is replaced
    partial = target.with_name(f".router-ml-{secrets.token_hex(8)}.part")
    try:
        with partial.open("xb") as sink:
            yield sink
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def open_sinks(*outputs: Path | None) -> Iterator[list[BinaryIO | None]]:
    """Open all that is to be written before the work is done; None stays None."""
    with ExitStack() as stack:
        yield [None if path is None else stack.enter_context(open_sink(path)) for path in outputs]


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file of JSON Lines."""
    with open_sink(path) as sink:
        sink.writelines(json_lines(rows))


def check_unread(target: Path, read: Iterable[Path | str]) -> None:
    """Refuse to write over what is read: files, or tables of a database.

    Raises:
        DataError: the target is one of them.

    """
    for one in read:
        file = Path(one) if Path(one).exists() else Path(split_table(str(one))[0])
        if target.exists() and file.exists() and target.samefile(file):
            raise DataError(target, None, "is read by this command: write to another file.")


def json_lines(rows: Iterable[Any]) -> Iterator[bytes]:
    """Encode rows, each as a line of JSON."""
    return (msgspec.json.encode(row) + b"\n" for row in rows)


def beside(log: Path, kind: str) -> Path:
    """Return `log.labels.jsonl` for `log.jsonl` and `log.jsonl.gz`."""
    return log.with_name(f"{log.name.removesuffix('.gz').removesuffix('.jsonl')}.{kind}.jsonl")
