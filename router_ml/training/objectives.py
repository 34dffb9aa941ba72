"""What a sentence-transformers model is trained further for: labels' rows together, or labels.

Both hand out batches of rows and say of embeddings how far they are from what is wanted; the
layer that one of them has is thrown away afterwards, since the head is fitted on the embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from router_ml.training.recipe import FineTuneRecipe

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]
_TEMPERATURE = 0.1
_LIKE_LENGTH = 50
"""Rows are sorted by length within so many batches: little is padding, and much is chance."""
_DROPOUT, _SMOOTHING = 0.1, 0.02


class Objective(Protocol):
    """What to train for.

    Attributes:
        warm_up: share of the steps in which the learning rate rises.

    """

    warm_up: float

    def batches(self, recipe: FineTuneRecipe, seed: int) -> Iterator[Rows]:
        """Yield the row numbers of each step."""
        ...

    def fresh(self, rows: Rows) -> int:
        """Return how many rows of a batch an epoch counts."""
        ...

    def loss(self, embeddings: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return a loss a row of a batch, [n]."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return what is trained beside the model."""
        ...


class Contrast:
    """Rows of one label come together: supervised contrastive learning (Khosla et al. 2020).

    Of all texts of a batch, those with a label of a text should be nearest to it. Each text
    stands beside another of its labels, so that there is something to come nearer to however
    many labels there are.
    """

    warm_up = 0.1

    def __init__(self, targets: Floats) -> None:
        self._carried = _with_none(targets)

    def batches(self, recipe: FineTuneRecipe, seed: int) -> Iterator[Rows]:
        """Yield row numbers: in an epoch each once, and after them as many that share a label."""
        draw, carried = np.random.default_rng(seed), self._carried
        of_label = [np.flatnonzero(column) for column in carried.T]

        def partner(row: int) -> int:
            return int(draw.choice(of_label[draw.choice(np.flatnonzero(carried[row]))]))

        step = max(1, recipe.batch_size // 2)
        for _ in range(recipe.epochs):
            order = draw.permutation(len(carried))
            for start in range(0, len(order), step):
                rows = order[start : start + step]
                yield np.concatenate([rows, [partner(row) for row in rows]])

    def fresh(self, rows: Rows) -> int:
        """Count those that stand beside another."""
        return len(rows) // 2

    def loss(self, embeddings: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return how far what is alike is from being what is nearest."""
        return contrast(embeddings, torch.from_numpy(_alike(self._carried[rows])))

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return nothing: there are the embeddings alone."""
        return iter(())


def _with_none(targets: Floats) -> Floats:
    """Add a column for rows that carry none of the labels: they are alike too."""
    return np.concatenate([targets, targets.sum(axis=1, keepdims=True) == 0], axis=1)


def _alike(carried: Floats) -> Floats:
    """Return how alike the labels of any two rows are, [n, n]: the Jaccard similarity."""
    both = carried @ carried.T
    either = carried.sum(axis=1)[:, None] + carried.sum(axis=1)[None] - both
    alike: Floats = (both / either).astype(np.float32)
    return alike


def contrast(embeddings: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
    """Return a loss a row: how far what is alike is from being what is nearest.

    Args:
        embeddings: float [n, width].
        alike: how alike two rows' labels are, [n, n], in [0, 1].

    """
    itself = torch.eye(len(alike), dtype=torch.bool)
    alike = alike.masked_fill(itself, 0.0)
    direction = functional.normalize(embeddings, dim=1)
    near = (direction @ direction.T / _TEMPERATURE).masked_fill(itself, -1e9)
    surprise = -functional.log_softmax(near, dim=1)
    return (surprise * alike).sum(dim=1) / alike.sum(dim=1).clamp(min=1e-6)


class Labels:
    """A linear layer on the embeddings predicts the labels: see `label_loss`."""

    warm_up = 0.06

    def __init__(
        self, targets: Floats, lengths: NDArray[np.int64], width: int, single_label: bool
    ) -> None:
        self._targets, self._lengths = torch.from_numpy(targets.astype(np.float32)), lengths
        self._single_label = single_label
        self._layer = nn.Linear(width, targets.shape[1])

    def batches(self, recipe: FineTuneRecipe, seed: int) -> Iterator[Rows]:
        """Yield row numbers of like length: in an epoch each once, short and long mixed."""
        draw, size = np.random.default_rng(seed), recipe.batch_size
        for _ in range(recipe.epochs):
            order = draw.permutation(len(self._lengths))
            for start in range(0, len(order), size * _LIKE_LENGTH):
                some = order[start : start + size * _LIKE_LENGTH]
                some = some[np.argsort(self._lengths[some], kind="stable")]
                for batch in draw.permutation(range(0, len(some), size)):
                    yield some[batch : batch + size]

    def fresh(self, rows: Rows) -> int:
        """Count all."""
        return len(rows)

    def loss(self, embeddings: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return the cross-entropy of what the layer says and the labels."""
        said = self._layer(functional.dropout(embeddings, _DROPOUT))
        return label_loss(said, self._targets[rows], self._single_label)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the layer's."""
        return self._layer.parameters()


def label_loss(logits: torch.Tensor, targets: torch.Tensor, single_label: bool) -> torch.Tensor:
    """Return a loss a row, [n]: the cross-entropy, binary and summed if several labels may hold,
    with targets smoothed a little (Szegedy et al. 2016).

    Args:
        logits: float [n, labels].
        targets: 0 or 1 (or a teacher's probability), [n, labels].
        single_label: whether the labels exclude each other.

    """
    if single_label:
        return functional.cross_entropy(
            logits, targets, reduction="none", label_smoothing=_SMOOTHING
        )
    smooth = targets * (1 - _SMOOTHING) + _SMOOTHING / 2
    return functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none").sum(1)
