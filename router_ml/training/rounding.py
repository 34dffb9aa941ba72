"""A transformer's graph with weights of 8 bits: a quarter of its size, and twice as fast.

Each weight matrix is rounded column by column, and what it is multiplied with row by row, as the
graph runs (Dettmers et al. 2022, "LLM.int8()", vector-wise quantization). A token is so
rounded by its own largest value: a text's embedding does not depend on the texts beside it, as
it would with onnxruntime's `quantize_dynamic`, which rounds a whole batch by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

_FLOAT = TensorProto.FLOAT
_ROW_LEVELS, _ZERO = 127.0, 128
_WEIGHT_LEVELS = 63.0
"""7 bits: where a processor adds two products in 16 bits, 2 * 255 * 63 still fits into them."""
_TABLE_LEVELS = 127.0
_LEAST = 1e-12
"""So that a row of zeros is not divided by zero."""
TOLERANCE = 0.1
"""How far a probability may be elsewhere. Where two processors differ in the last bit of a float32
now and then one rounds up and the other down, which the layers above pass on: without
onnxruntime's optimisations 58 golden rows differed by .02 at most, .0009 on average."""


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with the weights of its matrix products and tables in 8 bits."""
    graph = _Rounding(model).graph
    small = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(small)
    return small


def rounds(model: onnx.ModelProto) -> bool:
    """Return whether a graph rounds as it runs."""
    return any(node.op_type == "Round" for node in model.graph.node)


class _Rounding:
    """A graph in the making: nodes that multiply with or look up float weights are replaced."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._rows: set[str] = set()
        self._add("row_levels", np.float32(_ROW_LEVELS))
        self._add("row_zero", np.uint8(_ZERO))
        self._add("row_middle", np.float32(_ZERO))
        self._add("row_least", np.float32(_LEAST))
        self._add("row_axis", np.array([-1], np.int64))
        nodes = [new for node in model.graph.node for new in self._replaced(node)]
        used = {name for node in nodes for name in node.input}
        self.graph = helper.make_graph(
            nodes,
            model.graph.name,
            model.graph.input,
            model.graph.output,
            [tensor for name, tensor in self._tensors.items() if name in used],
        )

    def _replaced(self, node: NodeProto) -> Iterator[NodeProto]:
        if node.op_type == "MatMul" and self._is_weight(node.input[1]):
            yield from self._product(node.input[0], node.input[1], node.output[0])
        elif node.op_type == "Gather" and self._is_weight(node.input[0]) and _of_rows(node):
            yield from self._lookup(node.input[0], node.input[1], node.output[0])
        else:
            yield node

    def _is_weight(self, name: str) -> bool:
        tensor = self._tensors.get(name)
        return tensor is not None and tensor.data_type == _FLOAT and len(tensor.dims) == 2

    def _product(self, rows: str, weight: str, product: str) -> Iterator[NodeProto]:
        if rows not in self._rows:  # several products may be of the same rows
            self._rows.add(rows)
            yield from self._rounded_rows(rows)
        self._round(weight, _WEIGHT_LEVELS, axis=0)
        node, whole = helper.make_node, f"{product}/whole"
        inputs = [f"{rows}/row_int8", f"{weight}/int8_0", "row_zero"]
        yield node("MatMulInteger", inputs, [f"{whole}_int32"])
        yield node("Cast", [f"{whole}_int32"], [whole], to=_FLOAT)
        yield node("Mul", [whole, f"{weight}/scale_0"], [f"{whole}_scaled"])
        yield node("Mul", [f"{whole}_scaled", f"{rows}/row_scale"], [product])

    def _rounded_rows(self, rows: str) -> Iterator[NodeProto]:
        node = helper.make_node
        yield node("Abs", [rows], [f"{rows}/row_size"])
        yield node("ReduceMax", [f"{rows}/row_size", "row_axis"], [f"{rows}/row_peak"], keepdims=1)
        yield node("Div", [f"{rows}/row_peak", "row_levels"], [f"{rows}/row_step"])
        yield node("Max", [f"{rows}/row_step", "row_least"], [f"{rows}/row_scale"])
        yield node("Div", [rows, f"{rows}/row_scale"], [f"{rows}/row_steps"])
        yield node("Round", [f"{rows}/row_steps"], [f"{rows}/row_rounded"])
        yield node("Add", [f"{rows}/row_rounded", "row_middle"], [f"{rows}/row_positive"])
        yield node("Cast", [f"{rows}/row_positive"], [f"{rows}/row_int8"], to=TensorProto.UINT8)

    def _lookup(self, table: str, ids: str, found: str) -> Iterator[NodeProto]:
        self._round(table, _TABLE_LEVELS, axis=1)
        node = helper.make_node
        yield node("Gather", [f"{table}/int8_1", ids], [f"{found}/looked_up"])
        yield node("Gather", [f"{table}/scale_1", ids], [f"{found}/look_up_scale"])
        yield node("Cast", [f"{found}/looked_up"], [f"{found}/whole"], to=_FLOAT)
        yield node("Mul", [f"{found}/whole", f"{found}/look_up_scale"], [found])

    def _round(self, name: str, levels: float, axis: int) -> None:
        """Add a matrix in 8 bits, and what each of its columns (axis 0) or rows (1) is times.

        Both are named by the axis: a matrix may be looked up and multiplied with.
        """
        weight = numpy_helper.to_array(self._tensors[name])
        scale = np.maximum(np.abs(weight).max(axis=axis, keepdims=True) / levels, _LEAST)
        self._add(f"{name}/int8_{axis}", np.rint(weight / scale).astype(np.int8))
        self._add(f"{name}/scale_{axis}", scale.astype(np.float32))

    def _add(self, name: str, value: NDArray | np.generic) -> None:
        self._tensors[name] = numpy_helper.from_array(np.asarray(value), name)


def _of_rows(gather: NodeProto) -> bool:
    return all(attribute.i == 0 for attribute in gather.attribute if attribute.name == "axis")
