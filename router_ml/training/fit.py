"""Encoder and head, fitted to the rows of a split that are for learning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.errors import RecipeError
from router_ml.request import ModelText
from router_ml.training.encoders import Embeddings, Encoder, encode, make_encoder
from router_ml.training.heads import Array, Head, fit_head
from router_ml.training.illustrating import Illustrated, illustrate
from router_ml.training.planting import plant
from router_ml.training.prepare import Data
from router_ml.training.progress import Progress, silent
from router_ml.training.recipe import Recipe

Floats = NDArray[np.float32]


class Fitted(NamedTuple):
    """An encoder with a head on it, not yet calibrated.

    Attributes:
        encoder: text -> embedding.
        head: embedding -> probabilities.
        scratch: a directory with the encoder's files, for as long as it exists.

    """

    encoder: Encoder
    head: Head
    scratch: Path

    def raw(self, texts: Sequence[ModelText], progress: Progress) -> Array:
        """Return what the head says before calibration, [n, labels]: see `Head.raw`."""
        return self.head.raw(_encode(self.encoder, self.scratch, texts, progress))


def fit(recipe: Recipe, data: Data, scratch: Path, progress: Progress) -> Fitted:
    """Train the encoder if the recipe trains one, then the head on its embeddings.

    Args:
        recipe: what decides the result.
        data: whose `split.train` is learned from.
        scratch: a directory for what the encoder needs beside its graph.
        progress: told of rows as they are done.

    """
    texts, targets, weights = _learned_from(recipe, data)
    passes = recipe.encoder.passes
    with (progress if passes else silent)("Training the encoder", len(texts) * passes) as done:
        encoder = make_encoder(
            recipe.encoder, texts, targets, weights, data.single_label, recipe.seed, done
        )
    for name, content in encoder.files.items():
        (scratch / name).write_bytes(content)
    embeddings = _encode(encoder, scratch, texts, progress)
    with progress("Fitting the head", 1) as done:
        head = fit_head(recipe.head, embeddings, targets, weights, data.single_label, recipe.seed)
        done(1)
    return Fitted(encoder, head, scratch)


def _learned_from(recipe: Recipe, data: Data) -> tuple[list[ModelText], Floats, Floats]:
    """Return texts, targets and weights of the rows for learning and of those made from them."""
    rows = data.split.train
    texts, targets, weights = data.texts(rows), data.targets[rows], data.weights[rows]
    planted = plant(texts, targets, recipe.data.planted, recipe.seed)
    illustrated = _illustrate(recipe, data, texts, targets)
    made_from = np.concatenate([planted.rows, illustrated.rows])
    texts = [*texts, *planted.texts, *illustrated.texts]
    targets = np.concatenate([targets, targets[planted.rows], illustrated.targets])
    return texts, targets, np.concatenate([weights, weights[made_from]])


def _illustrate(
    recipe: Recipe, data: Data, texts: Sequence[ModelText], targets: Floats
) -> Illustrated:
    share, seed = recipe.data.illustrated, recipe.seed
    if not share:
        return Illustrated.none(targets)
    missing = {"vision", "math"} - set(data.labels)
    if missing:
        raise RecipeError(
            f"`illustrated` needs the labels math and vision: {sorted(missing)[0]!r} is missing."
        )
    vision, formal = data.labels.index("vision"), data.labels.index("math")
    return illustrate(texts, targets, vision, formal, share, seed)


def _encode(
    encoder: Encoder, scratch: Path, texts: Sequence[ModelText], progress: Progress
) -> Embeddings:
    with progress("Encoding", len(texts)) as done:
        return encode(encoder, scratch, texts, done)
