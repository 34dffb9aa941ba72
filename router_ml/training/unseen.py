"""What classifiers say of sources they have not seen: each source left out, in folds.

Accuracy on held-out rows of the sources that were learned from says little about
tomorrow's traffic, and probabilities calibrated on them are too sure of themselves.
Here every row is judged by a classifier that was trained without a single row of its
source; from that come honest figures, and a calibration that holds for new sources.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from router_ml.errors import TrainingError
from router_ml.evaluation import Evaluation, Judged, compare, evaluate_keywords, keywords_apply
from router_ml.plurals import counted
from router_ml.router import default_policy
from router_ml.training.duplicates import Cleaned
from router_ml.training.fit import fit
from router_ml.training.heads import Array, Calibration, calibrate, calibrated
from router_ml.training.prepare import Data, Rows, check_labels_remain, divide
from router_ml.training.progress import Progress, silent
from router_ml.training.recipe import Recipe
from router_ml.training.split import Split

_NONE = np.zeros(0, np.intp)
_WORTH_PROCESSES = 5000
"""Rows from which training takes longer than starting a process does."""


class Unseen(NamedTuple):
    """Rows as judged by a classifier that has not seen their source.

    Attributes:
        data: the rows, all of them for learning.
        raw: of `Head.raw`, [n, labels]; zeros where no fold left the row out.
        fold: which fold each row was left out with, [n]; -1: none.

    """

    data: Data
    raw: Array
    fold: NDArray[np.intp]

    @property
    def judged(self) -> Rows:
        """The rows that were left out and judged."""
        return np.flatnonzero(self.fold >= 0)

    def calibration(self, kind: str, rows: Rows) -> tuple[Calibration, list[float]]:
        """Fit calibration and thresholds on these rows."""
        return calibrate(kind, self.raw[rows], self.data.targets[rows], self.data.single_label)


def judge_unseen(
    recipe: Recipe, cleaned: Cleaned, folds: int, progress: Progress, only: str = "*"
) -> Unseen:
    """Train once a fold, and judge the sources left out.

    Args:
        recipe: what is trained.
        cleaned: the rows.
        folds: how many parts the sources are divided into; with as many folds as
            sources, one source is left out at a time.
        progress: told of rows as they are done.
        only: a glob over sources, or ! and a glob of what is not meant; the others are
            learned from in every fold.

    Raises:
        TrainingError: there are fewer sources than folds, or a fold has all of a label.

    """
    data = all_to_learn_from(recipe, cleaned)
    parts = list(leave_out(cleaned, folds, only))
    for seen, _ in parts:
        check_labels_remain(data, seen)
    raw = np.zeros(data.targets.shape)
    fold_of = np.full(len(raw), -1)
    # One thread each, in processes of their own: twice as fast as fold after fold on all cores.
    workers = Parallel(n_jobs=-1 if len(raw) > _WORTH_PROCESSES else 1, return_as="generator")
    judged = workers(delayed(_judge_fold)(recipe, data, *part) for part in parts)
    rows = sum(len(unseen) for _, unseen in parts)
    with progress("Leaving sources out", rows) as done:
        for fold, ((_, unseen), found) in enumerate(zip(parts, judged, strict=True)):
            raw[unseen], fold_of[unseen] = found, fold
            done(len(unseen))
    return Unseen(data, raw, fold_of)


def all_to_learn_from(recipe: Recipe, cleaned: Cleaned) -> Data:
    """Hold no row back: what is not seen is left out in other ways."""
    data = divide(recipe, cleaned, len(cleaned.examples))
    return data._replace(split=Split(np.arange(len(data.targets)), _NONE, _NONE))


def _judge_fold(recipe: Recipe, data: Data, seen: Rows, unseen: Rows) -> Array:
    """Train on some rows, and return what the classifier says of others."""
    learned_from = data._replace(split=Split(seen, _NONE, _NONE))
    with tempfile.TemporaryDirectory() as scratch:
        fitted = fit(recipe, learned_from, Path(scratch), silent)
        return fitted.raw(data.texts(unseen), silent)


def leave_out(cleaned: Cleaned, folds: int, only: str = "*") -> Iterator[tuple[Rows, Rows]]:
    """Yield which rows are learned from and which are judged, fold after fold.

    A row that has a near relative among the judged ones is in neither.
    """
    sources = [example.source for example in cleaned.examples]
    fold_of = assign_folds([source for source in sources if _meant(source, only)], folds)
    folds_of_rows = np.array([fold_of.get(source, -1) for source in sources])
    groups = np.array(cleaned.groups)
    for fold in range(folds):
        judged = folds_of_rows == fold
        related = np.isin(groups, groups[judged])
        yield np.flatnonzero(~judged & ~related), np.flatnonzero(judged)


def _meant(source: str, only: str) -> bool:
    return fnmatchcase(source, only.removeprefix("!")) != only.startswith("!")


def assign_folds(sources: Sequence[str], folds: int) -> dict[str, int]:
    """Divide sources into folds of about as many rows: the largest first, each to the
    fold with the fewest rows so far.

    Raises:
        TrainingError: there are fewer sources than folds, or fewer than two folds.

    """
    counts = Counter(sources)
    if not 2 <= folds <= len(counts):
        raise TrainingError(
            f"{counted(folds, 'fold')} cannot be made of {counted(len(counts), 'source')}: give "
            "every row a `source`, and ask for at least two folds but no more than sources."
        )
    rows = [0] * folds
    fold_of: dict[str, int] = {}
    for source, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        fold_of[source] = rows.index(min(rows))
        rows[fold_of[source]] += count
    return fold_of


def evaluate_unseen(recipe: Recipe, unseen: Unseen) -> list[Evaluation]:
    """Compare what was said of unseen sources with their labels, beside the keyword rules.

    Each fold is calibrated, and given its thresholds, on the rows of the others.
    """
    data = unseen.data
    examples = [data.cleaned.examples[row] for row in unseen.judged]
    judged = judged_unseen(recipe, unseen)
    policy = default_policy(data.labels)
    found = [compare("unseen sources", examples, judged, data.labels, policy)]
    if keywords_apply(data.labels):
        found.append(evaluate_keywords(policy, examples, data.labels, "unseen sources"))
    return found


def judged_unseen(recipe: Recipe, unseen: Unseen) -> Judged:
    """Calibrate each fold on the others, and name the labels that hold in every judged row."""
    data, judged = unseen.data, unseen.judged
    probabilities = np.zeros_like(unseen.raw)
    given: dict[int, tuple[str, ...]] = {}
    for fold in range(unseen.fold.max() + 1):
        rows = np.flatnonzero(unseen.fold == fold)
        others = np.flatnonzero((unseen.fold >= 0) & (unseen.fold != fold))
        fitted, thresholds = unseen.calibration(recipe.calibration, others)
        probabilities[rows] = calibrated(unseen.raw[rows], fitted, data.single_label)
        given |= {row: _names(data, probabilities[row], thresholds) for row in rows.tolist()}
    return Judged(probabilities[judged].astype(np.float32), [given[row] for row in judged])


def _names(data: Data, probabilities: Array, thresholds: Sequence[float]) -> tuple[str, ...]:
    if data.single_label:
        return (data.labels[int(probabilities.argmax())],)
    holding = probabilities >= thresholds
    return tuple(name for name, holds in zip(data.labels, holding, strict=True) if holds)
