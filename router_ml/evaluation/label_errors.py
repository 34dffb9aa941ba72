"""Rows whose label is probably wrong: confident learning.

Northcutt, Jiang & Chuang (2021), "Confident Learning: Estimating Uncertainty in Dataset
Labels", as cleanlab does it with `filter_by="confident_learning"`: a class's threshold is the
mean probability of the class over the rows labelled with it; a row whose probability reaches
the threshold of another class is counted as one of that class (of the most probable one, if it
reaches several), and is mislabelled if its own class is not the most probable either. Labels
that hold together are judged one by one, each against its absence.

The probabilities must be of a classifier that did not learn from the row: one that did
repeats the label it was told, right or wrong. `router-ml unseen` makes such probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 1e-6
"""cleanlab's, for sums that differ in their last bits."""


def suspects(probabilities: NDArray[Any], given: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows of one choice among classes are probably mislabelled, bool [n].

    Args:
        probabilities: float [n, classes].
        given: int [n], the class of each row.

    """
    p = np.asarray(probabilities, np.float64)
    rows = np.arange(len(p))
    count = np.bincount(given, minlength=p.shape[1])
    own = np.bincount(given, p[rows, given], p.shape[1])
    # A class without rows has no threshold: no row is counted as of it.
    thresholds = np.where(count > 0, own / np.maximum(1, count), np.inf)
    reached = p >= thresholds - _TOLERANCE
    predicted = p.argmax(axis=1)
    likely = np.where(reached.sum(axis=1) > 1, predicted, reached.argmax(axis=1))
    found: NDArray[np.bool_] = reached.any(axis=1) & (likely != given) & (predicted != given)
    return found


def label_suspects(probabilities: NDArray[Any], given: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which labels of which rows are probably wrong, bool [n, labels].

    Args:
        probabilities: float [n, labels].
        given: bool [n, labels], the labels of each row.

    """
    columns = [
        suspects(np.stack((1 - p, p), axis=1), y.astype(np.int64))
        for p, y in zip(np.asarray(probabilities, np.float64).T, given.T, strict=True)
    ]
    return np.stack(columns, axis=1)


def self_confidence(probabilities: NDArray[Any], given: NDArray[np.bool_]) -> NDArray[Any]:
    """Return how probable what the row says of each label is, [n, labels]: the lower, the worse."""
    return np.where(given, probabilities, 1 - probabilities)
