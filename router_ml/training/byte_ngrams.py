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
_INT8 = 127
_APART = 1 << 16
"""By how much the graph sets apart what a separator or a zero ends from what comes before.

More than a text has bytes, above the bits of both views, and 2**15 zeros of it fit in int32.
"""


class Ngrams(NamedTuple):
    """Which n-grams are hashed, and how.

    Attributes:
        multipliers: float32 [orders, views, longest], zero beyond each order's length and
            in the views it does not take; one view if all orders are of folded bytes.
        table_bits: log2 of the number of ids.
        edges: how many bytes the head and the tail of a turn have, at each scale.
        before: how far ahead of its position an n-gram begins: with 1, what a text starts
            with is unlike the same in its middle, as what it ends with is in any case.

    """

    multipliers: NDArray[np.float32]
    table_bits: int
    edges: tuple[int, ...] = EDGES
    before: int = 0

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
        before: int = 0,
    ) -> Ngrams:
        """Draw multipliers for n-grams of these lengths, of folded bytes and of shapes."""
        draw = np.random.default_rng(seed)
        kinds = [(0, order) for order in orders] + [(1, order) for order in shapes]
        longest = max(order for _, order in kinds)
        multipliers = np.zeros((len(kinds), 2 if shapes else 1, longest), np.float32)
        for row, (view, order) in enumerate(kinds):
            limit = min(_MULTIPLIER_LIMIT, _EXACT // (255 * order))
            multipliers[row, view, :order] = draw.integers(1, limit, order)
        return cls(multipliers, table_bits, edges, min(before, longest - 1))


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
    padded = np.pad(data, (ngrams.before, longest))
    seen = _VIEWS[:views, padded]
    ids = np.zeros((len(data), orders), np.int64)
    for row, view, offset in zip(*np.nonzero(ngrams.multipliers), strict=True):
        factor = int(ngrams.multipliers[row, view, offset])
        ids[:, row] += factor * seen[view, offset : offset + len(data)]
    return ids & ((1 << ngrams.table_bits) - 1)


def round_columns(
    table: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a table to the 255 whole steps that are kept, and return each column's step."""
    scale = np.maximum(np.abs(table).max(axis=0), np.finfo(np.float32).tiny) / _INT8
    return np.round(table / scale).astype(np.int8), scale.astype(np.float32)


def graph(
    ngrams: Ngrams,
    table: NDArray[np.int8],
    layer: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    members: int = 1,
    scale: NDArray[np.float32] | None = None,
) -> onnx.ModelProto:
    """Build raw bytes -> embedding as a graph of standard operators.

    Args:
        ngrams: what is hashed, and which segments are pooled.
        table: int8 [2 ** table_bits, width].
        layer: weight, float32 [segments * width, hidden], and bias, float32 [hidden], of
            a layer over the segments' sums; None: no layer.
        members: how many equal parts of a sum are each brought to length 1.
        scale: of the table's columns, float32 [width]. The last column is then what an n-gram
            adds to the square of its text's length: the sums are divided by that length, which
            is 1 at least, and the embedding has a column less a segment. None: the table is of
            any scale, and the sums are brought to length 1.

    Returns:
        `bytes` uint8 [batch, 1, length] -> `embedding` float32
        [batch, hidden + segments * width]: the layer, then what it was computed from,
        since a head for other labels needs what this one may have thrown away. A row is
        the turn, then, if there is any, 0x1E and the context; zeros fill up. It has no
        other 0x1E or zero, and fewer than 2 ** 15 bytes.

    """
    columns = table.shape[1] - (scale is not None)
    normal_nodes, normal_tensors = (
        _unit_lengths(members, columns) if scale is None else _given_lengths(scale)
    )
    nodes = [*_hash_nodes(ngrams), *_segment_nodes(), *_pool_nodes()]
    nodes += [*normal_nodes, *_layer_nodes(layer is not None)]
    width = ngrams.segments * columns + (layer[0].shape[1] if layer else 0)
    inputs = [helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["batch", 1, "length"])]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])]
    tensors = _tensors(ngrams, table) | normal_tensors
    if layer:
        tensors |= {"weight": layer[0].astype(np.float32), "bias": layer[1].astype(np.float32)}
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    body = helper.make_graph(nodes, "encoder", inputs, outputs, initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _hash_nodes(ngrams: Ngrams) -> list[onnx.NodeProto]:
    """Bytes -> what is known of each, int32 [batch, 1, length], and ids [batch, orders, length].

    Ids are int64, since rows are then looked up faster than by int32.
    """
    node = helper.make_node
    longest, before = ngrams.multipliers.shape[2], ngrams.before
    return [
        node("Cast", ["bytes"], ["byte"], to=TensorProto.INT32),
        node("Gather", ["byte_facts", "byte"], ["facts"]),
        node("BitwiseAnd", ["facts", "view_bits"], ["view_bytes"]),
        node("Cast", ["view_bytes"], ["views"], to=TensorProto.FLOAT),
        node("Conv", ["views", "multipliers"], ["hash"], pads=[before, longest - 1 - before]),
        node("Cast", ["hash"], ["whole_hash"], to=TensorProto.INT64),
        node("BitwiseAnd", ["whole_hash", "id_mask"], ["ids"]),
    ]


def _segment_nodes() -> list[onnx.NodeProto]:
    """Facts -> which positions count in each segment, uint8 [batch, segments, length].

    A position's place is how many bytes of text there are up to it, less `_APART` for each
    separator or zero: 1 is where the turn begins, and all beyond it is far below. Every
    segment is what lies near one place, so that one comparison finds them all.
    """
    node = helper.make_node
    return [
        node("Min", ["facts", "one"], ["step"]),
        node("CumSum", ["step", "length_axis"], ["place"]),
        node("ReduceMax", ["place", "length_axes"], ["turn_length"]),  # negative without a turn
        node("Add", ["turn_length", "centre_from_end"], ["moving_centre"]),
        node("Max", ["moving_centre", "least_centre"], ["centre"]),
        node("Sub", ["place", "centre"], ["from_centre"]),
        node("Abs", ["from_centre"], ["distance"]),
        node("Less", ["distance", "radius"], ["is_member"]),
        node("Cast", ["is_member"], ["membership"], to=TensorProto.UINT8),
    ]


def _pool_nodes() -> list[onnx.NodeProto]:
    """Ids -> sums of table rows over each segment: one product of integer matrices."""
    node = helper.make_node
    return [
        node("Tile", ["membership", "once_an_order"], ["memberships"]),
        node("Flatten", ["ids"], ["all_ids"], axis=1),
        node("Gather", ["table", "all_ids"], ["rows"]),
        node("MatMulInteger", ["memberships", "rows"], ["sums"]),
        node("Cast", ["sums"], ["pooled"], to=TensorProto.FLOAT),
    ]


def _unit_lengths(members: int, columns: int) -> tuple[list[onnx.NodeProto], dict[str, NDArray]]:
    """Sums -> sums of length 1, member by member."""
    node = helper.make_node
    if members == 1:
        return [node("LpNormalization", ["pooled"], ["normal"], axis=2, p=2)], {}
    nodes = [
        node("Reshape", ["pooled", "by_member"], ["split"]),
        node("LpNormalization", ["split"], ["normal"], axis=3, p=2),
    ]
    return nodes, {"by_member": np.array([0, 0, members, columns // members], np.int64)}


def _given_lengths(scale: NDArray[np.float32]) -> tuple[list[onnx.NodeProto], dict[str, NDArray]]:
    """Sums -> sums over the length that the last column gives."""
    node = helper.make_node
    nodes = [
        node("Mul", ["pooled", "scale"], ["rescaled"]),
        node("Split", ["rescaled", "columns"], ["directed", "square"], axis=2),
        node("Max", ["square", "least"], ["square_of_some"]),
        node("Sqrt", ["square_of_some"], ["its_length"]),
        node("Div", ["directed", "its_length"], ["normal"]),
    ]
    return nodes, {
        "scale": scale.astype(np.float32),
        "columns": np.array([len(scale) - 1, 1], np.int64),
        "least": np.array(1, np.float32),
    }


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
    orders, views, _ = ngrams.multipliers.shape
    shift = 256 ** np.arange(views)[:, None]  # where a view lies in a byte's facts
    return {
        "byte_facts": _byte_facts(),
        "view_bits": (255 * shift).astype(np.int32),
        "multipliers": (ngrams.multipliers / shift).astype(np.float32),
        "id_mask": np.array((1 << ngrams.table_bits) - 1, np.int64),
        "one": np.array(1, np.int32),
        "length_axis": np.array(2, np.int64),
        "length_axes": np.array([2], np.int64),
        **_segment_tensors(ngrams.edges),
        "once_an_order": np.array([1, 1, orders], np.int64),
        "table": table,
    }


def _byte_facts() -> NDArray[np.int32]:
    """Return both views of each byte in one number; of what ends a text, -`_APART` alone.

    Both, needed or not: so the graphs of two encoders can share what they know of bytes.
    """
    fold, shape = _VIEWS.astype(np.int32)
    return np.where(fold > 0, fold + 256 * shape, -_APART).astype(np.int32)


def _segment_tensors(edges: Sequence[int]) -> dict[str, NDArray]:
    """Return where each segment is: what is nearer to its centre than its radius.

    A centre moves with the turn's length, `centre_from_end` beyond it, but stays at
    `least_centre` where there is no turn, or if the first is far below all places.
    """
    stays, half, quarter = -(1 << 30), _APART // 2, _APART // 4
    context = quarter + 1 - _APART  # so that it begins one beyond the separator
    segments = [(stays, half, half), (context, context, quarter + 1)]
    for edge in edges:
        head, tail = (stays, 0, edge + 1), (0, 0, edge)
        segments += [head, tail]
    columns = np.array(segments, np.int32).T[:, :, None]
    return dict(zip(("centre_from_end", "least_centre", "radius"), columns, strict=True))
