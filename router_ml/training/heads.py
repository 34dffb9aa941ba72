"""Heads: scikit-learn classifiers on embeddings, calibrated.

Multi-label: one classifier a label. Single-label: one classifier for all.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import all_estimators
from threadpoolctl import threadpool_limits

from router_ml.errors import RecipeError, TrainingError
from router_ml.training.recipe import HeadRecipe

Array = NDArray[np.float64]
_one_thread = threadpool_limits.wrap(limits=1, user_api="blas")
"""The products are small: a second thread waits longer for the first than it helps it."""
EPSILON = 1e-6
"""No probability in float32 is nearer to 0 or 1 before its logit is taken."""
_DEFAULTS: dict[str, Any] = {"max_iter": 2000, "C": 10.0}
"""Embeddings have length about 1: scikit-learn's own C = 1 holds a head back on them."""


class Calibration(NamedTuple):
    """`sigmoid(slope * logit(p) + intercept)` a label (Platt 1999), or for one label of
    many `softmax(slope * log p)`, slope = 1 / temperature (Guo et al. 2017)."""

    slope: Array
    intercept: Array

    @classmethod
    def none(cls, labels: int) -> Calibration:
        """Return the calibration that changes nothing."""
        return cls(np.ones(labels), np.zeros(labels))


class Head(NamedTuple):
    """Fitted classifiers with their calibration.

    Attributes:
        models: one for each label, or a single one if the labels exclude each other.
        labels: how many columns it gives.
        single_label: whether they exclude each other.
        calibration: applied to what the models say.

    """

    models: tuple[Any, ...]
    labels: int
    single_label: bool
    calibration: Calibration

    @property
    def linear(self) -> bool:
        """Whether its graph is one matrix product, in which no probability is clipped."""
        return all(isinstance(model, LogisticRegression) for model in self.models)

    def raw(self, embeddings: NDArray) -> Array:
        """Return what is calibrated, [n, labels]: a label's log-odds, or, if labels
        exclude each other, log-probabilities but for a constant a row.
        """
        if self.linear:
            return self._scores(embeddings.astype(np.float64))
        columns = [model.predict_proba(embeddings.astype(np.float32)) for model in self.models]
        if self.single_label:
            return np.log(np.clip(columns[0], EPSILON, 1 - EPSILON))
        return logit(np.clip(np.stack([p[:, 1] for p in columns], 1), EPSILON, 1 - EPSILON))

    def _scores(self, embeddings: Array) -> Array:
        """Return the scores themselves: as probabilities they would be rounded to 0 or 1."""
        scores = [model.decision_function(embeddings) for model in self.models]
        if not self.single_label:
            return np.stack(scores, 1)
        only = scores[0]
        return only if only.ndim == 2 else np.stack([np.zeros_like(only), only], 1)

    def predict_proba(self, embeddings: NDArray) -> Array:
        """Return calibrated probabilities, [n, labels]."""
        return calibrated(self.raw(embeddings), self.calibration, self.single_label)


def calibrated(raw: Array, calibration: Calibration, single_label: bool) -> Array:
    """Apply a calibration to what `Head.raw` gave; return probabilities, [n, labels]."""
    if single_label:
        return softmax(calibration.slope * raw, axis=1)
    return expit(calibration.slope * raw + calibration.intercept)


@_one_thread
def fit_head(
    recipe: HeadRecipe,
    embeddings: NDArray,
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    single_label: bool,
    seed: int,
) -> Head:
    """Fit the recipe's classifier.

    Args:
        recipe: class name and parameters.
        embeddings: float32 [n, width].
        targets: 0 or 1, [n, labels].
        weights: of the rows, [n]; for classifiers that take them.
        single_label: whether the labels exclude each other.
        seed: of classifiers that have a `random_state`.

    Raises:
        RecipeError: there is no such classifier, or it refuses its parameters.
        TrainingError: it cannot be fitted to this data.

    """
    answers = [targets.argmax(1)] if single_label else list(targets.astype(int).T)
    models = [new_estimator(recipe, seed) for _ in answers]
    try:
        with warnings.catch_warnings():
            # An optimum reached to fewer digits is measured like any other. Filters belong
            # to the process, so they are set around the threads, never inside one.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = Parallel(n_jobs=-1, prefer="threads")(
                delayed(_fit)(model, embeddings, answer, weights)
                for model, answer in zip(models, answers, strict=True)
            )
    except ValueError as error:
        raise TrainingError(f"{recipe.classifier} cannot be fitted: {error}") from error
    columns = targets.shape[1]
    return Head(tuple(fitted), columns, single_label, Calibration.none(columns))


