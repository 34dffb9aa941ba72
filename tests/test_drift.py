import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2
from typer.testing import CliRunner

from router_ml.artifact import find_artifact, load_artifact
from router_ml.cli import app
from router_ml.errors import DataError
from router_ml.evaluation.drift import measure_drift, measure_label_drift
from router_ml.evaluation.embeddings import Embedder
from router_ml.evaluation.judging import Judge
from router_ml.evaluation.two_samples import _chi_squared_95, discrepancy, shift_of
from router_ml.examples import read_examples
from router_ml.request import ModelText

run = CliRunner().invoke
PROMPTS = Path(__file__).parent.parent / "training/prompts"
EVERYDAY, MORE = PROMPTS / "everyday-general.jsonl", PROMPTS / "everyday-two.jsonl"
TONGUES = PROMPTS / "test/world-languages.jsonl"
CHINESE, MATHS = PROMPTS / "zh-chat-life.jsonl", PROMPTS / "math-formal.jsonl"


@pytest.fixture(scope="module")
def judge(router):
    return Judge(router)


def test_a_shift_by_hand():
    """Shares 0.5, 0.5 and 0.8, 0.2: PSI 0.3 ln 1.6 - 0.3 ln 0.4 = 0.3 ln 4."""
    shift = shift_of({"a": 50_000, "b": 50_000}, {"a": 80_000, "b": 20_000})
    assert shift.psi == pytest.approx(0.3 * np.log(4), abs=1e-3)
    assert shift.js == pytest.approx(jensenshannon([0.5, 0.5], [0.8, 0.2], 2) ** 2)
    assert shift.verdict == "shifted"
    assert shift_of({"a": 3}, {"a": 9}).psi == 0


def test_a_category_that_is_new_or_gone_is_finite():
    shift = shift_of({"a": 10}, {"b": 10})
    assert 1 < shift.psi < 10
    assert shift.js == pytest.approx(1)
    assert (shift.before, shift.now) == ({"a": 1, "b": 0}, {"a": 0, "b": 1})


def test_chance_is_kept_apart_from_shift():
    assert _chi_squared_95(4) == pytest.approx(chi2.ppf(0.95, 4), rel=0.01)
    assert shift_of({"a": 4, "b": 6}, {"a": 6, "b": 4}).verdict == "by chance"
    draw = np.random.default_rng(0)
    exceeded = 0
    for _ in range(400):
        sides = [draw.multinomial(300, [0.1, 0.2, 0.3, 0.4]) for _ in range(2)]
        shift = shift_of(*[dict(zip("abcd", side.tolist(), strict=True)) for side in sides])
        exceeded += shift.psi > shift.psi_by_chance
    assert 0.02 < exceeded / 400 < 0.09


def mmd2_by_definition(x, y):
    both = np.concatenate([x, y])
    squares = ((both[:, None] - both[None]) ** 2).sum(-1)
    kernel = np.exp(-squares / np.median(squares[np.triu_indices(len(both), 1)]))
    m, n = len(x), len(y)
    within = [
        np.mean([kernel[i, j] for i in rows for j in rows if i != j])
        for rows in (range(m), range(m, m + n))
    ]
    return sum(within) - 2 * kernel[:m, m:].mean()


def test_mmd_is_what_its_definition_says():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(12, 3)), draw.normal(1, 1, size=(9, 3))
    found = discrepancy(x, y, permutations=99)
    assert found.mmd2 == pytest.approx(mmd2_by_definition(x, y), abs=1e-5)
    assert (found.p_value, found.rows_before, found.rows_now) == (0.01, 12, 9)


