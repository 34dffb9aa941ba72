"""A sentence-transformers model trained further on the rows, for one of two objectives.

With few rows, so that those of one label come together: this does more than a last layer trained
from nothing would (Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts"). With
many, so that a last layer predicts their labels. The head is fitted afterwards, as on any
encoder. Needs the extra `encoders`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from tokenizers import Tokenizer
from torch.nn.utils import clip_grad_norm_

from router_ml.classifier import plain_text
from router_ml.request import ModelText
from router_ml.training.objectives import Contrast, Labels, Objective
from router_ml.training.recipe import FineTuneRecipe
from router_ml.training.sentence_export import tokenizer_json

_DECAY = 0.01
_LAYER_LEARNING_RATE = 1e-3
"""Of an objective's own layer: it knows nothing yet."""


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
        recipe: for what, how long and how fast.
        texts: n of them.
        targets: 0 or 1, [n, labels].
        weights: of the rows, [n].
        single_label: whether the labels exclude each other; to "contrast" it is all one.
        seed: of the order of rows and of what is dropped.
        done: told how many rows each step had, for a progress bar.

    """
    torch.manual_seed(seed)
    words = [plain_text(text) for text in texts]
    share = torch.from_numpy((weights / weights.mean()).astype(np.float32))
    objective = _objective(model, recipe, words, targets, single_label)
    batches = list(objective.batches(recipe, seed))
    optimiser = torch.optim.AdamW(_groups(model, objective, recipe), weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, _up_and_down(len(batches), objective.warm_up)
    )
    model.train()
    for rows in batches:
        embeddings = _embed(model, [words[row] for row in rows], recipe.precision)
        optimiser.zero_grad()
        (objective.loss(embeddings, rows) * share[rows]).mean().backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        done(objective.fresh(rows))
    model.eval()


def _objective(
    model: SentenceTransformer,
    recipe: FineTuneRecipe,
    words: Sequence[str],
    targets: NDArray[np.float32],
    single_label: bool,
) -> Objective:
    if recipe.objective == "contrast":
        return Contrast(targets)
    return Labels(targets, _tokens(model, words), model.get_embedding_dimension(), single_label)


def _tokens(model: SentenceTransformer, words: Sequence[str]) -> NDArray[np.int64]:
    """Count each text's tokens: of as many characters, Chinese has three times those of English."""
    tokenizer = Tokenizer.from_str(tokenizer_json(model).decode())
    return np.array([len(tokenizer.encode(text).ids) for text in words])


def _groups(
    model: SentenceTransformer, objective: Objective, recipe: FineTuneRecipe
) -> list[dict[str, object]]:
    return [
        {"params": list(model.parameters()), "lr": recipe.learning_rate},
        {"params": list(objective.parameters()), "lr": _LAYER_LEARNING_RATE},
    ]


def _up_and_down(steps: int, warm_up: float) -> Callable[[int], float]:
    """Return a factor for the learning rate: straight up in the first steps, then down."""
    warm = max(1, round(warm_up * steps))
    return lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def _embed(model: SentenceTransformer, words: list[str], precision: str) -> torch.Tensor:
    """Return embeddings before they are brought to length 1: a layer that is new would take
    long to grow the weights that tell those apart, and to a direction it is all one."""
    features = model.preprocess(words)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        for module in model:
            if not isinstance(module, Normalize):
                features = module(features)
    return features["sentence_embedding"].float()
