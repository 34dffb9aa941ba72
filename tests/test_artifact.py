"""Artifacts that are malformed, and the sentence each gets."""

import hashlib
import json
import shutil

import msgspec
import pytest

from router_ml import Router
from router_ml.artifact import find_artifact, load_artifact
from router_ml.classifier import check_replay
from router_ml.errors import ArtifactCorrupt, ArtifactNotFound
from router_ml.request import TEXT_VERSION

onnx = pytest.importorskip("onnx")


@pytest.fixture
def copy(tmp_path):
    target = tmp_path / "copy"
    shutil.copytree(find_artifact(), target)
    return target


def change(copy, **changes):
    config = copy / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


def put(copy, name, data):
    """Write a file and list it in the config."""
    (copy / name).write_bytes(data)
    files = json.loads((copy / "config.json").read_text())["files"]
    files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    change(copy, files=files)


def graph(inputs, output="probabilities", shape=("batch", 6)):
    """A graph whose inputs go nowhere."""
    made = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.INT64, ["n"]) for n in inputs]
    out = onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, shape)
    value = onnx.helper.make_tensor(
        "v", onnx.TensorProto.FLOAT, [1, 6] if shape else [], [0.5] * (6 if shape else 1)
    )
    node = onnx.helper.make_node("Constant", [], [output], value=value)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", made, [out]),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return model.SerializeToString()


TOKENS = {"kind": "tokens", "text_version": TEXT_VERSION, "max_tokens": 16}


@pytest.mark.parametrize(
    "content", ["[" * 99_999, '{"schema_version": 1, "trained": ' + "[" * 99_999]
)
def test_deeply_nested_config(copy, content):
    (copy / "config.json").write_text(content)
    with pytest.raises(ArtifactCorrupt, match="nested too deeply"):
        load_artifact(copy)


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_thresholds_are_probabilities(copy, threshold):
    thresholds = json.loads((copy / "config.json").read_text())["thresholds"]
    change(copy, thresholds=thresholds | {"math": threshold})
    with pytest.raises(ArtifactCorrupt, match="thresholds"):
        load_artifact(copy)


def test_files_that_must_be_listed(copy):
    change(copy, input=TOKENS)
    with pytest.raises(ArtifactCorrupt, match=r"lists no tokenizer\.json"):
        load_artifact(copy)
    change(copy, files={})
    with pytest.raises(ArtifactCorrupt, match=r"lists no model\.onnx"):
        load_artifact(copy)


def test_a_tokenizer_that_is_none(copy):
    pytest.importorskip("tokenizers")
    change(copy, input=TOKENS)
    put(copy, "tokenizer.json", b"{}")
    put(copy, "model.onnx", graph(["input_ids", "attention_mask"]))
    with pytest.raises(ArtifactCorrupt, match="no tokenizer"):
        Router.load(copy)


def test_input_names_fit_the_input_kind(copy):
    put(copy, "model.onnx", graph(["input_ids", "attention_mask"]))
    with pytest.raises(ArtifactCorrupt, match="takes attention_mask, input_ids where"):
        Router.load(copy)
    put(copy, "model.onnx", graph([]))
    with pytest.raises(ArtifactCorrupt, match="takes nothing where"):
        Router.load(copy)


@pytest.mark.parametrize(
    ("output", "shape", "problem"),
    [
        ("other", ("batch", 6), "no output named `probabilities`"),
        ("probabilities", (), "gives None probabilities"),
    ],
)
def test_outputs_fit_the_labels(copy, output, shape, problem):
    put(copy, "model.onnx", graph(["bytes"], output, shape))
    with pytest.raises(ArtifactCorrupt, match=problem):
        Router.load(copy)


@pytest.mark.parametrize(
    "row", [b"{", b"[" * 99_999, b"\xff", b'{"turn": "a", "probabilities": [0.5]}']
)
def test_golden_rows_that_are_none(copy, row):
    put(copy, "golden.jsonl", row)
    with pytest.raises(ArtifactCorrupt, match="jsonl:1 "):
        load_artifact(copy).golden()


def test_names_that_no_file_can_have():
    with pytest.raises(ArtifactNotFound, match="no artifact at aaa"):
        find_artifact("a" * 5000)


def test_a_file_that_cannot_be_read(copy):
    files = json.loads((copy / "config.json").read_text())["files"]
    change(copy, files={"a" * 5000: files["golden.jsonl"], **files})
    with pytest.raises(ArtifactNotFound, match="cannot be read"):
        load_artifact(copy)


def test_a_replay_finds_the_largest_difference(router):
    first, *others = router.artifact.golden()
    assert router.classifier.replay([]) == 0
    assert router.classifier.replay(others) < 1e-5
    off = (first.probabilities[0] + 0.25, *first.probabilities[1:])
    changed = type(first)(first.turn, off, first.context)
    assert router.classifier.replay([changed, *others]) == pytest.approx(0.25, abs=1e-4)


def test_a_graph_that_rounds_may_differ_by_more_elsewhere(router):
    artifact = router.artifact
    config = msgspec.structs.replace(artifact.config, golden_tolerance=0.1)
    check_replay(msgspec.structs.replace(artifact, config=config), 0.05)
    with pytest.raises(ArtifactCorrupt, match="at most 1e-04"):
        check_replay(artifact, 0.05)


def test_a_tolerance_is_written_only_where_it_is_another(router):
    config = router.artifact.config
    written = (router.artifact.path / "config.json").read_bytes()
    assert msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n" == written
    other = msgspec.json.encode(msgspec.structs.replace(config, golden_tolerance=0.1))
    assert msgspec.json.decode(other, type=type(config)).golden_tolerance == 0.1
