"""Hashed byte n-grams: the same arithmetic in numpy (training) and in ONNX (serving).

The n-gram of `n` bytes at a position has the id

    (m[0] * view[b[0]] + ... + m[n-1] * view[b[n-1]])  modulo  2 ** table_bits

with fixed random multipliers. Their size keeps every sum below 2**24, where float32
is exact, so that one convolution computes all ids whatever the language or machine.

A byte is viewed in two ways: folded, which says what word it is part of, and by its
shape, a letter, digit or script. Shapes are few, so that long n-grams of them recur in
texts that share no word: lines of code, equations, options, tables, verse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SEPARATOR = 0x1E
"""Ends the turn and begins the context; the text itself has no controls."""

EDGES = (24, 128)
"""How many bytes of the turn are its head and its tail, at each scale.

An instruction stands at an end of what it is about: "translate" at the head of a paste
asks for something else than in its middle.
"""

_EXACT, _MULTIPLIER_LIMIT = 1 << 24, 8191


class Ngrams(NamedTuple):
    """Which n-grams are hashed, and how.

    Attributes:
        multipliers: float32 [orders, views, longest], zero beyond each order's length and
            in the views it does not take; one view if all orders are of folded bytes.
        table_bits: log2 of the number of ids.
        edges: how many bytes the head and the tail of a turn have, at each scale.

    """

    multipliers: NDArray[np.float32]
    table_bits: int
    edges: tuple[int, ...] = EDGES

    @property
    def segments(self) -> int:
        """How many are pooled apart: the turn, its context, a head and a tail an edge."""
        return 2 + 2 * len(self.edges)

    @classmethod
    def make(
        cls,
        orders: Sequence[int],
        table_bits: int,
        seed: int,
        *,
        shapes: Sequence[int] = (),
        edges: tuple[int, ...] = EDGES,
    ) -> Ngrams:
        """Draw multipliers for n-grams of these lengths, of folded bytes and of shapes."""
        draw = np.random.default_rng(seed)
        kinds = [(0, order) for order in orders] + [(1, order) for order in shapes]
        longest = max(order for _, order in kinds)
        multipliers = np.zeros((len(kinds), 2 if shapes else 1, longest), np.float32)
        for row, (view, order) in enumerate(kinds):
            limit = min(_MULTIPLIER_LIMIT, _EXACT // (255 * order))
            multipliers[row, view, :order] = draw.integers(1, limit, order)
        return cls(multipliers, table_bits, edges)


class Bags(NamedTuple):
    """N-gram ids of a batch.

    Attributes:
        ids: int64 [positions, orders], segment after segment.
        starts: int64 [batch * segments]: the first position of each text's segments.

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


def shape_table() -> NDArray[np.float32]:
    """Return the shape of each byte: letters and digits alike but for case, a new line
    unlike a space; a character of three bytes or more begins unlike one of two, since the
    scripts of the East come first among them.
    """
    table = np.arange(256, dtype=np.float32)
    table[ord("A") : ord("Z") + 1] = ord("A")
    table[ord("a") : ord("z") + 1] = ord("a")
    table[ord("0") : ord("9") + 1] = ord("0")
    table[0x80:0xE3], table[0xE3:] = 200, 250
    table[SEPARATOR] = 0
    return table


_VIEWS = np.stack([fold_table(), shape_table()]).astype(np.int64)


def bags(texts: Sequence[tuple[bytes, bytes]], ngrams: Ngrams) -> Bags:
    """Hash the n-grams of (turn, context) pairs, laid out as the graph reads them."""
    gap = ngrams.multipliers.shape[2]
    joined = b"".join(turn + b"\x1e" + context + bytes(gap) for turn, context in texts)
    ids = _ids(np.frombuffer(joined, np.uint8), ngrams)
    spans = list(_spans(texts, gap, ngrams.edges))
    lengths = np.array([end - start for start, end in spans], np.int64)
    positions = np.concatenate([np.arange(start, end) for start, end in spans])
    return Bags(ids[positions], np.concatenate([[0], np.cumsum(lengths)[:-1]]))


