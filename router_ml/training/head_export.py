"""A fitted head as part of the graph: encoder, head and calibration become one.

A `LogisticRegression` becomes one matrix product; anything else goes through skl2onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import skl2onnx
import skl2onnx.common.data_types as skl_types
from onnx import TensorProto, helper, numpy_helper

from router_ml.classifier import OUTPUT
from router_ml.errors import RecipeError
from router_ml.training.heads import EPSILON, Array, Head

_OPSET, _ML_OPSET = 18, 3


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
        "lowest": np.array(EPSILON, np.float32),
        "highest": np.array(1 - EPSILON, np.float32),
        "slope": slope,
        "intercept": intercept,
        "whole": np.array(1, np.float32),
    }
    body.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    body.node.extend(_calibration_nodes(raw, head.single_label))
    return body


def _calibration_nodes(raw: str, single_label: bool) -> list[onnx.NodeProto]:
    """Probabilities -> calibrated ones, by the formulas of `Calibration`."""
    node = helper.make_node
    clipped = [
        node("Clip", [raw, "lowest", "highest"], ["clipped"]),
        node("Log", ["clipped"], ["log_p"]),
    ]
    if single_label:
        return [
            *clipped,
            node("Mul", ["log_p", "slope"], ["logits"]),
            node("Softmax", ["logits"], [OUTPUT]),
        ]
    return [
        *clipped,
        node("Sub", ["whole", "clipped"], ["rest"]),
        node("Log", ["rest"], ["log_rest"]),
        node("Sub", ["log_p", "log_rest"], ["logit"]),
        node("Mul", ["logit", "slope"], ["scaled"]),
        node("Add", ["scaled", "intercept"], ["logits"]),
        node("Sigmoid", ["logits"], [OUTPUT]),
    ]


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
