"""The recipe that a command is given, or the one that it makes for a labelled log."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from router_ml.errors import DataError, RecipeError

if TYPE_CHECKING:
    from router_ml.training import Recipe
    from router_ml.training.recipe import EncoderRecipe

FOLDS = 5
"""Of cross-validation, where no recipe says how many."""


def find_recipe(
    source: str,
    name: str | None,
    encoder: str | None = None,
    mapping: Sequence[str] | None = None,
    scrub: str = "",
) -> Recipe:
    """Load a recipe, or make the default one for a labelled log."""
    from router_ml.logs import read_mapping
    from router_ml.training import Recipe, load_recipe
    from router_ml.training.recipe import DataRecipe

    if source.endswith(".toml"):
        if encoder or mapping or scrub:
            raise RecipeError(
                "--encoder, --map and --scrub go with a log; a recipe says all that itself."
            )
        return load_recipe(Path(source))
    files, places = _log_files(source), read_mapping(mapping or ())
    data = DataRecipe(files=files, folds=FOLDS, map=places, scrub=scrub)
    named = name or Path(source).name.split(".")[0]
    return Recipe(name=named, data=data, encoder=_encoder(encoder))


def _log_files(source: str) -> tuple[str, ...]:
    """Return a log's files, each as the pattern that finds it alone."""
    from router_ml.logs import find_files, split_table

    files = find_files(source)
    if not any(Path(split_table(str(path))[0]).exists() for path in files):
        raise DataError(source, None, "cannot be read: no such file.")
    return tuple(glob.escape(str(path.absolute())) for path in files)


def _encoder(name: str | None) -> EncoderRecipe:
    from router_ml.training.recipe import EncoderRecipe

    if name in {None, "ngrams"}:
        return EncoderRecipe(kind="ngrams")
    if name == "shipped":
        return EncoderRecipe(kind="shipped")
    return EncoderRecipe(kind="transformer", model=name)
