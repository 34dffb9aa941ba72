"""Split by group, stratified by label set, so that near relatives never straddle."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from router_ml.examples import Example

Rows = NDArray[np.intp]


class Split(NamedTuple):
    """Row numbers of three disjoint parts."""

    train: Rows
    calibration: Rows
    test: Rows


def split_rows(
    examples: Sequence[Example],
    groups: Sequence[int],
    calibration_share: float,
    test_share: float,
    seed: int,
) -> Split:
    """Divide rows; a row's own `group` joins it with others beyond near-duplication.

    Args:
        examples: the rows.
        groups: a group number for each, as of `drop_duplicates`.
        calibration_share: about this share is for calibration.
        test_share: about this share is for measuring; 0: none.
        seed: of the shuffle.

    """
    strata, names = _strata(examples), group_codes(examples, groups)
    rows = np.arange(len(examples))
    rest, test = _cut(rows, strata, names, test_share, seed)
    train, calibration = _cut(rest, strata, names, calibration_share / (1 - test_share), seed + 1)
    return Split(train, calibration, test)


def _cut(
    rows: Rows, strata: NDArray[np.str_], groups: NDArray[np.intp], share: float, seed: int
) -> tuple[Rows, Rows]:
    if share <= 0:
        return rows, rows[:0]
    most = int(np.unique(strata[rows], return_counts=True)[1].max())
    folds = max(2, min(round(1 / share), most))
    kept, held = next(_folds(strata[rows], groups[rows], folds, seed))
    return rows[kept], rows[held]


def group_folds(
    examples: Sequence[Example], groups: Sequence[int], folds: int, seed: int
) -> Iterator[tuple[Rows, Rows]]:
    """Yield which rows are learned from and which are judged, fold after fold.

    Args:
        examples: the rows.
        groups: a group number for each, as of `drop_duplicates`.
        folds: at least two.
        seed: of the shuffle.

    """
    return _folds(_strata(examples), group_codes(examples, groups), folds, seed)


def _folds(
    strata: NDArray[np.str_], groups: NDArray[np.intp], folds: int, seed: int
) -> Iterator[tuple[Rows, Rows]]:
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Label sets rarer than the number of folds are spread as far as they go.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        yield from splitter.split(strata, strata, groups)


def _strata(examples: Sequence[Example]) -> NDArray[np.str_]:
    return np.array(["+".join(example.labels) for example in examples])


def group_codes(examples: Sequence[Example], groups: Sequence[int]) -> NDArray[np.intp]:
    """Number the groups: a row's own `group`, or else that of its near-duplicates, [n]."""
    names = [e.group or f"#{g}" for e, g in zip(examples, groups, strict=True)]
    return np.unique(names, return_inverse=True)[1]
