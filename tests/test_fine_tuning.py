import re

import numpy as np
import pytest
from test_training import recipe_for, write_rows
from typer.testing import CliRunner

from router_ml import Router
from router_ml.artifact import load_artifact
from router_ml.cli import app
from router_ml.errors import RecipeError, TrainingError
from router_ml.training import train
from router_ml.training.recipe import DataRecipe, EncoderRecipe, FineTuneRecipe, Recipe

torch = pytest.importorskip("torch")
TUNED = FineTuneRecipe(epochs=3, learning_rate=1e-2)


def encoder_for(model, **parts):
    return EncoderRecipe(kind="transformer", model=model, max_tokens=32, **parts)


def test_what_is_trained_further_is_better_than_as_it_is_and_is_served(tmp_path, tiny):
    rows, model = tiny
    data = DataRecipe(files=(str(rows),), folds=2)
    recipe = Recipe(name="mine", data=data, encoder=encoder_for(model, fine_tune=TUNED))
    trained = train(recipe, tmp_path / "mine")
    scores = trained.cross_validation.scores
    assert scores["the encoder as it is"].lead.high < 0
    assert trained.cross_validation.repeats == 1
    assert trained.parity < 1e-4
    config = load_artifact(trained.path).config
    assert config.trained["encoder"]["fine_tuned"] == "3 epochs for contrast"
    assert Router.load(trained.path).route("lawyer and court, a contract clause").route == "legal"


def test_a_model_as_it_is_stays_so(tmp_path, tiny):
    rows, model = tiny
    trained = train(recipe_for(rows, encoder=encoder_for(model)), tmp_path / "mine")
    config = load_artifact(trained.path).config
    assert config.golden_tolerance == 1e-4
    assert "fine_tuned" not in config.trained["encoder"]


def test_the_same_seed_trains_the_same(tmp_path, tiny):
    rows, model = tiny
    recipe = recipe_for(rows, encoder=encoder_for(model, fine_tune=TUNED))
    places = [train(recipe, tmp_path / name).path for name in ("a", "b")]
    first, second = ((place / "model.onnx").read_bytes() for place in places)
    assert first == second


def test_only_sentence_transformers_models_are_trained_further(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl")
    recipe = recipe_for(rows, encoder=EncoderRecipe(fine_tune=TUNED))
    with pytest.raises(RecipeError, match="'ngrams' is none"):
        train(recipe, tmp_path / "mine")
    result = CliRunner().invoke(app, ["train", str(rows), "--fine-tune", "--encoder", "shipped"])
    assert result.exit_code == 1
    assert "'shipped' is none" in " ".join(result.output.split())


def test_the_loss_by_hand():
    from router_ml.training.objectives import contrast

    embeddings = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    together = torch.kron(torch.eye(2), torch.ones(2, 2))
    expected = np.log(np.exp(10) + 2) - 10
    np.testing.assert_allclose(contrast(embeddings, together), [expected] * 4, rtol=1e-3)
    alone = torch.eye(4)
    assert contrast(embeddings, alone).tolist() == [0.0] * 4


def test_every_row_is_beside_one_that_shares_a_label():
    from router_ml.training.objectives import Contrast

    carried = np.array([[1, 0], [1, 1], [0, 1], [0, 1], [1, 0]], np.float32)
    seen = []
    for rows in Contrast(carried).batches(FineTuneRecipe(epochs=2, batch_size=4), seed=0):
        half = len(rows) // 2
        seen += rows[:half].tolist()
        assert ((carried[rows[:half]] * carried[rows[half:]]).sum(axis=1) > 0).all()
    assert sorted(seen) == sorted([*range(5)] * 2)


@pytest.mark.parametrize("key", ["label", "labels"])
def test_trained_to_predict_labels_and_rounded(tmp_path, minilm, key):
    rows = write_rows(tmp_path / "rows.jsonl", rows=60, key=key)
    tuned = FineTuneRecipe("labels", epochs=1, batch_size=16, precision="bfloat16")
    encoder = EncoderRecipe(
        kind="transformer", model=minilm, max_tokens=64, fine_tune=tuned, int8=True
    )
    trained = train(recipe_for(rows, encoder=encoder), tmp_path / "mine")
    assert trained.parity < 1e-4
    assert (trained.path / "model.onnx").stat().st_size < 24e6
    config = load_artifact(trained.path).config
    assert config.golden_tolerance == 0.1
    about = config.trained["encoder"]
    assert about["fine_tuned"] == "1 epoch for labels"
    before = r"int8 \(before rounding the export differs from the model by at most (\S+); cosine of"
    assert 0 < float(re.match(before, about["weights"])[1]) < 1e-4
    assert about["weights"] in (trained.path / "README.md").read_text()
    assert Router.load(trained.path).route("the lawyer and the court contract").route == "legal"


def test_trained_to_predict_labels_is_better_than_as_it_is(tmp_path, tiny):
    rows, model = tiny
    tuned = FineTuneRecipe("labels", epochs=6, batch_size=8, learning_rate=1e-2)
    data = DataRecipe(files=(str(rows),), folds=2)
    recipe = Recipe(name="mine", data=data, encoder=encoder_for(model, fine_tune=tuned))
    trained = train(recipe, tmp_path / "mine")
    assert trained.cross_validation.scores["the encoder as it is"].lead.high < 0


def test_batches_for_labels_are_of_like_length_and_hold_every_row_once():
    from router_ml.training.objectives import Labels

    lengths = np.random.default_rng(0).integers(3, 160, 500)
    objective = Labels(np.ones((500, 1), np.float32), lengths, width=4, single_label=False)
    recipe = FineTuneRecipe("labels", epochs=2, batch_size=16)
    batches = list(objective.batches(recipe, seed=0))
    assert sorted(np.concatenate(batches)) == sorted([*range(500)] * 2)
    assert max(np.ptp(lengths[rows]) for rows in batches) < 20
    means = [lengths[rows].mean() for rows in batches[:32]]
    assert means != sorted(means)


@pytest.mark.parametrize("single_label", [True, False])
def test_the_loss_of_labels_by_hand(single_label):
    from router_ml.training.objectives import Labels

    targets = np.array([[1, 0], [0, 1]], np.float32)
    torch.manual_seed(0)
    objective = Labels(targets, np.array([3, 3]), width=2, single_label=single_label)
    for parameter in objective.parameters():
        torch.nn.init.zeros_(parameter)
    found = objective.loss(torch.ones(2, 2), np.array([1, 0])).detach()
    labels = 1 if single_label else 2
    np.testing.assert_allclose(found, [labels * np.log(2)] * 2, rtol=1e-6)


def test_what_is_exported_wrong_is_not_rounded(tmp_path, tiny, monkeypatch):
    from router_ml.training import sentence_export

    rows, model = tiny
    other = sentence_export.load(model, 32)
    torch.nn.init.normal_(other[0].model.embeddings.word_embeddings.weight)
    exported = sentence_export.to_onnx(other)
    monkeypatch.setattr(sentence_export, "to_onnx", lambda model: exported)
    with pytest.raises(TrainingError, match="differs from the trained encoder"):
        train(recipe_for(rows, encoder=encoder_for(model, int8=True)), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_only_transformers_are_rounded(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(RecipeError, match="not of 'ngrams'"):
        train(recipe_for(rows, encoder=EncoderRecipe(int8=True)), tmp_path / "mine")
