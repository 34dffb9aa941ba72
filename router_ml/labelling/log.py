"""The rows of a log that a person can label, a sample of them where there are many."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from router_ml import logs
from router_ml.errors import DataError
from router_ml.evaluation.judging import LogRow
from router_ml.examples import request_of
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


def read_log(
    sources: Sequence[Path | str],
    most: int,
    seed: int = 0,
    *,
    mapping: logs.Mapping | None = None,
    scrub: str = "",
) -> Log:
    """Draw rows of a log, each as likely as any other (Vitter 1985, algorithm R).

    The same log gives the same rows, so that a session can be resumed and shared.

    Args:
        sources: as `router_ml.logs.read_log` takes them; they are streamed.
        most: how many rows to draw.
        seed: of the draw.
        mapping, scrub: as of `router_ml.logs.read_log`.

    Raises:
        DataError: the log cannot be read, or has no row that could be labelled.

    """
    draw, log = random.Random(seed), Log([], 0, 0, [])
    broken, drawn = log.broken.append, list[tuple[int, LogRow]]()
    for read in logs.read_log(sources, mapping=mapping, broken=broken, scrub=scrub):
        try:
            request = request_of(read.path, read.number, read.data)
        except DataError as error:
            broken(error)
            continue
        row = LogRow(read.path, read.number, read.data, request, model_text(request))
        if request.has_image or request.has_audio or not row.text.says_something:
            log = log._replace(passed_over=log.passed_over + 1)
            continue
        log = log._replace(usable=log.usable + 1)
        at = len(drawn) if log.usable <= most else draw.randrange(log.usable)
        if at < most:
            drawn[at : at + 1] = [(log.usable, row)]
    if not drawn:
        nothing = DataError(", ".join(map(str, sources)), None, "no row has words to label.")
        raise log.broken[0] if log.broken else nothing
    return log._replace(rows=[row for _, row in sorted(drawn, key=itemgetter(0))])


def plain(text: str) -> str:
    """Return what a terminal may show: no control sequences, which a log can hold."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def key_of(data: Mapping[str, Any]) -> str:
    """Return what a row is known by in every session: a hash of its prompt or messages."""
    said = data["messages"] if data.get("prompt") is None else data["prompt"]
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:32]
