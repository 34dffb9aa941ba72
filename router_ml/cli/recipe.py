"""The recipe that a command is given, or the one that it makes for a labelled log."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from router_ml.cli.console import find_logs
from router_ml.errors import DataError, RecipeError

if TYPE_CHECKING:
    from router_ml.training import Recipe
    from router_ml.training.recipe import EncoderRecipe

FOLDS = 5
"""Of cross-validation, where no recipe says how many."""


def find_recipe(
    sources: Sequence[str],
    name: str | None,
    encoder: str | None = None,
    mapping: Sequence[str] | None = None,
    scrub: str = "",
    extend: str | None = None,
    *,
    fine_tune: bool = False,
) -> Recipe:
    """Load a recipe, or make the default one for labelled logs."""
    from router_ml.logs import read_mapping
    from router_ml.training import Recipe, load_recipe
    from router_ml.training.recipe import DataRecipe

    if sources[0].endswith(".toml"):
        if len(sources) > 1:
            raise RecipeError("A recipe names its files itself: give it alone.")
        if encoder or mapping or scrub or extend or fine_tune:
            raise RecipeError(
                "--encoder, --fine-tune, --extend, --map and --scrub go with a log; a recipe says "
                "all that itself."
            )
        return load_recipe(Path(sources[0]))
    files, places = _log_files(sources), read_mapping(mapping or ())
    data = DataRecipe(files=files, folds=FOLDS, map=places, scrub=scrub)
    made = _encoder(encoder, extend, fine_tune)
    named = name or Path(sources[0]).name.split(".")[0]
    return Recipe(name=named, data=data, encoder=made, extend=extend)


def _log_files(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the files of logs, each as the pattern that finds it alone."""
    from router_ml.logs import split_table

    files = find_logs(sources)
    for path in files:
        if not Path(split_table(str(path))[0]).exists():
            raise DataError(path, None, "cannot be read: no such file.")
    return tuple(dict.fromkeys(glob.escape(str(path.absolute())) for path in files))


def _encoder(name: str | None, extend: str | None, fine_tune: bool) -> EncoderRecipe:
    from router_ml.training.recipe import EncoderRecipe, FineTuneRecipe

    tuned = FineTuneRecipe() if fine_tune else None
    if name in {None, "ngrams"}:
        return EncoderRecipe(kind="ngrams", fine_tune=tuned)
    if name == "shipped":
        return EncoderRecipe(kind="shipped", model=extend, fine_tune=tuned)
    return EncoderRecipe(kind="transformer", model=name, fine_tune=tuned)
