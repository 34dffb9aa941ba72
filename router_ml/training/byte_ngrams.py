"""Hashed byte n-grams: the same arithmetic in numpy (training) and in ONNX (serving).

The n-gram of `n` bytes at a position has the id

    (m[0] * fold[b[0]] + ... + m[n-1] * fold[b[n-1]])  modulo  2 ** table_bits

with fixed random multipliers. Their size keeps every sum below 2**24, where float32
is exact, so that one convolution computes all ids whatever the language or machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SEPARATOR = 0x1E
"""Ends the turn and begins the context; the text itself has no controls."""

SEGMENTS = 2
COUNT_SCALE = 0.1
LENGTH_POWER = 0.75
"""Sums of rows are divided by count ** 0.75: between a sum and a mean."""

_EXACT, _MULTIPLIER_LIMIT = 1 << 24, 8191


class Ngrams(NamedTuple):
    """Which n-grams are hashed, and how.

    Attributes:
        multipliers: float32 [orders, longest], zero beyond each order's length.
        table_bits: log2 of the number of ids.

    """

    multipliers: NDArray[np.float32]
    table_bits: int

    @classmethod
    def make(cls, orders: Sequence[int], table_bits: int, seed: int) -> Ngrams:
        """Draw multipliers for n-grams of these lengths."""
        draw = np.random.default_rng(seed)
        multipliers = np.zeros((len(orders), max(orders)), np.float32)
        for row, order in enumerate(orders):
            limit = min(_MULTIPLIER_LIMIT, _EXACT // (255 * order))
            multipliers[row, :order] = draw.integers(1, limit, order)
        return cls(multipliers, table_bits)


class Bags(NamedTuple):
    """N-gram ids of a batch.

    Attributes:
        ids: int64 [positions, orders].
        starts: int64 [batch * 2]: the first position of each text's turn and context.

    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]


def fold_table() -> NDArray[np.float32]:
    """Return the value of each byte: no case, no digits apart, white space alike."""
    table = np.arange(256, dtype=np.float32)
    table[ord("A") : ord("Z") + 1] += ord("a") - ord("A")
    table[ord("1") : ord("9") + 1] = ord("0")
    table[1:32] = ord(" ")
    table[0] = table[SEPARATOR] = 0
    return table


_FOLD = fold_table().astype(np.int64)


def bags(texts: Sequence[tuple[bytes, bytes]], ngrams: Ngrams) -> Bags:
    """Hash the n-grams of (turn, context) pairs."""
    longest = ngrams.multipliers.shape[1]
    gap = bytes(longest)
    joined = b"".join(
        turn + bytes([SEPARATOR]) + context + gap if context else turn + gap
        for turn, context in texts
    )
    values = _FOLD[np.frombuffer(joined, np.uint8)]
    lengths = np.array([(len(turn), len(context)) for turn, context in texts], np.int64)
    used = np.frombuffer(joined, np.uint8) > 0
    used &= np.frombuffer(joined, np.uint8) != SEPARATOR
    starts = np.concatenate([[0], np.cumsum(lengths.ravel())[:-1]])
    return Bags(_ids(values, ngrams)[used], starts)


def _ids(values: NDArray[np.int64], ngrams: Ngrams) -> NDArray[np.int64]:
    orders, longest = ngrams.multipliers.shape
    padded = np.concatenate([values, np.zeros(longest, np.int64)])
    ids = np.zeros((len(values), orders), np.int64)
    for offset in range(longest):
        column = padded[offset : offset + len(values)]
        ids += column[:, None] * ngrams.multipliers[None, :, offset].astype(np.int64)
    return ids & ((1 << ngrams.table_bits) - 1)


