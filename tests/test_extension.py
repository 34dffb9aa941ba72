import json
import shutil

import numpy as np
import onnx
import pytest
from test_training import write_rows
from typer.testing import CliRunner

from router_ml import Router
from router_ml.artifact import load_artifact
from router_ml.classifier import Classifier
from router_ml.cli import app
from router_ml.errors import PolicyError, RecipeError
from router_ml.policy import Policy
from router_ml.request import model_text, read_request
from router_ml.router import default_policy
from router_ml.training import Recipe, train
from router_ml.training.former import LEARNED_FROM
from router_ml.training.recipe import DataRecipe, EncoderRecipe, HeadRecipe

ASKED = [
    "Prove that √2 is irrational",
    "the invoice and my refund, card charge",
    "如何做红烧肉",
    "which court hears a lawsuit over the contract clause",
    "write a poem about an invoice " * 40,
    "?",
]
SMALL = EncoderRecipe(table_bits=12, width=16)


def extend(path, place, **parts):
    recipe = {"name": "mine", "extend": "default", "encoder": SMALL, **parts}
    return train(Recipe(data=DataRecipe(files=(str(path),)), **recipe), place)


def probabilities(place):
    classifier = Classifier(load_artifact(place))
    texts = [model_text(read_request(text)) for text in ASKED]
    texts += [text._replace(context=b"an earlier turn") for text in texts]
    return classifier.labels, classifier.probabilities_many(texts)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    place = tmp_path_factory.mktemp("extended")
    path = write_rows(place / "rows.jsonl")
    return extend(path, place / "mine").path


def test_the_labels_extended_are_decided_as_before(extended, router):
    labels, found = probabilities(extended)
    before, alone = probabilities(router.artifact.path)
    assert labels == (*before, "billing", "legal")
    np.testing.assert_array_equal(found[:, : len(before)], alone)
    thresholds = load_artifact(extended).config.thresholds
    assert thresholds.items() >= router.artifact.config.thresholds.items()


def test_the_new_labels_are_learned_and_general_requests_carry_none(extended):
    router = Router.load(extended)
    decided = [router.route(text) for text in ASKED[:4]]
    assert [d.route for d in decided] == ["math", "billing", "chinese", "legal"]
    assert "math" in decided[0].labels
    assert not {"billing", "legal"} & set(decided[0].labels)


def test_golden_rows_have_all_labels_and_nothing_of_the_log(extended, router):
    rows = load_artifact(extended).golden()
    assert [row.turn for row in rows] == [row.turn for row in router.artifact.golden()]
    assert {len(row.probabilities) for row in rows} == {8}


def test_what_both_have_learned_from_is_remembered(extended, router):
    ours, theirs = (
        set(np.fromfile(place / LEARNED_FROM, "<u4")) for place in (extended, router.artifact.path)
    )
    assert ours > theirs


def test_the_card_and_the_config_name_what_is_extended(extended):
    config = load_artifact(extended).config
    assert config.trained["extends"]["name"] == "default"
    assert "(none)" not in config.thresholds
    assert "`default`" in (extended / "README.md").read_text()


def test_the_looser_tolerance_of_both_is_kept(tmp_path, router):
    loose = shutil.copytree(router.artifact.path, tmp_path / "loose")
    config = json.loads((loose / "config.json").read_text())
    (loose / "config.json").write_text(json.dumps(config | {"golden_tolerance": 0.1}))
    place = extend(write_rows(tmp_path / "rows.jsonl"), tmp_path / "mine", extend=str(loose)).path
    assert load_artifact(place).config.golden_tolerance == 0.1


def test_the_shipped_encoder_is_in_the_graph_once(tmp_path, router):
    path = write_rows(tmp_path / "rows.jsonl")
    place = extend(path, tmp_path / "mine", encoder=EncoderRecipe(kind="shipped")).path
    nodes = len(onnx.load(place / "model.onnx").graph.node)
    assert nodes - len(onnx.load_from_string(router.artifact.model).graph.node) == 4
    np.testing.assert_array_equal(
        probabilities(place)[1][:, :6], probabilities(router.artifact.path)[1]
    )


