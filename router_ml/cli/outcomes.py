"""`router-ml outcomes`: judge a policy by what models really answered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router_ml.cli.console import one_sentence, print_json
from router_ml.cli.options import ArtifactOption, CatalogOption, JsonOption, PolicyOption
from router_ml.tables import show_section

_BY = "The label whose probability asks for the strong model."


def outcomes(
    files: Annotated[list[Path], typer.Argument(help="Outcome data, as `replay` writes them.")],
    by: Annotated[str | None, typer.Option(help=_BY)] = None,
    weak: Annotated[str | None, typer.Option(help="Of two models, the cheap one.")] = None,
    strong: Annotated[str | None, typer.Option(help="And the good one.")] = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a policy by what models really answered: quality and cost beside each of them."""
    from router_ml.evaluation.findings import outcomes_section
    from router_ml.evaluation.outcome_evaluation import evaluate_outcomes
    from router_ml.evaluation.outcomes import read_outcomes
    from router_ml.router import Router

    with one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        rows = read_outcomes(files)
        found = evaluate_outcomes(router, rows, by=by, weak=weak, strong=strong)
        if as_json:
            print_json(found)
        else:
            show_section(outcomes_section(found))
