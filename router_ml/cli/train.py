"""`router-ml train`: learn a classifier from labelled logs."""

from __future__ import annotations

import glob
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from router_ml.artifact import CONFIG, SHIPPED
from router_ml.cli.console import broken_rows, needs, one_sentence
from router_ml.cli.options import (
    MapOption,
    PublicDataOption,
    RecipeOrLogsArgument,
    ScrubOption,
    SkipOption,
)
from router_ml.cli.progress import progress
from router_ml.cli.recipe import find_recipe
from router_ml.plurals import counted
from router_ml.tables import out, show_contest, show_evaluations, show_list

if TYPE_CHECKING:
    from router_ml.training import Trained

_ENCODER = "`ngrams`, `shipped`, or a sentence-transformers model, name or path."
_EXTEND = (
    "Keep the labels of an artifact, the shipped one's by default, as they are: the rows' labels "
    "come beside them."
)


class ExtendShipped(TyperCommand):
    """A command whose `--extend` means the shipped artifact where no artifact follows it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare `--extend` the shipped artifact's name."""
        found: list[str] = []
        for arg, following in zip_longest(args, args[1:], fillvalue=""):
            found.append(arg)
            if arg == "--extend" and not _names_artifact(following):
                found.append(SHIPPED)
        return super().parse_args(ctx, found)


def _names_artifact(text: str) -> bool:
    """Say whether a text is meant for an artifact: a log that exists is none, nor an option."""
    if not text or text.startswith("-") or glob.has_magic(text):
        return False
    return not Path(text).exists() or (Path(text) / CONFIG).is_file()


def train(
    source: RecipeOrLogsArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The artifact.")] = None,
    encoder: Annotated[str | None, typer.Option(help=_ENCODER)] = None,
    fine_tune: Annotated[
        bool, typer.Option("--fine-tune", help="Train the sentence-transformers model too.")
    ] = False,
    extend: Annotated[
        str | None, typer.Option("--extend", metavar="[ARTIFACT]", help=_EXTEND)
    ] = None,
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    scrub: ScrubOption = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a better artifact too.")] = False,
    public_data: PublicDataOption = None,
) -> None:
    """Train a classifier, say how good it is and beside what, and write it as an artifact."""
    with one_sentence(), needs("train", "Training"), broken_rows(skip_broken) as broken:
        from router_ml.training import train as run

        name = output.name if output else None
        recipe = find_recipe(source, name, encoder, mapping, scrub, extend, fine_tune=fine_tune)
        trained = run(
            recipe,
            output or Path("models") / recipe.name,
            base=Path(source[0]).parent,
            public_data=public_data,
            progress=progress,
            broken=broken,
            force=force,
        )
        _show_trained(trained)


def _show_trained(trained: Trained) -> None:
    for sentence in trained.account:
        out.print(sentence, soft_wrap=True)
    found = trained.cross_validation
    if found is None:
        show_evaluations(trained.evaluations)
    else:
        title = f"cross-validation: {found.folds} folds, {counted(found.repeats, 'time')}"
        show_contest(found.scores, title)
        show_list("What to do next:", trained.advice)
    out.print(f"Wrote {trained.path}; the graph agrees to {trained.parity:.1e}.")
