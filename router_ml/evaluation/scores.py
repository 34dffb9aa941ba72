"""Figures of judged rows, each with its bootstrap interval; sums in, figures out.

Every array [1 + replicates, …] has sums over the rows as they are, then over each resample of
them (`intervals`).

As scikit-learn defines them where it has them: precision, recall and F1 with nothing to
divide by are 0; average precision is the area under the precision-recall curve as a step
function, equal probabilities being one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.evaluation.intervals import Figure, Floats, figure_of, figures_of, ratio
from router_ml.evaluation.tally import UNITS, Steps

CALIBRATION_BINS = 15
COVERAGES = 20
"""At most so many points has the curve of accuracy against coverage."""
_EDGES = 1 / (1 + np.exp(-np.linspace(-12, 12, 97)))
GRID = len(_EDGES) + 1
"""Into so many bins, of a quarter of a logit, probabilities are rounded for the curve of accuracy
against coverage and for the interval of average precision; the figure itself is of the
probabilities as they are."""


class NameScore(msgspec.Struct, frozen=True):
    """How well one label or route is told from the rest.

    Attributes:
        precision, recall, f1: of the rows on which it was said.
        average_precision: of its probabilities; None without any.
        rows: how many truly carry it.

    """

    precision: Figure
    recall: Figure
    f1: Figure
    average_precision: Figure | None
    rows: int


class Reliability(msgspec.Struct, frozen=True):
    """A bin of probabilities: their mean, the share of them that held, and how many."""

    said: float
    held: Figure
    count: int


class Coverage(msgspec.Struct, frozen=True):
    """The rows decided with at least some confidence: how many, and how right on them."""

    confidence: float
    coverage: float
    accuracy: Figure


def grid_of(probability: NDArray[Any]) -> NDArray[np.int64]:
    """Return the bins of probabilities, below `GRID`."""
    return _EDGES.searchsorted(probability, side="right")


def accuracy(right: Floats, rows: Floats) -> Figure:
    """Return the share of right rows, [1 + replicates, 1] each."""
    return figure_of(ratio(right, rows)[:, 0])


def mean_accuracy(right: Floats, rows: Floats) -> Figure:
    """Return the mean of the accuracies of several parts, each part counting the same.

    Args:
        right, rows: of each part, [1 + replicates, parts].

    """
    size = rows[0]  # a part's rows weigh one together
    return figure_of(ratio((right / size).sum(axis=1), (rows / size).sum(axis=1)))


def name_scores(
    held: Floats, said: Floats, both: Floats, precisions: Sequence[Figure | None] = ()
) -> tuple[list[NameScore], Figure]:
    """Score names by the rows that carry them, and their macro-F1 over those that rows have.

    Args:
        held, said, both: rows that carry a name, that were said to, and both,
            [1 + replicates, names].
        precisions: the names' average precisions; by default there are none.

    """
    f1 = 2 * both / np.maximum(1, held + said)
    columns = (both / np.maximum(1, said), both / np.maximum(1, held), f1)
    precision, recall, f = (figures_of(column) for column in columns)
    means = precisions or [None] * len(f)
    scores = [
        NameScore(precision[at], recall[at], f[at], means[at], int(held[0, at]))
        for at in range(len(f))
    ]
    there = held > 0
    macro = (f1 * there).sum(axis=1) / np.maximum(1, there.sum(axis=1))
    return scores, figure_of(macro)


def average_precision(steps: Steps) -> float:
    """Return the average precision of one label's probabilities; NaN if no row carries it."""
    rows, held = steps.rows.T.astype(np.float64)
    return float(_step_area(rows[None], held[None])[0])


def _step_area(rows: Floats, true: Floats) -> Floats:
    """Return the area under precision and recall, from counts by rising score [r, bins]."""
    rows, true = rows[:, ::-1], true[:, ::-1]
    precision = ratio(true.cumsum(axis=1), rows.cumsum(axis=1))
    area = np.where(rows > 0, precision * true, 0).sum(axis=1)
    return ratio(area, true.sum(axis=1))


def average_precision_figure(steps: Steps, rows: Floats, held: Floats) -> Figure | None:
    """Return average precision with its interval; None if no row carries the label.

    Args:
        steps: the different probabilities.
        rows, held: how many there are, and how many carry the label, [1 + replicates, GRID].

    """
    if not held[0].any():
        return None
    found = figure_of(_step_area(rows, held), average_precision(steps))
    # An interval that moves with the exact figure may leave the range of what it is of.
    return Figure(found.value, max(found.low, 0.0), min(found.high, 1.0))


def calibration(count: Floats, said: Floats, held: Floats) -> tuple[Figure, list[Reliability]]:
    """Return the expected calibration error, and the reliability of all probabilities.

    The error is that of Naeini et al. (2015), 15 bins of equal width, the mean over labels;
    the reliability curve takes the labels together.

    Args:
        count, said, held: how many probabilities there are, their sum in `UNITS`, and how many
            of their labels hold, [1 + replicates, labels, bins].

    """
    said = said / UNITS
    errors = np.abs(said - held).sum(axis=2) / np.maximum(1, count.sum(axis=2))
    count, said, held = (part.sum(axis=1) for part in (count, said, held))
    figures = figures_of(ratio(held, count))
    curve = [
        Reliability(float(said[0, at] / count[0, at]), figures[at], int(count[0, at]))
        for at in np.flatnonzero(count[0])
    ]
    return _centred(errors.mean(axis=1)), curve


def _centred(resampled: Floats) -> Figure:
    """Return a figure that grows by resampling alone, as a sum of amounts does, without that."""
    growth = resampled[1:].mean() - resampled[0]
    return figure_of(np.concatenate((resampled[:1], np.maximum(0, resampled[1:] - growth))))


def coverage_curve(least: NDArray[np.float32], rows: Floats, right: Floats) -> list[Coverage]:
    """Return how right the decisions are that were made with at least some confidence.

    Args:
        least: the least confidence in each bin, [GRID].
        rows, right: of each bin, [1 + replicates, GRID].

    """
    levels = _levels(rows[0])
    kept, held = (part[:, ::-1].cumsum(axis=1)[:, ::-1][:, levels] for part in (rows, right))
    figures = figures_of(ratio(held, kept))
    return [
        Coverage(float(least[level]), float(kept[0, at] / rows[0].sum()), figures[at])
        for at, level in enumerate(levels.tolist())
    ]


def _levels(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose bins with rows; of many, those in which another twentieth of the rows begins."""
    levels = np.flatnonzero(rows)
    if len(levels) > COVERAGES:
        below = rows.cumsum()
        starts = np.arange(COVERAGES) / COVERAGES * below[-1]
        levels = np.unique(below.searchsorted(starts, side="right"))
    return levels
