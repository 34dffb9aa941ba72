"""`router-ml classify`: decide on every row of a log."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from router_ml.cli.console import one_sentence
from router_ml.cli.files import json_lines, open_sink
from router_ml.cli.options import (
    ArtifactOption,
    CatalogOption,
    LogArgument,
    MapOption,
    PolicyOption,
)
from router_ml.errors import DataError
from router_ml.request import Request
from router_ml.router import Router
from router_ml.types import Decision

if TYPE_CHECKING:
    from router_ml.logs import Mapping, Row

_CHUNK = 4096


def classify(
    source: LogArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write.")] = None,
    mapping: MapOption = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Decide on every row of a log, in order; exit 1 if any row could not be read."""
    from router_ml.logs import find_files, read_mapping

    with one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        places = read_mapping(mapping or ())
        with open_sink(output) as sink:
            bad = _classify(router, find_files(source), places, sink)
        if bad:
            raise DataError(source, None, f"{bad} lines could not be read; each has its error.")


def _classify(router: Router, files: list[Path], mapping: Mapping, sink: BinaryIO) -> int:
    """Write an answer for every row; return how many rows could not be read."""
    from router_ml.logs import scan

    rows = (row for path in files for row in scan(path, mapping))
    bad = 0
    while chunk := list(islice(rows, _CHUNK)):
        answers = _classify_chunk(router, chunk, name_files=len(files) > 1)
        sink.writelines(json_lines(answers))
        bad += sum("error" in answer for answer in answers)
    return bad


def _classify_chunk(router: Router, rows: list[Row], name_files: bool) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    requests: list[Request] = []
    for row in rows:
        answer: dict[str, Any] = {"id": row.data["id"]} if "id" in row.data else {}
        answers.append(answer)
        try:
            requests.append(_request(row))
        except DataError as error:
            answer.update(error=error.problem, line=row.number)
            answer |= {"file": error.path} if name_files else {}
    decisions = iter(router.route_many(requests))
    for answer in answers:
        if "error" not in answer:
            answer.update(_answer(next(decisions)))
    return answers


def _request(row: Row) -> Request:
    from router_ml.examples import request_of

    if row.problem is not None:
        raise row.error()
    return request_of(row.path, row.number, row.data)


def _answer(decision: Decision) -> dict[str, Any]:
    return {
        "route": decision.route,
        "model": decision.model,
        "labels": decision.labels,
        "probabilities": {label: round(p, 6) for label, p in decision.probabilities.items()},
        "reason": decision.reason,
    }
