import numpy as np
import pytest
from test_training import recipe_for, write_rows
from typer.testing import CliRunner

from router_ml import Router
from router_ml.artifact import load_artifact
from router_ml.cli import app
from router_ml.errors import RecipeError
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
    assert config.trained["encoder"]["fine_tuned"] == "3 epochs"
    assert Router.load(trained.path).route("lawyer and court, a contract clause").route == "legal"


def test_a_model_as_it_is_stays_so(tmp_path, tiny):
    rows, model = tiny
    trained = train(recipe_for(rows, encoder=encoder_for(model)), tmp_path / "mine")
    assert "fine_tuned" not in load_artifact(trained.path).config.trained["encoder"]


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
    from router_ml.training.fine_tuning import contrast

    embeddings = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    together = torch.kron(torch.eye(2), torch.ones(2, 2))
    expected = np.log(np.exp(10) + 2) - 10
    np.testing.assert_allclose(contrast(embeddings, together), [expected] * 4, rtol=1e-3)
    alone = torch.eye(4)
    assert contrast(embeddings, alone).tolist() == [0.0] * 4


def test_every_row_is_beside_one_that_shares_a_label():
    from router_ml.training.fine_tuning import _batches

    carried = np.array([[1, 0], [1, 1], [0, 1], [0, 1], [1, 0]], np.float32)
    seen = []
    for rows in _batches(carried, epochs=2, size=4, seed=0):
        half = len(rows) // 2
        seen += rows[:half].tolist()
        assert ((carried[rows[:half]] * carried[rows[half:]]).sum(axis=1) > 0).all()
    assert sorted(seen) == sorted([*range(5)] * 2)
