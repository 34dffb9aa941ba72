"""Several ways of labelling, judged on the same rows: how right each is, and who is ahead.

A row is right if it is given exactly its labels. Where rows were judged more than once, by
classifiers that learned from other parts of the rest, each counts by the share of times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.evaluation.intervals import Bootstrap, Figure, figure_of, ratio

OURS = "this classifier"
"""What the classifier is called that the others are compared with."""

Said = NDArray[np.bool_]
"""Which labels each row was given, [n, labels]."""


class Score(NamedTuple):
    """How right one way of labelling is.

    Attributes:
        accuracy: share of rows given exactly their labels.
        macro_f1: the mean F1 over the labels that any row has.
        lead: its accuracy less that of our classifier, on the same rows.
        rows: how many it was judged on.

    """

    accuracy: Figure
    macro_f1: float
    lead: Figure
    rows: int


class Contest:
    """Rows with their labels, what our classifier said of them, and the resamples for both."""

    def __init__(self, true: Said, ours: Sequence[Said], bootstrap: Bootstrap) -> None:
        self._true, self._bootstrap = true, bootstrap
        self._ours = _right(ours, true)

    def score(self, said: Sequence[Said], fair: NDArray[np.bool_] | None = None) -> Score:
        """Judge one way of labelling.

        Args:
            said: what it said of the rows, once for each repeat.
            fair: bool [n], the rows it is judged on; None: all of them.

        """
        fair = np.ones(len(self._true), np.bool_) if fair is None else fair
        draws, true = self._bootstrap.among(fair), self._true[fair]
        right = _right(said, self._true)[fair]
        rows = draws.totals()[:, 0]
        return Score(
            figure_of(ratio(draws.totals(right)[:, 0], rows)),
            float(np.mean([macro_f1(one[fair], true) for one in said])),
            figure_of(ratio(draws.totals(right - self._ours[fair])[:, 0], rows)),
            len(true),
        )


def _right(said: Sequence[Said], true: Said) -> NDArray[np.float64]:
    """Return in which share of the repeats each row was given exactly its labels."""
    exact = [(one == true).all(axis=1) for one in said]
    share: NDArray[np.float64] = np.mean(exact, axis=0)
    return share


def macro_f1(said: Said, true: Said) -> float:
    """Return the mean F1 over the labels that any row has; 0 if none has one."""
    carried = label_f1(said, true)[true.any(axis=0)]
    return float(carried.mean()) if carried.size else 0.0


def label_f1(said: Said, true: Said) -> NDArray[np.float64]:
    """Return each label's F1, [labels]."""
    both, either = (said & true).sum(axis=0), said.sum(axis=0) + true.sum(axis=0)
    found: NDArray[np.float64] = 2 * both / np.maximum(1, either)
    return found
