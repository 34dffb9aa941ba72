"""The rows of a log that a person can label, a sample of them where there are many."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from router_ml.errors import DataError
from router_ml.evaluation.judging import LogRow
from router_ml.examples import request_of
from router_ml.logs import Row, scan
from router_ml.logs.row import BLANK
from router_ml.request import model_text


class Log(NamedTuple):
    """What was read of a log.

    Attributes:
        rows: in the log's order.
        usable: how many rows there were to choose them from.
        passed_over: rows with an image or audio part, which decides by itself, or without
            words; training passes over them too.
        broken: what is wrong with each row that could not be read.

    """

    rows: list[LogRow]
    usable: int
    passed_over: int
    broken: list[DataError]


def read_log(path: Path | str, most: int, seed: int = 0) -> Log:
    """Draw rows of a log, each as likely as any other (Vitter 1985, algorithm R).

    The same log gives the same rows, so that a session can be resumed and shared.

    Args:
        path: of the log; it is streamed.
        most: how many rows to draw.
        seed: of the draw.

    Raises:
        DataError: the log cannot be read, or has no row that could be labelled.

    """
    draw, log = random.Random(seed), Log([], 0, 0, [])
    for read in scan(path):
        if read.problem == BLANK:
            continue
        try:
            row = _read_row(read)
        except DataError as error:
            log.broken.append(error)
            continue
        if row.request.has_image or row.request.has_audio or not row.text.says_something:
            log = log._replace(passed_over=log.passed_over + 1)
            continue
        log = log._replace(usable=log.usable + 1)
        at = len(log.rows) if log.usable <= most else draw.randrange(log.usable)
        if at < most:
            log.rows[at : at + 1] = [row]
    if not log.rows:
        raise log.broken[0] if log.broken else DataError(path, None, "no row has words to label.")
    log.rows.sort(key=lambda row: row.number)
    return log


def _read_row(row: Row) -> LogRow:
    if row.problem is not None:
        raise row.error()
    request = request_of(row.path, row.number, row.data)
    return LogRow(row.path, row.number, row.data, request, model_text(request))


def plain(text: str) -> str:
    """Return what a terminal may show: no control sequences, which a log can hold."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def key_of(data: Mapping[str, Any]) -> str:
    """Return what a row is known by in every session: a hash of its prompt or messages."""
    said = data["messages"] if data.get("prompt") is None else data["prompt"]
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:32]