def test_p_is_even_where_nothing_shifted():
    draw = np.random.default_rng(1)
    p = [discrepancy(*draw.normal(size=(2, 30, 4)), permutations=99).p_value for _ in range(200)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.1
    assert np.mean(p) == pytest.approx(0.5, abs=0.07)


def test_equal_rows_are_no_shift():
    same = np.ones((5, 2))
    assert discrepancy(same, same).p_value == 1


def test_the_inner_tensor_is_the_one_that_onnx_extracts(tmp_path):
    artifact = load_artifact(find_artifact())
    texts = [example.text for example in read_examples([TONGUES])[:20]]
    model = onnx.load_from_string(artifact.model)
    model.graph.output.append(onnx.ValueInfoProto(name="embedding"))
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    embedder = Embedder(artifact)
    found = embedder.embed(texts)
    assert embedder.tensor == "embedding"
    for text, row in zip(texts, found, strict=True):
        joined = text.turn + (b"\x1e" + text.context if text.context else b"")
        alone = np.frombuffer(joined, np.uint8).reshape(1, 1, -1)
        assert session.run(["embedding"], {"bytes": alone})[0][0] == pytest.approx(row, abs=1e-4)


def test_a_graph_without_the_tensor_gives_its_probabilities():
    import msgspec

    artifact = load_artifact(find_artifact())
    renamed = artifact.model.replace(b"embedding", b"something")
    embedder = Embedder(msgspec.structs.replace(artifact, model=renamed))
    assert embedder.tensor == "probabilities"
    assert embedder.embed([ModelText(b"Prove it")]).shape == (1, 6)


def test_like_logs_have_not_drifted_and_other_tongues_have(judge, tmp_path):
    lines = [line for log in (EVERYDAY, MORE) for line in log.read_text().splitlines()]
    halves = [tmp_path / "even.jsonl", tmp_path / "odd.jsonl"]
    for start, half in enumerate(halves):
        half.write_text("\n".join(lines[start::2]))
    same = measure_drift(judge, halves[:1], halves[1:])
    assert same.routes.verdict != "shifted"
    assert same.embedding.p_value > 0.01
    assert same.new_share < 0.05
    other = measure_drift(judge, [TONGUES], [EVERYDAY, MORE])
    assert other.embedding.p_value == 0.001
    assert other.embedding.mmd2 > 5 * abs(same.embedding.mmd2)
    assert other.confidence.verdict == "shifted"


def test_a_log_against_itself(judge):
    found = measure_drift(judge, [EVERYDAY], [EVERYDAY])
    assert found.routes.psi == found.confidence.psi == 0
    assert found.embedding.p_value > 0.9
    assert (found.new, found.new_share) == ([], 0)


def test_the_order_of_files_is_no_drift(judge):
    """More rows than are tested, so that a test of the first ones would see but one file."""
    files = [PROMPTS / "zh-chat-life.jsonl", *sorted((PROMPTS / "test").glob("*.jsonl"))[:8]]
    found = measure_drift(judge, files[::-1], files)
    assert found.rows > 1500
    assert found.embedding.p_value > 0.01


def test_new_rows_are_ready_to_be_labelled(tmp_path):
    log, new = tmp_path / "log.jsonl", tmp_path / "new.jsonl"
    strange = {"prompt": "Prove that 3 divides n^3 - n", "id": "s", "labels": ["x"]}
    known = CHINESE.read_text().splitlines()
    log.write_text("\n".join([*known, json.dumps(strange), json.dumps(strange)]))
    command = ["drift", str(log), "--against", str(CHINESE), "--new", str(new)]
    result = run(app, command)
    assert result.exit_code == 0
    assert "MMD²" in result.stdout
    (row,) = map(json.loads, new.read_text().splitlines())
    assert (row["id"], row["prompt"]) == ("s", strange["prompt"])
    assert set(row) == {"id", "prompt", "suggested_labels", "route", "distance"}
    with pytest.raises(DataError, match="needs `labels`"):
        read_examples([new])
    row["labels"] = row.pop("suggested_labels")
    new.write_text(json.dumps(row))
    assert read_examples([new])
    assert json.loads(run(app, [*command, "--json"]).stdout)["rows"] == len(known) + 2


def test_no_more_new_rows_than_asked_for(judge):
    found = measure_drift(judge, [MATHS], [CHINESE], most=2)
    every = measure_drift(judge, [MATHS], [CHINESE])
    assert found.new == every.new[:2]
    assert found.new_share == every.new_share > 0.5
    assert all(row.distance > found.far for row in every.new)


def test_rows_without_text(judge, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": " "}\n{"prompt": "a"}')
    found = measure_drift(judge, [log], [EVERYDAY])
    assert (found.rows, found.embedding) == (2, None)
    with pytest.raises(DataError, match="fewer than two rows of text"):
        measure_drift(judge, [EVERYDAY], [log])


def test_against_the_training_data(judge, tmp_path):
    found = measure_label_drift(judge, [EVERYDAY])
    trained = judge.router.artifact.config.trained["data"]
    assert found.labels["math"].before["held"] == trained["labels"]["math"] / trained["rows"]
    shown = run(app, ["drift", str(EVERYDAY)])
    assert "the artifact's training data" in shown.stdout.replace("\n", " ")
    assert json.loads(run(app, ["drift", str(EVERYDAY), "--json"]).stdout)["rows"] == found.rows
    refused = run(app, ["drift", str(EVERYDAY), "--new", str(tmp_path / "n.jsonl")])
    assert refused.exit_code == 1
    assert "--against" in refused.stderr
