"""`router-ml drift`: say whether traffic has changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_ml.cli.console import one_sentence, print_json
from router_ml.cli.files import json_lines, open_sinks
from router_ml.cli.options import ArtifactOption, CatalogOption, JsonOption, PolicyOption
from router_ml.errors import DataError
from router_ml.router import Router
from router_ml.tables import show_section

if TYPE_CHECKING:
    from router_ml.evaluation.drift import Drift
    from router_ml.evaluation.judging import Judge

_AGAINST = "An earlier log; none: the artifact's label counts."
_NEW = "Where to write the new rows, to be labelled."


def drift(
    files: Annotated[list[Path], typer.Argument(help="The log, JSON Lines.")],
    against: Annotated[list[Path] | None, typer.Option(help=_AGAINST)] = None,
    new: Annotated[Path | None, typer.Option(help=_NEW)] = None,
    most: Annotated[int, typer.Option(min=1, help="How many of them at most.")] = 200,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether traffic has changed: routes, confidence, what is said; and what is new."""
    from router_ml.evaluation.judging import Judge

    with one_sentence():
        judge = Judge(Router.load(artifact, policy=policy, catalog=catalog))
        if against:
            _drift(_measure(judge, files, against, new, most), as_json)
        elif new is not None:
            raise DataError(new, None, "new rows need a log to differ from: --against FILE.")
        else:
            _label_drift(judge, files, as_json)


def _measure(
    judge: Judge, files: list[Path], against: list[Path], new: Path | None, most: int
) -> Drift:
    """Compare two logs, and write the rows that are new."""
    from router_ml.evaluation.drift import measure_drift

    with open_sinks(new) as (to_label,):
        found = measure_drift(judge, files, against, most)
        if to_label is not None:
            to_label.writelines(json_lines(row.row for row in found.new))
    return found


def _drift(found: Drift, as_json: bool) -> None:
    from router_ml.evaluation.findings import drift_section

    if as_json:
        print_json(found)
    else:
        show_section(drift_section(found))


def _label_drift(judge: Judge, files: list[Path], as_json: bool) -> None:
    from router_ml.evaluation.drift import measure_label_drift
    from router_ml.evaluation.findings import label_drift_section

    found = measure_label_drift(judge, files)
    if as_json:
        print_json(found)
    else:
        show_section(label_drift_section(found))
