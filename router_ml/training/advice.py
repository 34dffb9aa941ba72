"""What to do next, said of a cross-validation: a few sentences, the most useful first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from router_ml.evaluation.contest import OURS, Said, label_f1
from router_ml.evaluation.label_errors import Doubt, doubts
from router_ml.plurals import counted
from router_ml.training.cross_validation import CrossValidation
from router_ml.training.heads import Array, calibrated
from router_ml.training.prepare import Data
from router_ml.training.recipe import Recipe
from router_ml.training.unseen import Unseen, judged_unseen

_WEAK, _NAMED = 0.8, 5
"""Labels whose F1 is below this are weak; so many are named at most."""
_FEW = 30
"""Rows of a label below which a few more help most."""


def advise(recipe: Recipe, found: CrossValidation) -> list[str]:
    """Say what would make the classifier better.

    Args:
        recipe: what was trained.
        found: how good it is.

    """
    data = found.unseen.data
    given = judged_unseen(recipe, found.unseen).given
    said = np.array([[label in row for label in data.labels] for row in given])
    sentences = (*_rivals(found), *_doubted(recipe, found.unseen), *_weak(data, said), *_few(data))
    return list(sentences) or ["Nothing stands out: judge it on requests of another week."]


def _rivals(found: CrossValidation) -> Iterator[str]:
    """Name what is surely better."""
    for name, score in found.scores.items():
        if name != OURS and score.lead.low > 0:
            yield (
                f"{name} is right more often ({score.accuracy.value:.3f}): try another encoder, "
                "say --encoder sentence-transformers/all-MiniLM-L6-v2, or label more rows."
            )


def _doubted(recipe: Recipe, unseen: Unseen) -> Iterator[str]:
    count = len(doubted(unseen.data, probabilities_of(recipe, unseen)))
    if count:
        rows = counted(count, "row has", "rows have")
        yield f"{rows} labels that are probably wrong: router-ml check lists them."


def probabilities_of(recipe: Recipe, unseen: Unseen) -> Array:
    """Return what was said of every row, calibrated on all of them, [n, labels]."""
    fitted, _ = unseen.calibration(recipe.calibration, np.arange(len(unseen.raw)))
    return calibrated(unseen.raw, fitted, unseen.data.single_label)


def doubted(data: Data, probabilities: Array) -> list[Doubt]:
    """Return the rows whose labels are probably wrong, the surest first."""
    given, single = data.targets > 0, data.single_label
    return doubts(probabilities, given, data.labels, single_label=single)


def _weak(data: Data, said: Said) -> Iterator[str]:
    """Name the labels told apart worst, each with what it is taken for."""
    true = data.targets > 0
    f1 = label_f1(said, true)
    for at in np.argsort(f1, kind="stable")[:_NAMED]:
        if f1[at] < _WEAK and true[:, at].any():
            taken = _taken_for(data, said[true[:, at]], int(at))
            yield f"{data.labels[at]}: F1 {f1[at]:.2f}{taken}: more rows, or a clearer border."


def _taken_for(data: Data, said: NDArray[np.bool_], own: int) -> str:
    missed = said[~said[:, own]].sum(axis=0)
    return f", most often taken for {data.labels[missed.argmax()]}" if missed.any() else ""


def _few(data: Data) -> Iterator[str]:
    counts = data.targets.sum(axis=0).astype(int)
    few = [f"{data.labels[at]} ({counts[at]})" for at in np.argsort(counts, kind="stable")]
    few = few[: min(_NAMED, int((counts < _FEW).sum()))]
    if few:
        yield f"Fewest rows: {', '.join(few)}; more of them help most."
