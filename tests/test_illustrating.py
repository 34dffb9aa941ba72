"""Requests made to point at a figure."""

import re

import numpy as np
import pytest
from test_training import write_rows

from router_ml.errors import RecipeError
from router_ml.request import ModelText
from router_ml.training import Recipe, train
from router_ml.training.illustrating import ENGLISH, SIMPLIFIED, TRADITIONAL, illustrate
from router_ml.training.recipe import DataRecipe

MATH, VISION = 0, 1
ASKED = [
    "Find the area of the triangle, if its sides are 3, 4 and 5.",
    "求三角形的面积，已知三边为3、4、5。",
    "三角形の面積を求めてください。",
    "Berechne die Fläche des Dreiecks, schön der Reihe nach.",
    "What does the red part show?",
    "And its height?",
    "word " * 300,
]
TEXTS = [ModelText(text.encode(), b"a turn before" if "its" in text[:8] else b"") for text in ASKED]
TARGETS = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [0, 1], [1, 0], [0, 0]], np.float32)


def all_of(share=1.0, seed=1):
    return illustrate(TEXTS * 50, np.tile(TARGETS, (50, 1)), VISION, MATH, share, seed)


def test_only_english_and_chinese_requests_that_show_nothing_are_taken():
    made = all_of()
    assert {row % len(ASKED) for row in made.rows} == {0, 1}
    assert len(made.texts) == len(made.rows) == len(made.targets) == 100


def test_what_is_made_needs_sight_and_what_the_request_needed():
    made = all_of()
    np.testing.assert_array_equal(made.targets, np.ones((100, 2)))


def test_each_is_pointed_at_in_its_own_language():
    english = {phrase.strip() for place in ENGLISH for phrase in place}
    chinese = {phrase.strip() for w in (SIMPLIFIED, TRADITIONAL) for p in w for phrase in p}
    made = all_of()
    for text, row in zip(made.texts, made.rows, strict=True):
        turn, phrases = text.turn.decode(), chinese if row % len(ASKED) else english
        assert any(phrase in turn for phrase in phrases)


def test_the_words_of_the_request_stay():
    made = all_of()
    for text, row in zip(made.texts, made.rows, strict=True):
        left = text.turn.decode()
        assert all(word in left for word in re.findall(r"\w+", ASKED[row % len(ASKED)]))


def test_formal_requests_are_taken_more_often():
    texts = [ModelText(b"Prove it.", b""), ModelText(b"Buy it.", b"")] * 1000
    targets = np.array([[1, 0], [0, 0]] * 1000, np.float32)
    made = illustrate(texts, targets, VISION, MATH, 0.1, seed=1)
    formal = int(made.targets[:, MATH].sum())
    assert len(made.rows) == 200
    assert 130 <= formal <= 170


def test_the_same_seed_makes_the_same():
    assert all_of(0.2, seed=3).texts == all_of(0.2, seed=3).texts != all_of(0.2, seed=4).texts


@pytest.mark.parametrize("first", [2, len(TEXTS)])
def test_nothing_is_made_of_nothing(first):
    assert illustrate(TEXTS[first:], TARGETS[first:], VISION, MATH, 0.5, seed=1).texts == []


def test_labels_without_vision_cannot_be_illustrated(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl")
    recipe = Recipe(data=DataRecipe((str(rows),), folds=2, illustrated=0.1))
    with pytest.raises(RecipeError, match="`illustrated` needs the labels math and vision"):
        train(recipe, tmp_path / "mine")
