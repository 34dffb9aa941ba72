"""What to do next, said of a cross-validation: a few sentences, the most useful first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from router_ml.evaluation.contest import OURS, Said, label_f1
from router_ml.evaluation.label_errors import Doubt, doubts
from router_ml.plurals import counted
from router_ml.router import default_policy
from router_ml.training.cross_validation import CrossValidation
from router_ml.training.heads import Array, calibrated
from router_ml.training.prepare import Data, say_alike
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
    said = np.array([[label in row for label in data.labels] for row in given])[data.own]
    true, labels = data.targets[data.own] > 0, data.labels
    rows = _doubted(recipe, found.unseen), _weak(labels, true, said), _few(labels, true)
    sentences = [*say_alike(labels), *_rivals(found), *chain.from_iterable(rows)]
    sentences = sentences or ["Nothing stands out: judge it on requests of another week."]
    return [*sentences, *_unserved(recipe, labels)]


def _rivals(found: CrossValidation) -> Iterator[str]:
    """Name what is surely better."""
    for name, score in found.scores.items():
        if name != OURS and score.lead.low > 0:
            yield (
                f"{name} is right more often ({score.accuracy.value:.3f}): try another encoder, "
                "say --encoder sentence-transformers/all-MiniLM-L6-v2, or label more rows."
            )


def _doubted(recipe: Recipe, unseen: Unseen) -> Iterator[str]:
    found = doubted(unseen.data, probabilities_of(recipe, unseen))
    count = sum(unseen.data.own[row] for row, _ in found)
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


def _weak(labels: Sequence[str], true: Said, said: Said) -> Iterator[str]:
    """Name the labels told apart worst, each with what it is taken for."""
    f1 = label_f1(said, true)
    for at in np.argsort(f1, kind="stable")[:_NAMED]:
        if f1[at] < _WEAK and true[:, at].any():
            taken = _taken_for(labels, said[true[:, at]], int(at))
            yield f"{labels[at]}: F1 {f1[at]:.2f}{taken}: more rows, or a clearer border."


def _taken_for(labels: Sequence[str], said: NDArray[np.bool_], own: int) -> str:
    missed = said[~said[:, own]].sum(axis=0)
    return f", most often taken for {labels[missed.argmax()]}" if missed.any() else ""


def _few(labels: Sequence[str], true: Said) -> Iterator[str]:
    counts = true.sum(axis=0)
    rare = [at for at in np.argsort(counts, kind="stable") if 0 < counts[at] < _FEW]
    few = [f"{labels[at]} ({counts[at]})" for at in rare[:_NAMED]]
    if few:
        yield f"Fewest rows: {', '.join(few)}; more of them help most."


def _unserved(recipe: Recipe, labels: Sequence[str]) -> Iterator[str]:
    """Say that labels of one's own are routes to which no policy gives a model."""
    rules = default_policy(labels).rules
    if recipe.extend is None and not all(rule.models or rule.choose for rule in rules):
        yield (
            "Your labels are routes without models: name the models of each in a policy, and "
            "pass it as --policy (docs/policy.md)."
        )
