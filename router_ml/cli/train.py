"""`router-ml train`: learn a classifier from labelled logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_ml.cli.console import broken_rows, needs, one_sentence
from router_ml.cli.options import MapOption, PublicDataOption, RecipeArgument, SkipOption
from router_ml.cli.progress import progress
from router_ml.cli.recipe import find_recipe
from router_ml.tables import out, show_contest, show_evaluations, show_list

if TYPE_CHECKING:
    from router_ml.training import Trained

_ENCODER = "`ngrams`, `shipped`, or a sentence-transformers model, name or path."
_SCRUB = (
    "Take out e-mail addresses, phone numbers (as dialled in US, DE …), keys and card "
    "numbers before anything else is done."
)


def train(
    source: RecipeArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The artifact.")] = None,
    encoder: Annotated[str | None, typer.Option(help=_ENCODER)] = None,
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    scrub: Annotated[str, typer.Option(metavar="COUNTRY", help=_SCRUB)] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a better artifact too.")] = False,
    public_data: PublicDataOption = None,
) -> None:
    """Train a classifier, say how good it is and beside what, and write it as an artifact."""
    with one_sentence(), needs("train", "Training"), broken_rows(skip_broken) as broken:
        from router_ml.training import train as run

        recipe = find_recipe(source, output.name if output else None, encoder, mapping, scrub)
        trained = run(
            recipe,
            output or Path("models") / recipe.name,
            base=Path(source).parent,
            public_data=public_data,
            progress=progress,
            broken=broken,
            force=force,
        )
        _show_trained(trained)


def _show_trained(trained: Trained) -> None:
    found = trained.cross_validation
    if found is None:
        show_evaluations(trained.evaluations)
    else:
        title = f"cross-validation: {found.folds} folds, {found.repeats} times"
        show_contest(found.scores, title)
        show_list("What to do next:", trained.advice)
    out.print(f"Wrote {trained.path}; the graph agrees to {trained.parity:.1e}.")
