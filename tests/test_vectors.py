"""N-gram vectors learned before, and what they do for labels with few rows."""

import json
import subprocess
import sys

import numpy as np
import pytest

from router_ml.artifact import load_artifact
from router_ml.errors import RecipeError
from router_ml.router import Router
from router_ml.training import Recipe, train
from router_ml.training.recipe import DataRecipe, EncoderRecipe
from router_ml.training.vectors import Vectors, load_vectors

LEARNED = {
    "pets": [
        "my cat will not eat",
        "the dog barks at night",
        "our puppy limps",
        "a hamster bit me",
    ],
    "travel": [
        "book a flight to Rome",
        "which airport is nearer",
        "a hotel by the sea",
        "my passport",
    ],
    "money": [
        "the bank took a fee",
        "my salary is late",
        "how do I pay this tax",
        "a loan for a house",
    ],
}
UNSEEN = {
    "pets": ["kitten with a cold", "rabbit and parrot food", "vet for animals"],
    "travel": ["airplane tickets", "tourist visa and luggage", "trip to Paris by train"],
    "money": ["credit card debt", "invest in stocks", "interest on my savings account"],
}


def made(tmp_path, rows, **encoder):
    log = tmp_path / "log.jsonl"
    written = [
        json.dumps({"prompt": f"{prompt}{end}", "label": label})
        for label, prompts in rows.items()
        for prompt in prompts
        for end in ("", "?", " please")
    ]
    log.write_text("\n".join(written))
    data = DataRecipe((str(log),), folds=2, near_duplicate=1)
    recipe = Recipe(data=data, encoder=EncoderRecipe(**encoder))
    return Router.load(train(recipe, tmp_path / "mine", force=True).path)


def right(router):
    asked = [(text, label) for label, texts in UNSEEN.items() for text in texts]
    return sum(router.route(text).labels == (label,) for text, label in asked)


def test_words_that_no_row_has_are_understood_by_the_shipped_vectors(tmp_path):
    assert right(made(tmp_path, LEARNED)) >= 8 > right(made(tmp_path, LEARNED, vectors=""))


def test_the_artifact_says_which_vectors_it_was_made_with(tmp_path):
    made(tmp_path, LEARNED)
    config = load_artifact(tmp_path / "mine").config
    assert config.trained["encoder"]["vectors"] == "english-chinese"


def test_vectors_are_kept_to_a_255th_of_their_range(tmp_path):
    table = np.random.default_rng(1).normal(size=(256, 3)).astype(np.float32)
    Vectors.rounded("mine", (2, 3), 5, table).save(tmp_path / "mine.npz")
    found = load_vectors(str(tmp_path / "mine.npz"))
    assert (found.name, found.orders, found.table_bits) == ("mine", (2, 3), 8)
    np.testing.assert_allclose(found.floats, table, atol=np.abs(table).max() / 254 + 1e-6)


def test_vectors_of_ones_own_are_taken_by_path(tmp_path):
    table = np.zeros((1 << 12, 2), np.float32)
    Vectors.rounded("mine", (2, 3), 5, table).save(tmp_path / "own.npz")
    own = {"orders": (2, 3), "table_bits": 12, "vectors": str(tmp_path / "own.npz")}
    assert made(tmp_path, LEARNED, **own).route("the dog barks").labels == ("pets",)


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_what_holds_no_vectors_is_named(tmp_path, content):
    path = tmp_path / "other.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"other\.npz"):
        load_vectors(str(path))


def test_an_npz_of_something_else_is_named(tmp_path):
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(RecipeError, match="holds no n-gram vectors"):
        load_vectors(str(tmp_path / "other.npz"))


def test_vectors_of_other_ngrams_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"orders \[2, 3, 4, 6\] and table_bits 16"):
        made(tmp_path, LEARNED, orders=(2, 3), vectors="english-chinese")


def test_other_ngrams_do_without_the_shipped_vectors(tmp_path):
    made(tmp_path, LEARNED, orders=(2, 3))
    assert load_artifact(tmp_path / "mine").config.trained["encoder"]["vectors"] == "none"


def test_vectors_are_distilled_from_a_model(tmp_path, tiny):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"a text about number {n}" for n in range(4100)))
    tabu = tmp_path / "tabu.jsonl"
    tabu.write_text(json.dumps({"prompt": "A text about number 7"}))
    others = tmp_path / "others.txt"
    others.write_text("\n".join(f"第{n}个句子说的是什么" for n in range(20)))
    output = tmp_path / "tiny.npz"
    command = [
        sys.executable,
        "training/distil_vectors.py",
        texts,
        "--others",
        others,
        "--without",
        tabu,
    ]
    command += ["--model", tiny[1], "--width", "4", "--epochs", "1", "-o", output]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("4099 texts, 20 others")
    assert load_vectors(str(output)).table.shape == (1 << 16, 4)
