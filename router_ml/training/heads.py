"""Heads: scikit-learn classifiers on embeddings, calibrated, and their ONNX form.

Multi-label: one classifier a label. Single-label: one classifier for all. A
`LogisticRegression` becomes one matrix product; anything else goes through skl2onnx.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import skl2onnx
import skl2onnx.common.data_types as skl_types
from joblib import Parallel, delayed
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import all_estimators

from router_ml.classifier import OUTPUT
from router_ml.errors import RecipeError, TrainingError
from router_ml.training.recipe import HeadRecipe

Array = NDArray[np.float64]
_EPSILON, _FINE = 1e-6, 1e-12
"""No probability is nearer to 0 or 1 before its logit is taken: in float32, in float64."""
_OPSET, _ML_OPSET = 18, 3
_DEFAULTS: dict[str, Any] = {"max_iter": 2000}


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
        """Return uncalibrated probabilities, [n, labels]."""
        least = _FINE if self.linear else _EPSILON
        embeddings = embeddings.astype(np.float64 if self.linear else np.float32)
        if self.single_label:
            return np.clip(self.models[0].predict_proba(embeddings), least, 1 - least)
        columns = [model.predict_proba(embeddings)[:, 1] for model in self.models]
        return np.clip(np.stack(columns, 1), least, 1 - least)

    def predict_proba(self, embeddings: NDArray) -> Array:
        """Return calibrated probabilities, [n, labels]."""
        return _calibrated(self.raw(embeddings), self.calibration, self.single_label)


def _calibrated(raw: Array, calibration: Calibration, single_label: bool) -> Array:
    if single_label:
        return softmax(calibration.slope * np.log(raw), axis=1)
    return expit(calibration.slope * logit(raw) + calibration.intercept)


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
    models = [_estimator(recipe, seed) for _ in answers]
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


def _estimator(recipe: HeadRecipe, seed: int) -> Any:
    known = dict(all_estimators(type_filter="classifier"))
    found = known.get(recipe.classifier)
    if found is None or not hasattr(found, "predict_proba"):
        raise RecipeError(
            f"{recipe.classifier!r} is no scikit-learn classifier with predict_proba."
        )
    allowed = found().get_params()
    parameters = {key: value for key, value in _DEFAULTS.items() if key in allowed}
    parameters |= {"random_state": seed} if "random_state" in allowed else {}
    try:
        return found(**{**parameters, **recipe.parameters})
    except TypeError as error:
        raise RecipeError(f"{recipe.classifier}: {error}") from error


def _fit(model: Any, embeddings: NDArray, answer: NDArray, weights: NDArray) -> Any:
    try:
        return model.fit(embeddings, answer, sample_weight=weights)
    except TypeError:  # k-neighbours and others take no weights
        return model.fit(embeddings, answer)


def calibrate(head: Head, embeddings: NDArray, targets: NDArray[np.float32]) -> Head:
    """Fit the calibration on rows that neither encoder nor head has seen."""
    raw = head.raw(embeddings)
    fit = _fit_temperature if head.single_label else _fit_platt
    return head._replace(calibration=fit(raw, targets))


def _fit_platt(raw: Array, targets: NDArray[np.float32]) -> Calibration:
    calibration = Calibration.none(raw.shape[1])
    for column, answer in enumerate(targets.T):
        if 0 < answer.sum() < len(answer):  # a label absent here keeps what the head says
            model = LogisticRegression(C=10.0).fit(logit(raw[:, [column]]), answer)
            calibration.slope[column] = max(float(model.coef_[0, 0]), 1e-3)
            calibration.intercept[column] = float(model.intercept_[0])
    return calibration


def _fit_temperature(raw: Array, targets: NDArray[np.float32]) -> Calibration:
    log_raw, answer = np.log(raw), targets.argmax(1)

    def loss(slope: float) -> float:
        chosen = softmax(slope * log_raw, axis=1)[np.arange(len(answer)), answer]
        return float(-np.log(np.clip(chosen, _EPSILON, 1)).mean())

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


def attach(encoder: onnx.ModelProto, head: Head, width: int) -> onnx.ModelProto:
    """Join an encoder's graph (-> `embedding`) and a head into one (-> `probabilities`)."""
    body = _linear_graph(head) if head.linear else _generic_graph(head, width)
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    model.ir_version = 8
    model.graph.name = "router-ml"
    model.graph.node.extend(body.node)
    model.graph.initializer.extend(body.initializer)
    # Named, so that the encoder can be cut out of the artifact again for a new head.
    model.graph.value_info.extend(encoder.graph.output)
    del model.graph.output[:]
    shape = ["batch", head.labels]
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    if not head.linear:
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", _ML_OPSET))
    onnx.checker.check_model(model)
    return model


