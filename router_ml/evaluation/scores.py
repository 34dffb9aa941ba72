"""Figures of n judged rows, each with its bootstrap interval; arrays in, figures out.

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

from router_ml.evaluation.intervals import Bootstrap, Figure, Floats, figure_of, figures_of, ratio

CALIBRATION_BINS = 15
COVERAGES = 20
"""At most so many points has the curve of accuracy against coverage."""
_SCORE_BINS = 256
"""Into so many bins of equal weight probabilities are rounded for resamples of AP; the figure
itself is of the probabilities as they are."""


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


def accuracy(right: NDArray[np.bool_], boot: Bootstrap) -> Figure:
    """Return the share of right rows.

    Args:
        right: [n].
        boot: resamples of those n rows.

    """
    return figure_of(ratio(boot.totals(right), boot.totals())[:, 0])


def mean_accuracy(right: NDArray[np.bool_], codes: NDArray[Any], boot: Bootstrap) -> Figure:
    """Return the mean of the accuracies of several parts, each part counting the same.

    Args:
        right: [n].
        codes: int [n], each row's part.
        boot: resamples of those n rows.

    """
    weight = 1 / np.bincount(codes)[codes]  # a part's rows weigh one together
    return figure_of(ratio(boot.totals(right * weight), boot.totals(weight))[:, 0])


def confusion(true: NDArray[Any], given: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Count rows by true name (down) and given name (across), [size, size]."""
    counts = np.bincount(true.astype(np.int64) * size + given, minlength=size * size)
    return counts.reshape(size, size)


def name_scores(
    true: NDArray[Any], given: NDArray[Any], size: int, boot: Bootstrap
) -> tuple[list[NameScore], Figure]:
    """Score names of which each row truly has one and was given one, and their macro-F1.

    Args:
        true, given: int [n], below `size`.
        size: how many names there are.
        boot: resamples of those n rows.

    """
    held, said = boot.totals(cells=true, size=size), boot.totals(cells=given, size=size)
    return _scores(held, said, boot.totals(true == given, true, size))


def label_scores(
    true: NDArray[np.bool_],
    given: NDArray[np.bool_],
    boot: Bootstrap,
    precisions: Sequence[Figure | None] = (),
) -> tuple[list[NameScore], Figure]:
    """Score labels of which each row has any number, and their macro-F1.

    Args:
        true, given: [n, labels].
        boot: resamples of those n rows.
        precisions: the labels' average precisions; by default there are none.

    """
    held, said, both = (
        np.concatenate([boot.totals(column) for column in part.T], axis=1)
        for part in (true, given, true & given)
    )
    return _scores(held, said, both, precisions)


def _scores(
    held: Floats, said: Floats, both: Floats, precisions: Sequence[Figure | None] = ()
) -> tuple[list[NameScore], Figure]:
    """Turn counts [1 + replicates, names] into scores; macro-F1 is over names that rows have."""
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


def average_precision(probability: NDArray[Any], true: NDArray[np.bool_]) -> float:
    """Return the average precision of one label's probabilities; NaN if no row carries it.

    Args:
        probability: float [n].
        true: [n].

    """
    _, cells = np.unique(probability, return_inverse=True)
    rows, held = np.bincount(cells), np.bincount(cells, true)
    return float(_step_area(rows[None].astype(np.float64), held[None].astype(np.float64))[0])


def _step_area(rows: Floats, true: Floats) -> Floats:
    """Return the area under precision and recall, from counts by rising score [r, bins]."""
    rows, true = rows[:, ::-1], true[:, ::-1]
    precision = ratio(true.cumsum(axis=1), rows.cumsum(axis=1))
    area = np.where(rows > 0, precision * true, 0).sum(axis=1)
    return ratio(area, true.sum(axis=1))


def average_precision_figure(
    probability: NDArray[Any], true: NDArray[np.bool_], boot: Bootstrap
) -> Figure | None:
    """Return average precision with its interval; None if no row carries the label."""
    if not true.any() or np.isnan(probability).any():
        return None
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, _SCORE_BINS + 1)))
    cells, size = np.searchsorted(edges, probability), len(edges)
    areas = _step_area(boot.totals(cells=cells, size=size), boot.totals(true, cells, size))
    return figure_of(areas, average_precision(probability, true))


def calibration(
    probabilities: NDArray[Any], true: NDArray[np.bool_], boot: Bootstrap
) -> tuple[Figure, list[Reliability]]:
    """Return the expected calibration error, and the reliability of all probabilities.

    The error is that of Naeini et al. (2015), 15 bins of equal width, the mean over labels;
    the reliability curve takes the labels together.

    Args:
        probabilities: float [n, labels].
        true: [n, labels].
        boot: resamples of those n rows.

    """
    bins = CALIBRATION_BINS
    errors, sums = [], []
    for p, y in zip(probabilities.T, true.T, strict=True):
        cells = np.minimum((p * bins).astype(np.int64), bins - 1)
        count, said, held = (boot.totals(values, cells, bins) for values in (None, p, y))
        errors.append(np.abs(said - held).sum(axis=1) / np.maximum(1, count.sum(axis=1)))
        sums.append((count, said, held))
    count, said, held = (np.sum(parts, axis=0) for parts in zip(*sums, strict=True))
    figures = figures_of(ratio(held, count))
    curve = [
        Reliability(float(said[0, at] / count[0, at]), figures[at], int(count[0, at]))
        for at in np.flatnonzero(count[0])
    ]
    return _centred(np.mean(errors, axis=0)), curve


def _centred(resampled: Floats) -> Figure:
    """Return a figure that grows by resampling alone, as a sum of amounts does, without that."""
    growth = resampled[1:].mean() - resampled[0]
    return figure_of(np.concatenate((resampled[:1], np.maximum(0, resampled[1:] - growth))))


def coverage_curve(
    confidence: NDArray[Any], right: NDArray[np.bool_], boot: Bootstrap
) -> list[Coverage]:
    """Return how right the decisions are that were made with at least some confidence.

    Args:
        confidence: float [n], in [0, 1].
        right: [n].
        boot: resamples of those n rows.

    """
    levels = np.unique(confidence)
    if len(levels) > COVERAGES:
        shares = np.arange(COVERAGES) / COVERAGES
        levels = np.unique(np.quantile(confidence, shares, method="lower"))
    cells = np.searchsorted(levels, confidence, side="right") - 1
    kept, held = (
        boot.totals(values, cells, len(levels))[:, ::-1].cumsum(axis=1)[:, ::-1]
        for values in (None, right)
    )
    figures = figures_of(ratio(held, kept))
    return [
        Coverage(float(levels[at]), float(kept[0, at] / kept[0, 0]), figures[at])
        for at in range(len(levels))
    ]
