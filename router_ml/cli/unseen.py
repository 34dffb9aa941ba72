"""`router-ml unseen`: say how right a recipe is on sources it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_ml.cli.console import needs, one_sentence, print_json
from router_ml.cli.files import write_rows
from router_ml.cli.options import JsonOption, PublicDataOption, RecipeArgument
from router_ml.cli.progress import progress
from router_ml.cli.recipe import find_recipe
from router_ml.tables import show_evaluations, show_sources

if TYPE_CHECKING:
    from router_ml.training import Recipe
    from router_ml.training.unseen import Unseen

_ONLY = "Leave out these sources only: a glob, or ! and a glob of what is not meant."
_DOUBTS = "Write rows whose labels are probably wrong, JSON Lines."


def unseen(
    source: RecipeArgument,
    folds: Annotated[int, typer.Option(help="How many parts the sources are divided into.")] = 10,
    only: Annotated[str, typer.Option(metavar="SOURCES", help=_ONLY)] = "*",
    public_data: PublicDataOption = None,
    doubted: Annotated[Path | None, typer.Option("--doubts", help=_DOUBTS)] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how right a recipe is on sources it has not seen: train without each, judge it."""
    with one_sentence(), needs("train", "Training"):
        from router_ml.training import clean, evaluate_unseen, judge_unseen, read_data

        recipe = find_recipe([source], None)
        cleaned = clean(recipe, read_data(recipe, Path(source).parent, public_data), progress)
        judged = judge_unseen(recipe, cleaned, folds, progress, only)
        found = evaluate_unseen(recipe, judged)
        if doubted is not None:
            _write_doubts(recipe, judged, doubted)
        if as_json:
            print_json({e.name: e for e in found})
        else:
            show_evaluations(found)
            show_sources(found[0])


def _write_doubts(recipe: Recipe, judged: Unseen, target: Path) -> None:
    """Write the rows whose labels the classifiers that did not see them doubt."""
    from router_ml.evaluation.label_errors import doubted_rows, doubts
    from router_ml.training.unseen import judged_unseen

    data = judged.data
    probabilities = judged_unseen(recipe, judged).probabilities
    given = data.targets[judged.judged].astype(bool)
    examples = [data.cleaned.examples[row] for row in judged.judged]
    found = doubts(probabilities, given, data.labels, single_label=data.single_label)
    write_rows(target, doubted_rows(examples, found))