def graph(
    ngrams: Ngrams,
    table: NDArray[np.int8],
    scale: float,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> onnx.ModelProto:
    """Build raw bytes -> embedding as a graph of standard operators.

    Args:
        ngrams: what is hashed.
        table: int8 [2 ** table_bits, width].
        scale: what one step of the table is worth.
        weight: float32 [2 * (width + 1), hidden], of the layer over the pooled sums of
            turn and context, each followed by its length feature.
        bias: float32 [hidden].

    Returns:
        `bytes` uint8 [batch, 1, length] -> `embedding` float32 [batch, hidden]. A row
        is the turn, then, if there is any, 0x1E and the context; zeros fill up.

    """
    hidden = weight.shape[1]
    nodes = [*_hash_nodes(ngrams.multipliers.shape[1]), *_pool_nodes(), *_layer_nodes()]
    inputs = [helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["batch", 1, "length"])]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", hidden])]
    tensors = _tensors(ngrams, table, scale, weight, bias)
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    body = helper.make_graph(nodes, "encoder", inputs, outputs, initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _hash_nodes(longest: int) -> list[onnx.NodeProto]:
    """Bytes -> ids; a byte of the context is looked up 256 places further on."""
    node = helper.make_node
    return [
        node("Cast", ["bytes"], ["byte"], to=TensorProto.INT32),
        node("Gather", ["separator", "byte"], ["separates"]),
        node("CumSum", ["separates", "length_axis"], ["separated"]),
        node("Min", ["separated", "one_alphabet"], ["context_offset"]),
        node("Add", ["byte", "context_offset"], ["symbol"]),
        node("Gather", ["fold", "symbol"], ["value"]),
        node("Conv", ["value", "multipliers"], ["hash"], pads=[0, longest - 1]),
        node("Cast", ["hash"], ["whole_hash"], to=TensorProto.INT32),
        node("BitwiseAnd", ["whole_hash", "id_mask"], ["ids"]),
    ]


def _pool_nodes() -> list[onnx.NodeProto]:
    """Ids -> sums of table rows over turn and context: a product of integer matrices."""
    node = helper.make_node
    return [
        node("Gather", ["table", "ids"], ["rows"]),
        node("Gather", ["segment", "symbol"], ["segments"]),
        node("Transpose", ["segments"], ["membership"], perm=[0, 1, 3, 2]),
        node("MatMulInteger", ["membership", "rows"], ["sums"]),
        node("Cast", ["sums"], ["order_sums"], to=TensorProto.FLOAT),
        node("ReduceSum", ["order_sums", "orders_axis"], ["pooled"], keepdims=0),
    ]


def _layer_nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Slice", ["pooled", "minus_one", "last", "width_axis"], ["count"]),
        node("Max", ["count", "one"], ["counted"]),
        node("Pow", ["counted", "length_power"], ["divisor"]),
        node("Div", ["pooled", "divisor"], ["normal"]),
        node("Flatten", ["normal"], ["features"], axis=1),
        node("Gemm", ["features", "weight", "bias"], ["hidden"]),
        node("Relu", ["hidden"], ["embedding"]),
    ]


def _tensors(
    ngrams: Ngrams,
    table: NDArray[np.int8],
    scale: float,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> dict[str, NDArray]:
    counted = np.concatenate([table, np.ones((len(table), 1), np.int8)], axis=1)
    scales = np.tile(np.append(np.full(table.shape[1], scale), COUNT_SCALE), SEGMENTS)
    separator = np.zeros(256, np.int32)
    separator[SEPARATOR] = 256
    return {
        "separator": separator,
        "length_axis": np.array(2, np.int64),
        "one_alphabet": np.array(256, np.int32),
        "fold": np.tile(fold_table(), SEGMENTS),
        "multipliers": ngrams.multipliers[:, None, :],
        "id_mask": np.array((1 << ngrams.table_bits) - 1, np.int32),
        "table": counted,
        "segment": _segments(),
        "orders_axis": np.array([1], np.int64),
        "minus_one": np.array([-1], np.int64),
        "last": np.array([np.iinfo(np.int64).max], np.int64),
        "width_axis": np.array([2], np.int64),
        "one": np.array(1, np.float32),
        "length_power": np.array(LENGTH_POWER, np.float32),
        "weight": (weight * scales[:, None]).astype(np.float32),
        "bias": bias.astype(np.float32),
    }


def _segments() -> NDArray[np.uint8]:
    """Return for each symbol whether it counts in the turn, and in the context."""
    segment = np.zeros((512, SEGMENTS), np.uint8)
    segment[1:256, 0] = segment[257:512, 1] = 1
    segment[[SEPARATOR, 256 + SEPARATOR]] = 0
    return segment
