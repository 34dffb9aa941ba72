"""`router-ml classify`: decide on every row of a log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from router_ml.chunks import chunks
from router_ml.cli.console import needs, one_sentence
from router_ml.cli.files import json_lines, open_sink
from router_ml.cli.options import (
    ArtifactOption,
    CatalogOption,
    LogArgument,
    MapOption,
    PolicyOption,
)
from router_ml.cli.progress import batch_progress
from router_ml.errors import BatchError, DataError
from router_ml.plurals import counted
from router_ml.request import Request
from router_ml.types import Decision

if TYPE_CHECKING:
    from router_ml.logs import Mapping, Row
    from router_ml.router import Router

_CHUNK = 4096


def classify(
    source: LogArgument,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", help="Where to write: a file, or a directory/ (or URI) of Parquet."
        ),
    ] = None,
    mapping: MapOption = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    engine: Annotated[
        str | None, typer.Option(help="Into a directory: `local`, or `ray`, a cluster's.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Into a directory: how many; one a core by default.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Into a directory, partitioned by `route` or `day:COLUMN`.")
    ] = "",
    most_bad: Annotated[
        float,
        typer.Option(min=0, max=1, help="Into a directory: stop where more rows are unreadable."),
    ] = 0.01,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Delete the output of another artifact, policy or --by."),
    ] = False,
) -> None:
    """Decide on every row of a log: in order into JSON Lines, or, of any size, into Parquet.

    Into JSON Lines, exit 1 if any row could not be read. A directory is written with the
    extra `ray`, by every core or by Ray's cluster, and the same command goes on where it
    was stopped.
    """
    from router_ml.logs import read_mapping
    from router_ml.router import Router

    with one_sentence():
        places = read_mapping(mapping or ())
        into_directory = engine or workers or by or overwrite or _is_directory(output)
        router = Router.load(artifact, policy=policy, catalog=catalog)
        if into_directory:
            options = {"workers": workers, "by": by, "most_bad": most_bad, "overwrite": overwrite}
            _classify_fragments(
                source, output, router=router, engine=engine or "local", mapping=places, **options
            )
        else:
            _classify_lines(source, output, router, places)


def _is_directory(output: str | None) -> bool:
    """Say whether an output is said to be a directory, or is that of an earlier run."""
    return output is not None and (
        output.endswith(os.sep) or "://" in output or (Path(output) / "_manifest").is_dir()
    )


def _classify_fragments(source: str, output: str | None, **options: Any) -> None:
    from router_ml.tables import show_batch

    if output is None:
        raise BatchError("Say which directory to write to: -o DIRECTORY.")
    with needs("ray", "Writing a directory of Parquet"):
        from router_ml.batch import classify as run
    with batch_progress() as done:
        found = run(source, output, done=done, **options)
    show_batch(found, options["router"].catalog.baseline, output)


def _classify_lines(source: str, output: str | None, router: Router, places: Mapping) -> None:
    from router_ml.logs import find_files

    with open_sink(None if output is None else Path(output)) as sink:
        bad = _classify(router, find_files(source), places, sink)
    if bad:
        problem = f"{counted(bad, 'line')} could not be read; the output says why."
        raise DataError(source, None, problem)


def _classify(router: Router, files: list[Path], mapping: Mapping, sink: BinaryIO) -> int:
    """Write an answer for every row; return how many rows could not be read."""
    from router_ml.logs import scan

    rows = (row for path in files for row in scan(path, mapping))
    bad = 0
    for chunk in chunks(rows, _CHUNK):
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