@pytest.mark.parametrize(
    "head", [HeadRecipe(), HeadRecipe("RandomForestClassifier", {"n_estimators": 9})]
)
def test_labels_that_hold_together(tmp_path, head):
    path = write_rows(tmp_path / "rows.jsonl", key="labels")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["labels"] = ["billing", "legal"]
    path.write_text("\n".join(map(json.dumps, lines)))
    place = extend(path, tmp_path / "mine", head=head).path
    assert "billing" in Router.load(place).route(ASKED[1]).labels


def test_an_extension_is_extended(tmp_path, extended):
    path = write_rows(tmp_path / "rows.jsonl")
    path.write_text(path.read_text().replace('"billing"', '"hr"').replace('"legal"', '"it"'))
    place = extend(path, tmp_path / "more", extend=str(extended)).path
    labels, found = probabilities(place)
    assert labels[-4:] == ("billing", "legal", "hr", "it")
    np.testing.assert_array_equal(found[:, :8], probabilities(extended)[1])


def test_rows_that_name_an_extended_label(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl")
    path.write_text(path.read_text().replace('"legal"', '"math"'))
    with pytest.raises(RecipeError, match="has the label 'math' already"):
        extend(path, tmp_path / "mine")


def test_what_chooses_exactly_one_label_cannot_be_extended(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl")
    one = train(Recipe(data=DataRecipe(files=(str(path),)), encoder=SMALL), tmp_path / "one")
    with pytest.raises(RecipeError, match="exactly one"):
        extend(path, tmp_path / "mine", extend=str(one.path))


def test_an_encoder_that_reads_something_else(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import ByteLevelBPETokenizer

    path = write_rows(tmp_path / "rows.jsonl")
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(path.read_text().splitlines(), 300, show_progress=False)
    model = StaticEmbedding(tokenizer._tokenizer, embedding_dim=16)
    sentence_transformers.SentenceTransformer(modules=[model]).save(str(tmp_path / "static"))
    encoder = EncoderRecipe(kind="static", model=str(tmp_path / "static"))
    with pytest.raises(RecipeError, match="one graph has one input"):
        extend(path, tmp_path / "mine", encoder=encoder)
    assert not (tmp_path / "mine").exists()


def test_the_new_labels_meet_the_policy(extended, router):
    policy = default_policy(load_artifact(extended).config.labels)
    routes = [rule.route for rule in policy.rules]
    assert routes[3:6] == ["billing", "legal", "math"]
    assert policy.rules[3].models == policy.least_demanding("general").models
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    asked = [{"role": "user", "content": [image, {"type": "text", "text": ASKED[1]}]}]
    assert Router.load(extended).route(asked).route == "vision"
    with pytest.raises(PolicyError, match="'billing' has no route: no rule of the policy"):
        Router.load(extended, policy=Policy.load())


def test_a_bare_extend_means_the_shipped_artifact(tmp_path, extended):
    path = write_rows(tmp_path / "rows.jsonl")
    mine = tmp_path / "mine"
    result = CliRunner().invoke(app, ["train", "--extend", str(path), "-o", str(mine)])
    assert result.exit_code == 0, result.output
    assert load_artifact(mine).config.trained["extends"]["name"] == "default"
    result = CliRunner().invoke(app, ["info", "--artifact", str(mine)])
    assert '"policy": "shipped, with one route for each further label"' in result.stdout
    again = ["train", str(path), "-o", str(mine), "--extend", str(extended)]
    result = CliRunner().invoke(app, again)
    assert result.exit_code == 1
    assert "has the label 'billing' already" in result.output
    result = CliRunner().invoke(app, ["train", str(path), "--extend", str(tmp_path / "typo")])
    assert "There is no artifact at" in result.output


def test_golden_rows_teach_and_are_not_judged(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl")
    data = DataRecipe(files=(str(path),), folds=3)
    trained = train(Recipe("mine", data=data, extend="default", encoder=SMALL), tmp_path / "mine")
    scores = trained.cross_validation.scores
    assert {score.rows for score in scores.values()} == {120}
    assert scores["majority class"].accuracy.value == pytest.approx(0.5, abs=0.02)
    assert trained.evaluations[0].rows == 120
    assert load_artifact(tmp_path / "mine").config.trained["data"]["labels"]["(none)"] >= 20
    assert not any("(none)" in sentence or "policy" in sentence for sentence in trained.advice)
