"""A sentence-transformers model trained further, so that rows of one label come together.

Supervised contrastive learning (Khosla et al. 2020): of all texts of a batch, those with a label
of a text should be nearest to it. Each text stands beside another of its labels, so that there
is something to come nearer to however many labels there are. The head is fitted afterwards, as
on any encoder: so few rows do more than they would for a last layer trained from nothing
(Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts"). Needs the extra `encoders`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from router_ml.classifier import plain_text
from router_ml.request import ModelText
from router_ml.training.recipe import FineTuneRecipe

_TEMPERATURE = 0.1
_WARM_UP, _DECAY = 0.1, 0.01


def fine_tune(
    model: SentenceTransformer,
    recipe: FineTuneRecipe,
    texts: Sequence[ModelText],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    single_label: bool,
    seed: int,
    done: Callable[[int], object] = lambda rows: None,
) -> None:
    """Train a model in place.

    Args:
        model: on the processor it is to be trained on.
        recipe: how long and how fast.
        texts: n of them.
        targets: 0 or 1, [n, labels].
        weights: of the rows, [n].
        single_label: whether the labels exclude each other; both are trained alike.
        seed: of the order of rows and of what is dropped.
        done: told how many rows each step had, for a progress bar.

    """
    torch.manual_seed(seed)
    words = [plain_text(text) for text in texts]
    carried = _with_none(targets)
    share = torch.from_numpy((weights / weights.mean()).astype(np.float32))
    batches = list(_batches(carried, recipe.epochs, recipe.batch_size, seed))
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _up_and_down(len(batches)))
    model.train()
    for rows in batches:
        features = model.preprocess([words[row] for row in rows])
        embeddings = model(features)["sentence_embedding"]
        loss = contrast(embeddings, torch.from_numpy(_alike(carried[rows])))
        optimiser.zero_grad()
        (loss * share[rows]).mean().backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        done(len(rows) // 2)
    model.eval()


def _up_and_down(steps: int) -> Callable[[int], float]:
    """Return a factor for the learning rate: straight up in the first steps, then down."""
    warm = max(1, round(_WARM_UP * steps))
    return lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def _with_none(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add a column for rows that carry none of the labels: they are alike too."""
    return np.concatenate([targets, targets.sum(axis=1, keepdims=True) == 0], axis=1)


def _batches(
    carried: NDArray[np.float32], epochs: int, size: int, seed: int
) -> Iterator[NDArray[np.intp]]:
    """Yield row numbers: in an epoch each once, and after them as many that share a label."""
    draw = np.random.default_rng(seed)
    of_label = [np.flatnonzero(column) for column in carried.T]

    def partner(row: int) -> int:
        return int(draw.choice(of_label[draw.choice(np.flatnonzero(carried[row]))]))

    step = max(1, size // 2)
    for _ in range(epochs):
        order = draw.permutation(len(carried))
        for start in range(0, len(order), step):
            rows = order[start : start + step]
            yield np.concatenate([rows, [partner(row) for row in rows]])


def _alike(carried: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how alike the labels of any two rows are, [n, n]: the Jaccard similarity."""
    both = carried @ carried.T
    either = carried.sum(axis=1)[:, None] + carried.sum(axis=1)[None] - both
    alike: NDArray[np.float32] = (both / either).astype(np.float32)
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