def _spans(
    texts: Sequence[tuple[bytes, bytes]], gap: int, edges: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Yield where each text's segments lie in the joined bytes."""
    start = 0
    for turn, context in texts:
        end = start + len(turn)
        last = end + 1 + len(context)
        yield start, end
        yield end + 1, last
        for edge in edges:
            yield start, min(start + edge, end)
            yield max(start, end - edge), end
        start = last + gap


def _ids(data: NDArray[np.uint8], ngrams: Ngrams) -> NDArray[np.int64]:
    orders, views, longest = ngrams.multipliers.shape
    padded = np.concatenate([data, np.zeros(longest, np.uint8)])
    seen = _VIEWS[:views, padded]
    ids = np.zeros((len(data), orders), np.int64)
    for row, view, offset in zip(*np.nonzero(ngrams.multipliers), strict=True):
        factor = int(ngrams.multipliers[row, view, offset])
        ids[:, row] += factor * seen[view, offset : offset + len(data)]
    return ids & ((1 << ngrams.table_bits) - 1)


def graph(
    ngrams: Ngrams,
    table: NDArray[np.int8],
    layer: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    members: int = 1,
) -> onnx.ModelProto:
    """Build raw bytes -> embedding as a graph of standard operators.

    Args:
        ngrams: what is hashed, and which segments are pooled.
        table: int8 [2 ** table_bits, width], of any scale: sums are brought to length 1.
        layer: weight, float32 [segments * width, hidden], and bias, float32 [hidden], of
            a layer over the segments' sums; None: no layer.
        members: how many equal parts of a sum are each brought to length 1.

    Returns:
        `bytes` uint8 [batch, 1, length] -> `embedding` float32
        [batch, hidden + segments * width]: the layer, then what it was computed from,
        since a head for other labels needs what this one may have thrown away. A row is
        the turn, then, if there is any, 0x1E and the context; zeros fill up.

    """
    nodes = [*_hash_nodes(ngrams), *_segment_nodes(ngrams.edges)]
    nodes += [*_pool_nodes(), *_normal_nodes(members), *_layer_nodes(layer is not None)]
    width = ngrams.segments * table.shape[1] + (layer[0].shape[1] if layer else 0)
    inputs = [helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["batch", 1, "length"])]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])]
    tensors = _tensors(ngrams, table)
    if members > 1:
        tensors["by_member"] = np.array([0, 0, members, table.shape[1] // members], np.int64)
    if layer:
        tensors |= {"weight": layer[0].astype(np.float32), "bias": layer[1].astype(np.float32)}
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    body = helper.make_graph(nodes, "encoder", inputs, outputs, initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _hash_nodes(ngrams: Ngrams) -> list[onnx.NodeProto]:
    """Bytes -> ids; a byte of the context is looked up 256 places further on."""
    node = helper.make_node
    _, views, longest = ngrams.multipliers.shape
    view_nodes = [node("Gather", ["fold", "symbol"], ["folded" if views > 1 else "views"])]
    if views > 1:
        view_nodes += [
            node("Gather", ["shape", "symbol"], ["shaped"]),
            node("Concat", ["folded", "shaped"], ["views"], axis=1),
        ]
    return [
        node("Cast", ["bytes"], ["byte"], to=TensorProto.INT32),
        node("Gather", ["separator", "byte"], ["separates"]),
        node("CumSum", ["separates", "length_axis"], ["separated"]),
        node("Min", ["separated", "one_alphabet"], ["context_offset"]),
        node("Add", ["byte", "context_offset"], ["symbol"]),
        *view_nodes,
        node("Conv", ["views", "multipliers"], ["hash"], pads=[0, longest - 1]),
        node("Cast", ["hash"], ["whole_hash"], to=TensorProto.INT32),
        node("BitwiseAnd", ["whole_hash", "id_mask"], ["ids"]),
    ]


def _segment_nodes(edges: Sequence[int]) -> list[onnx.NodeProto]:
    """Symbols -> which positions count in each segment, uint8 [batch, 1, segments, length]."""
    node = helper.make_node
    nodes = [
        node("Gather", ["turn_symbol", "symbol"], ["in_turn"]),
        node("Gather", ["context_symbol", "symbol"], ["context"]),
        node("Cast", ["in_turn"], ["turn"], to=TensorProto.BOOL),
    ]
    if edges:  # compared and masked together: each operator costs half a microsecond
        near = [f"within_{edge}" for edge in edges]
        nodes += [
            node("CumSum", ["in_turn", "length_axis"], ["from_head"]),
            node("CumSum", ["in_turn", "length_axis"], ["from_tail"], reverse=1),
            node("Concat", ["from_head", "from_tail"], ["from_ends"], axis=1),
            *(node("Less", ["from_ends", f"beyond_{e}"], [f"within_{e}"]) for e in edges),
            node("Concat", near, ["near_ends"], axis=1),
            node("And", ["near_ends", "turn"], ["ends"]),
        ]
    return [
        *nodes,
        node("Concat", ["turn", "context", *(["ends"] if edges else [])], ["segments"], axis=1),
        node("Cast", ["segments"], ["counts_in"], to=TensorProto.UINT8),
        node("Unsqueeze", ["counts_in", "orders_axis"], ["membership"]),
    ]


def _pool_nodes() -> list[onnx.NodeProto]:
    """Ids -> sums of table rows over each segment: a product of integer matrices."""
    node = helper.make_node
    return [
        node("Gather", ["table", "ids"], ["rows"]),
        node("MatMulInteger", ["membership", "rows"], ["sums"]),
        node("Cast", ["sums"], ["order_sums"], to=TensorProto.FLOAT),
        node("ReduceSum", ["order_sums", "orders_axis"], ["pooled"], keepdims=0),
    ]


def _normal_nodes(members: int) -> list[onnx.NodeProto]:
    """Sums -> their directions, member by member."""
    node = helper.make_node
    if members == 1:
        return [node("LpNormalization", ["pooled"], ["normal"], axis=2, p=2)]
    return [
        node("Reshape", ["pooled", "by_member"], ["split"]),
        node("LpNormalization", ["split"], ["normal"], axis=3, p=2),
    ]


def _layer_nodes(layer: bool) -> list[onnx.NodeProto]:
    node = helper.make_node
    if not layer:
        return [node("Flatten", ["normal"], ["embedding"], axis=1)]
    return [
        node("Flatten", ["normal"], ["features"], axis=1),
        node("Gemm", ["features", "weight", "bias"], ["layer"]),
        node("Relu", ["layer"], ["hidden"]),
        node("Concat", ["hidden", "features"], ["embedding"], axis=1),
    ]


def _tensors(ngrams: Ngrams, table: NDArray[np.int8]) -> dict[str, NDArray]:
    separator = np.zeros(256, np.int32)
    separator[SEPARATOR] = 256
    return {
        "separator": separator,
        "length_axis": np.array(2, np.int64),
        "one_alphabet": np.array(256, np.int32),
        "fold": np.tile(fold_table(), 2),
        **({"shape": np.tile(shape_table(), 2)} if ngrams.multipliers.shape[1] > 1 else {}),
        "multipliers": ngrams.multipliers,
        "id_mask": np.array((1 << ngrams.table_bits) - 1, np.int32),
        "table": table,
        "turn_symbol": _symbols(1).astype(np.int32),
        "context_symbol": _symbols(257),
        **{f"beyond_{edge}": np.array(edge + 1, np.int32) for edge in ngrams.edges},
        "orders_axis": np.array([1], np.int64),
    }


def _symbols(first: int) -> NDArray[np.bool_]:
    """Mark the 255 symbols from `first` on, but for the separator: those of a text."""
    marked = np.zeros(512, np.bool_)
    marked[first : first + 255] = True
    marked[[SEPARATOR, 256 + SEPARATOR]] = False
    return marked
