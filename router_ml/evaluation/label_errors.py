"""Rows whose label is probably wrong: confident learning.

Northcutt, Jiang & Chuang (2021), "Confident Learning: Estimating Uncertainty in Dataset
Labels", as cleanlab does it with `filter_by="confident_learning"`: a class's threshold is the
mean probability of the class over the rows labelled with it; a row whose probability reaches
the threshold of another class is counted as one of that class (of the most probable one, if it
reaches several), and is mislabelled if its own class is not the most probable either. Labels
that hold together are judged one by one, each against its absence.

The probabilities must be of a classifier that did not learn from the row: one that did
repeats the label it was told, right or wrong. `router-ml unseen --doubts FILE` makes
such probabilities and writes such rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.examples import Example

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


class Doubt(NamedTuple):
    """A row whose labels are doubted: its number, and each doubted label's probability."""

    row: int
    probabilities: dict[str, float]


def doubts(
    probabilities: NDArray[Any],
    given: NDArray[np.bool_],
    labels: Sequence[str],
    *,
    single_label: bool = False,
) -> list[Doubt]:
    """Return the rows that have a label which is probably wrong, the least probable first.

    Args:
        probabilities: float [n, labels].
        given: bool [n, labels], the labels of each row.
        labels: their names.
        single_label: whether each row has exactly one.

    """
    if single_label:
        found = suspects(probabilities, given.argmax(axis=1))[:, None] & given
    else:
        found = label_suspects(probabilities, given)
    said = np.where(given, probabilities, 1 - probabilities)
    least = np.where(found, said, np.inf).min(axis=1, initial=np.inf)
    rows = np.argsort(least, kind="stable")[: int(found.any(axis=1).sum())]
    return [
        Doubt(row, {labels[at]: float(probabilities[row, at]) for at in found[row].nonzero()[0]})
        for row in rows.tolist()
    ]


def doubted_rows(examples: Sequence[Example], found: Iterable[Doubt]) -> Iterator[dict[str, Any]]:
    """Yield doubted rows as a labelled file has them, with `doubts`: label -> its probability."""
    for row, probabilities in found:
        example = examples[row]
        kept = {"id": example.id, "source": example.source, "lang": example.lang}
        yield {
            "messages": [{"role": role, "content": text} for role, text in example.request.turns],
            "labels": example.labels,
            **{key: value for key, value in kept.items() if value},
            "doubts": {label: round(p, 6) for label, p in probabilities.items()},
        }
