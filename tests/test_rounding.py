import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from router_ml.training.rounding import rounded

DRAW = np.random.default_rng(0)
TENSORS = {
    "table": DRAW.normal(size=(50, 16)).astype(np.float32),
    "weight": DRAW.normal(size=(16, 24)).astype(np.float32),
    "other": DRAW.normal(size=(16, 24)).astype(np.float32),
}


def graph(tensors=TENSORS):
    """Two products of the same rows of a table."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "ids"], ["rows"]),
        node("MatMul", ["rows", "weight"], ["one"]),
        node("MatMul", ["rows", "other"], ["two"]),
        node("Add", ["one", "two"], ["sum"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])
    found = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", "length", 24])
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    body = helper.make_graph(nodes, "products", [ids], [found], initializers)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model, ids):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"ids": np.array(ids)})[0]


def test_a_rounded_graph_says_nearly_the_same():
    ids = DRAW.integers(0, 50, (8, 5))
    exact, found = run(graph(), ids), run(rounded(graph()), ids)
    assert 0 < np.abs(found - exact).max() < 0.03 * np.abs(exact).max()


def test_its_sums_are_those_of_whole_numbers():
    small = rounded(graph())
    parts = {t.name: numpy_helper.to_array(t) for t in small.graph.initializer}
    rows = parts["table/int8_1"] * parts["table/scale_1"]
    scale = np.abs(rows).max(axis=1, keepdims=True) / 127
    whole = np.rint(rows / scale)
    each = [
        whole @ parts[f"{n}/int8_0"] * parts[f"{n}/scale_0"] * scale for n in ("weight", "other")
    ]
    np.testing.assert_allclose(run(small, [[*range(50)]])[0], sum(each), rtol=1e-4, atol=1e-4)


def test_no_float_weights_are_left_and_equal_rows_are_rounded_once():
    small = rounded(graph())
    floats = [t for t in small.graph.initializer if t.data_type == TensorProto.FLOAT]
    assert max(np.prod(t.dims) for t in floats) <= 50
    assert [node.op_type for node in small.graph.node].count("Round") == 1


def test_no_product_of_two_bytes_overflows_16_bits():
    small = rounded(graph())
    parts = {t.name: numpy_helper.to_array(t) for t in small.graph.initializer}
    assert 2 * 255 * np.abs(parts["weight/int8_0"].astype(int)).max() < 2**15


def test_a_matrix_may_be_looked_up_and_multiplied_with():
    square = DRAW.normal(size=(16, 16)).astype(np.float32)
    node = helper.make_node
    nodes = [
        node("Gather", ["square", "ids"], ["rows"]),
        node("MatMul", ["rows", "square"], ["found"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, ["batch", 16])
    initializers = [numpy_helper.from_array(square, "square")]
    body = helper.make_graph(nodes, "both", [ids], [found], initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    exact = square @ square
    np.testing.assert_allclose(
        run(rounded(model), [*range(16)]), exact, atol=0.03 * np.abs(exact).max()
    )


def test_a_row_does_not_depend_on_the_rows_beside_it():
    sizes = np.geomspace(1, 1e3, 50, dtype=np.float32)[:, None]
    small = rounded(graph({**TENSORS, "table": TENSORS["table"] * sizes}))
    together = run(small, [[0, 49]])
    np.testing.assert_array_equal(together[:, :1], run(small, [[0]]))


def test_zeros_stay_zeros():
    nothing = {name: np.zeros_like(value) for name, value in TENSORS.items()}
    np.testing.assert_array_equal(run(rounded(graph(nothing)), [[3, 4]]), 0)


def test_what_it_is_given_is_left_alone():
    model = graph()
    before = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(rounded(model))
    assert model.SerializeToString(deterministic=True) == before