class _Body(NamedTuple):
    node: list[onnx.NodeProto]
    initializer: list[onnx.TensorProto]


def _linear_graph(head: Head) -> _Body:
    """Fold the calibration into the weights: logit(sigmoid(z)) is z."""
    weight, bias = _linear_weights(head)
    slope, intercept = head.calibration
    tensors = {
        "head_weight": (weight * slope).astype(np.float32),
        "head_bias": (bias * slope + intercept).astype(np.float32),
    }
    squash = "Softmax" if head.single_label else "Sigmoid"
    nodes = [
        helper.make_node("Gemm", ["embedding", *tensors], ["logits"]),
        helper.make_node(squash, ["logits"], [OUTPUT]),
    ]
    return _Body(nodes, [numpy_helper.from_array(value, name) for name, value in tensors.items()])


def _linear_weights(head: Head) -> tuple[Array, Array]:
    """Return weight [width, labels] and bias [labels]."""
    coefficients = np.concatenate([model.coef_ for model in head.models])
    bias = np.concatenate([model.intercept_ for model in head.models])
    if head.single_label and head.labels == 2:  # one row says both
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        bias = np.array([0.0, bias[0]])
    return coefficients.T, bias


def _generic_graph(head: Head, width: int) -> _Body:
    body = _Body([], [])
    columns = [_converted(model, number, width, body) for number, model in enumerate(head.models)]
    raw = columns[0]
    if not head.single_label:
        raw = _positive_columns(columns, body)
    slope, intercept = (part.astype(np.float32) for part in head.calibration)
    tensors = {
        "lowest": np.array(_EPSILON, np.float32),
        "highest": np.array(1 - _EPSILON, np.float32),
        "slope": slope,
        "intercept": intercept,
        "whole": np.array(1, np.float32),
    }
    body.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    node = helper.make_node
    body.node.extend(
        [
            node("Clip", [raw, "lowest", "highest"], ["clipped"]),
            node("Log", ["clipped"], ["log_p"]),
        ]
    )
    if head.single_label:
        body.node.extend(
            [node("Mul", ["log_p", "slope"], ["logits"]), node("Softmax", ["logits"], [OUTPUT])]
        )
        return body
    body.node.extend(
        [
            node("Sub", ["whole", "clipped"], ["rest"]),
            node("Log", ["rest"], ["log_rest"]),
            node("Sub", ["log_p", "log_rest"], ["logit"]),
            node("Mul", ["logit", "slope"], ["scaled"]),
            node("Add", ["scaled", "intercept"], ["logits"]),
            node("Sigmoid", ["logits"], [OUTPUT]),
        ]
    )
    return body


def _converted(model: Any, number: int, width: int, body: _Body) -> str:
    """Convert one classifier by skl2onnx into `body`; return its probabilities' name."""
    try:
        converted = skl2onnx.to_onnx(
            model,
            initial_types=[("embedding", skl_types.FloatTensorType([None, width]))],
            options={"zipmap": False},
            target_opset={"": _OPSET, "ai.onnx.ml": _ML_OPSET},
        )
    except Exception as error:  # unsupported models and options raise several types
        name = type(model).__name__
        raise RecipeError(f"{name} cannot be exported to ONNX: {error}") from error
    renamed = onnx.compose.add_prefix(converted, f"head{number}_", rename_inputs=False)
    body.node.extend(renamed.graph.node)
    body.initializer.extend(renamed.graph.initializer)
    return renamed.graph.output[1].name


def _positive_columns(columns: Sequence[str], body: _Body) -> str:
    body.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "positive"))
    names = [f"{column}_positive" for column in columns]
    for column, name in zip(columns, names, strict=True):
        body.node.append(helper.make_node("Gather", [column, "positive"], [name], axis=1))
    body.node.append(helper.make_node("Concat", names, ["raw"], axis=1))
    return "raw"
