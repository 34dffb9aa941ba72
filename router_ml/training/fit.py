"""Encoder and head, fitted to the rows of a split that are for learning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from router_ml.request import ModelText
from router_ml.training.encoders import Embeddings, Encoder, encode, make_encoder
from router_ml.training.heads import Array, Head, fit_head
from router_ml.training.planting import plant
from router_ml.training.prepare import Data
from router_ml.training.progress import Progress, silent
from router_ml.training.recipe import Recipe


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
    rows = data.split.train
    texts, targets, weights = data.texts(rows), data.targets[rows], data.weights[rows]
    planted = plant(texts, targets, recipe.data.planted, recipe.seed)
    texts += planted.texts
    targets, weights = (np.concatenate([a, a[planted.rows]]) for a in (targets, weights))
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


def _encode(
    encoder: Encoder, scratch: Path, texts: Sequence[ModelText], progress: Progress
) -> Embeddings:
    with progress("Encoding", len(texts)) as done:
        return encode(encoder, scratch, texts, done)