def new_estimator(recipe: HeadRecipe, seed: int) -> Any:
    """Make the recipe's classifier, not yet fitted.

    Raises:
        RecipeError: there is no such classifier, or it refuses its parameters.

    """
    found = _classifiers().get(recipe.classifier)
    try:
        allowed = found().get_params() if found else {}
        parameters = {key: value for key, value in _DEFAULTS.items() if key in allowed}
        parameters |= {"random_state": seed} if "random_state" in allowed else {}
        made = found(**{**parameters, **recipe.parameters}) if found else None
        if made is not None:
            made._validate_params()  # what fitting does first
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{recipe.classifier}: {error}") from error
    if not hasattr(made, "predict_proba"):  # of the instance: some have it by a parameter
        raise RecipeError(
            f"{recipe.classifier!r} is no scikit-learn classifier with predict_proba."
        )
    return made


@cache
def _classifiers() -> dict[str, Any]:
    """Return scikit-learn's classifiers by name; looking for them takes a second."""
    return dict(all_estimators(type_filter="classifier"))


def _fit(model: Any, embeddings: NDArray, answer: NDArray, weights: NDArray) -> Any:
    try:
        return model.fit(embeddings, answer, sample_weight=weights)
    except TypeError:  # k-neighbours and others take no weights
        return model.fit(embeddings, answer)


@_one_thread
def calibrate(
    kind: str, raw: Array, targets: NDArray[np.float32], single_label: bool
) -> tuple[Calibration, list[float]]:
    """Fit calibration and thresholds on rows that neither encoder nor head has seen.

    Args:
        kind: "sigmoid" or "none", as in the recipe.
        raw: of `Head.raw`, [n, labels].
        targets: 0 or 1, [n, labels].
        single_label: whether the labels exclude each other.

    """
    fitted = Calibration.none(targets.shape[1])
    if kind == "sigmoid":
        fitted = fit_calibration(raw, targets, single_label)
    probabilities = calibrated(raw, fitted, single_label)
    return fitted, choose_thresholds(probabilities, targets, single_label)


def fit_calibration(raw: Array, targets: NDArray[np.float32], single_label: bool) -> Calibration:
    """Fit the calibration on rows that neither encoder nor head has seen.

    Args:
        raw: of `Head.raw`, [n, labels].
        targets: 0 or 1, [n, labels].
        single_label: whether the labels exclude each other.

    """
    return _fit_temperature(raw, targets) if single_label else _fit_platt(raw, targets)


def _fit_platt(raw: Array, targets: NDArray[np.float32]) -> Calibration:
    calibration = Calibration.none(raw.shape[1])
    for column, answer in enumerate(targets.T):
        if 0 < answer.sum() < len(answer):  # a label absent here keeps what the head says
            model = LogisticRegression(C=10.0).fit(raw[:, [column]], answer)
            calibration.slope[column] = max(float(model.coef_[0, 0]), 1e-3)
            calibration.intercept[column] = float(model.intercept_[0])
    return calibration


def _fit_temperature(raw: Array, targets: NDArray[np.float32]) -> Calibration:
    answer = targets.argmax(1)

    def loss(slope: float) -> float:
        chosen = softmax(slope * raw, axis=1)[np.arange(len(answer)), answer]
        return float(-np.log(np.clip(chosen, EPSILON, 1)).mean())

    slope = minimize_scalar(loss, bounds=(0.1, 10), method="bounded").x
    return Calibration(np.full(raw.shape[1], slope), np.zeros(raw.shape[1]))


def choose_thresholds(
    probabilities: Array, targets: NDArray[np.float32], single_label: bool
) -> list[float]:
    """Choose for each label the threshold with the best F1 on held-out rows.

    Among thresholds whose F1 is within 0.002 of the best the one nearest 0.5 is taken:
    differences that small are noise. Single-label: the most probable wins, threshold 0.
    """
    if single_label:
        return [0.0] * probabilities.shape[1]
    return [_best_threshold(p, y) for p, y in zip(probabilities.T, targets.T, strict=True)]


def _best_threshold(probability: Array, answer: NDArray[np.float32]) -> float:
    if not answer.any():
        return 0.5
    grid = np.arange(0.2, 0.81, 0.02)
    scores = np.array([_f1(probability >= threshold, answer > 0) for threshold in grid])
    near = grid[scores >= scores.max() - 0.002]
    return round(float(near[np.abs(near - 0.5).argmin()]), 2)


def _f1(said: NDArray, true: NDArray) -> float:
    return 2 * float((said & true).sum()) / max(1, int(said.sum() + true.sum()))
