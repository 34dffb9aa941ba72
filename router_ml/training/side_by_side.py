"""Two classifiers' graphs as one: what both compute is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from router_ml.classifier import OUTPUT
from router_ml.errors import RecipeError


def side_by_side(
    first: onnx.ModelProto, second: onnx.ModelProto, columns: Sequence[int]
) -> onnx.ModelProto:
    """Join two graphs of the same input: the probabilities of one, then those of the other.

    The first graph stays as it is, node for node.

    Args:
        first: -> `probabilities`, [batch, its labels].
        second: -> `probabilities`, [batch, its labels].
        columns: which of the second's are in the result.

    Raises:
        RecipeError: the graphs are of different versions of ONNX's operators.

    """
    model = onnx.ModelProto()
    model.CopyFrom(first)
    _join_versions(model, second)
    graph = model.graph
    prefix = _unused_prefix(graph)
    before = f"{prefix}before"
    for node in graph.node:
        node.output[:] = [before if name == OUTPUT else name for name in node.output]
    names = _add(graph, second.graph, prefix)
    last = _unused_prefix(graph)
    kept, chosen = f"{last}kept", f"{last}columns"
    graph.initializer.append(numpy_helper.from_array(np.array(columns, np.int64), chosen))
    graph.node.append(helper.make_node("Gather", [names[OUTPUT], chosen], [kept], axis=1))
    graph.node.append(helper.make_node("Concat", [before, kept], [OUTPUT], axis=1))
    _widen(graph.output[0], len(columns))
    onnx.checker.check_model(model)
    return model


def _widen(output: onnx.ValueInfoProto, columns: int) -> None:
    output.type.tensor_type.shape.dim[1].dim_value += columns


def _join_versions(model: onnx.ModelProto, other: onnx.ModelProto) -> None:
    known = {one.domain: one.version for one in model.opset_import}
    for one in other.opset_import:
        if known.setdefault(one.domain, one.version) != one.version:
            raise RecipeError(
                f"The artifact to extend is of ONNX operator set {known[one.domain]}, the new part "
                f"of {one.version}: train that artifact again first."
            )
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*item) for item in known.items())


def _unused_prefix(graph: onnx.GraphProto) -> str:
    names = [name for node in graph.node for name in node.output]
    prefixes = (f"part{number}_" for number in count(2))
    return next(one for one in prefixes if not any(name.startswith(one) for name in names))


def _add(graph: onnx.GraphProto, added: onnx.GraphProto, prefix: str) -> dict[str, str]:
    """Add tensors and nodes but those that are there already; return their names there."""
    names = {"": ""}  # an optional input or output that is left out
    names |= {one.name: one.name for one in added.input}
    tensors = {_content(one): one.name for one in graph.initializer}
    for tensor in added.initializer:
        names[tensor.name] = tensors.setdefault(_content(tensor), prefix + tensor.name)
        if names[tensor.name] == prefix + tensor.name:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = prefix + tensor.name
    known = {_computation(one): one for one in graph.node}
    for node in added.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = node.name and prefix + node.name  # of names, none may be twice
        copy.input[:] = [names[name] for name in node.input]
        copy.output[:] = [name and prefix + name for name in node.output]
        found = known.setdefault(_computation(copy), copy)
        names.update(zip(node.output, found.output, strict=True))
        if found is copy:
            graph.node.append(copy)
    return names


def _content(tensor: TensorProto) -> bytes:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.ClearField("name")
    return copy.SerializeToString()


def _computation(node: NodeProto) -> tuple[str, str, tuple[str, ...], tuple[bytes, ...]]:
    attributes = sorted(one.SerializeToString() for one in node.attribute)
    return node.domain, node.op_type, tuple(node.input), tuple(attributes)
