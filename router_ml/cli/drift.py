"""`router-ml drift`: say whether traffic has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_ml.cli.console import needs, one_sentence, print_json
from router_ml.cli.files import json_lines, open_sinks
from router_ml.cli.options import (
    ArtifactOption,
    CatalogOption,
    EngineOption,
    JsonOption,
    LogsArgument,
    PolicyOption,
    WorkersOption,
)
from router_ml.errors import DataError
from router_ml.tables import show_section

if TYPE_CHECKING:
    from router_ml.evaluation.drift import Drift, LabelDrift
    from router_ml.router import Router

_AGAINST = "An earlier log; none: the artifact's label counts."
_NEW = "Where to write the new rows, to be labelled."


def drift(
    files: LogsArgument,
    against: Annotated[list[str] | None, typer.Option(help=_AGAINST)] = None,
    new: Annotated[Path | None, typer.Option(help=_NEW)] = None,
    most: Annotated[int, typer.Option(min=1, help="How many of them at most.")] = 200,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
    engine: EngineOption = None,
    workers: WorkersOption = None,
) -> None:
    """Say whether traffic has changed: routes, confidence, what is said; and what is new."""
    from router_ml.router import Router

    with one_sentence():
        if new is not None and not against:
            raise DataError(new, None, "new rows need a log to differ from: --against FILE.")
        router = Router.load(artifact, policy=policy, catalog=catalog)
        measure = _measure(engine or ("local" if workers else None), workers, most)
        with open_sinks(new) as (to_label,):
            found = measure(files, router, against or ())
            if to_label is not None:
                to_label.writelines(json_lines(row.row for row in found.new))
        _show(found, as_json=as_json)


def _measure(engine: str | None, workers: int | None, most: int) -> Callable[..., Any]:
    """Return what measures: an engine, or this process where none is named."""
    if engine is not None:
        with needs("ray", "An engine"):
            from router_ml.batch import measure_drift as on_engine
        return partial(on_engine, engine=engine, workers=workers, most=most)
    from router_ml.evaluation.drift import measure_drift, measure_label_drift
    from router_ml.evaluation.judging import Judge

    def here(files: list[str], router: Router, against: Sequence[str]) -> Drift | LabelDrift:
        judge = Judge(router)
        if against:
            return measure_drift(judge, files, against, most)
        return measure_label_drift(judge, files)

    return here


def _show(found: Drift | LabelDrift, *, as_json: bool) -> None:
    from router_ml.evaluation.drift import Drift
    from router_ml.evaluation.findings import drift_section, label_drift_section

    if as_json:
        print_json(found)
    elif isinstance(found, Drift):
        show_section(drift_section(found))
    else:
        show_section(label_drift_section(found))
