import json

import numpy as np
import pytest
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from router_ml import Router
from router_ml.artifact import load_artifact
from router_ml.cli import app
from router_ml.errors import TrainingError
from router_ml.evaluation.contest import OURS, Contest, label_f1, macro_f1
from router_ml.evaluation.intervals import Bootstrap
from router_ml.training import Recipe, clean, read_data, train
from router_ml.training.cross_validation import cross_validate
from router_ml.training.prepare import account, divide
from router_ml.training.progress import silent
from router_ml.training.recipe import DataRecipe, EncoderRecipe
from router_ml.training.rivals import rivals_of
from router_ml.training.split import group_codes, group_folds

SMALL = EncoderRecipe(table_bits=12, width=16)
WORDS = {
    "billing": ["invoice", "refund", "charge", "card", "receipt", "tax"],
    "legal": ["contract", "clause", "lawsuit", "lawyer", "court", "liability"],
    "talk": ["hello", "weather", "joke", "thanks", "morning", "bye"],
}


def rows_of(number, seed=0, noise=0.0):
    draw = np.random.default_rng(seed)
    for at in range(number):
        theme = list(WORDS)[at % 3]
        told = theme if draw.random() >= noise else list(WORDS)[(at + 1) % 3]
        words, rest = draw.choice(WORDS[theme], 3), draw.choice(list("abcdefgh"), 14)
        yield {"prompt": " ".join(words) + " " + "".join(rest), "label": told}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_for(path, **data):
    return Recipe(name="mine", data=DataRecipe((str(path),), folds=3, **data), encoder=SMALL)


def data_of(recipe, tmp_path):
    cleaned = clean(recipe, read_data(recipe, tmp_path, None), silent)
    return divide(recipe, cleaned, len(cleaned.examples))


def test_folds_part_no_group_and_judge_every_row_once(tmp_path):
    rows = [row | {"group": f"c{at // 4}"} for at, row in enumerate(rows_of(96))]
    data = data_of(recipe_for(write(tmp_path / "rows.jsonl", rows)), tmp_path)
    examples, groups = data.cleaned.examples, data.cleaned.groups
    codes, judged = group_codes(examples, groups), []
    for seen, held in group_folds(examples, groups, 3, seed=1):
        assert not set(codes[seen]) & set(codes[held])
        judged += held.tolist()
    assert sorted(judged) == list(range(len(examples)))


def test_the_classifier_and_its_rivals_are_judged_on_what_they_have_not_seen(tmp_path):
    recipe = recipe_for(write(tmp_path / "rows.jsonl", rows_of(120)))
    found = cross_validate(recipe, data_of(recipe, tmp_path))
    assert list(found.scores) == [OURS, "TF-IDF + logistic regression", "majority class"]
    assert found.scores[OURS].accuracy.value > 0.9
    assert found.scores["majority class"].accuracy.value == pytest.approx(1 / 3, abs=0.02)
    assert found.scores["majority class"].lead.high < 0
    assert found.repeats == 5


def test_the_keyword_rules_are_a_rival_where_they_know_the_labels(tmp_path):
    rows = [row | {"label": row["label"].replace("talk", "math")} for row in rows_of(60)]
    recipe = recipe_for(write(tmp_path / "rows.jsonl", rows))
    data = data_of(recipe, tmp_path)
    assert "keyword rules" not in rivals_of(data)
    shipped = data._replace(labels=Router.load().classifier.labels)
    assert "keyword rules" in rivals_of(shipped)


def test_labels_without_rhyme_are_no_better_than_chance(tmp_path):
    draw = np.random.default_rng(3)
    rows = [row | {"label": str(draw.choice(["a", "b"]))} for row in rows_of(150)]
    recipe = recipe_for(write(tmp_path / "rows.jsonl", rows))
    score = cross_validate(recipe, data_of(recipe, tmp_path)).scores[OURS]
    assert score.accuracy.low < 0.55
    assert score.accuracy.value < 0.65


def test_several_labels_a_row(tmp_path):
    two = zip(rows_of(90), rows_of(90, seed=5), strict=True)
    rows = [
        {"prompt": a["prompt"] + " " + b["prompt"], "labels": sorted({a["label"], b["label"]})}
        for a, b in (*two, *zip(rows_of(89), list(rows_of(90, seed=7))[1:], strict=True))
    ]
    recipe = recipe_for(write(tmp_path / "rows.jsonl", rows))
    found = cross_validate(recipe, data_of(recipe, tmp_path))
    assert found.scores[OURS].macro_f1 > 0.85
    assert found.scores["TF-IDF + logistic regression"].macro_f1 > 0.85


def test_a_fixed_encoder_is_run_once_over_all_rows(tmp_path):
    recipe = recipe_for(write(tmp_path / "rows.jsonl", rows_of(60)))
    shipped = Recipe(data=recipe.data, encoder=EncoderRecipe(kind="shipped"))
    stages = []

    def progress(stage, total):
        stages.append((stage, total))
        return silent(stage, total)

    found = cross_validate(shipped, data_of(shipped, tmp_path), progress)
    assert stages == [("Encoding", 60), ("Cross-validating", 300)]
    assert found.scores[OURS].rows == 60


def test_figures_by_hand_and_by_scikit_learn():
    draw = np.random.default_rng(0)
    true, ours, other = (draw.random((40, 3)) < 0.5 for _ in range(3))
    contest = Contest(true, [ours, true], Bootstrap(np.arange(40)))
    exact = [(said == true).all(axis=1).mean() for said in (ours, other)]
    assert contest.score([ours]).accuracy.value == pytest.approx(exact[0])
    assert contest.score([other]).lead.value == pytest.approx(exact[1] - (exact[0] + 1) / 2)
    assert macro_f1(other, true) == pytest.approx(f1_score(true, other, average="macro"))
    np.testing.assert_allclose(label_f1(other, true), f1_score(true, other, average=None))
    half = np.arange(40) < 20
    assert contest.score([other], half).rows == 20
    assert contest.score([other], half).accuracy.value == pytest.approx(
        (other == true)[half].all(axis=1).mean()
    )


def test_training_learns_from_all_rows_and_quotes_none(tmp_path):
    path = write(tmp_path / "rows.jsonl", rows_of(120))
    trained = train(recipe_for(path), tmp_path / "mine")
    artifact = load_artifact(trained.path)
    facts = artifact.config.trained
    assert facts["data"]["train"] == facts["data"]["rows"] == 120
    assert artifact.config.calibration["on"] == "cross-validation"
    assert facts["cross_validation"]["accuracy"] > 0.9
    assert trained.evaluations[0].name == "cross-validation"
    written = b"".join(file.read_bytes() for file in trained.path.iterdir())
    assert not any(row["prompt"].encode() in written for row in rows_of(120))
    assert len(artifact.golden()) >= 20


def test_a_better_artifact_is_not_replaced_unless_told_to(tmp_path):
    place = tmp_path / "mine"
    train(recipe_for(write(tmp_path / "good.jsonl", rows_of(150))), place)
    before = (place / "config.json").read_bytes()
    worse = recipe_for(write(tmp_path / "worse.jsonl", rows_of(40, seed=9)), min_examples=2)
    worse = Recipe(data=worse.data, encoder=EncoderRecipe(table_bits=8, width=1, orders=(1,)))
    with pytest.raises(TrainingError, match=r"is better .* on 40 rows .*--force"):
        train(worse, place)
    assert (place / "config.json").read_bytes() == before
    train(worse, place, force=True)
    assert (place / "config.json").read_bytes() != before


def test_on_rows_it_has_learned_from_an_artifact_is_not_compared(tmp_path):
    place, path = tmp_path / "mine", write(tmp_path / "rows.jsonl", rows_of(90))
    train(recipe_for(path), place)
    again = train(recipe_for(path), place)
    assert list(again.cross_validation.scores)[-1] == "majority class"
    noisy = [row | {"label": list(WORDS)[at % 2]} for at, row in enumerate(rows_of(90))]
    with pytest.raises(TrainingError, match="is better than what would replace it"):
        train(recipe_for(write(path, noisy)), place)


def test_the_command_says_how_good_and_what_next(tmp_path):
    path = write(tmp_path / "rows.jsonl", rows_of(100, noise=0.08))
    path.write_text(path.read_text() + "nonsense\n")
    arguments = ["train", str(path), "-o", str(tmp_path / "mine")]
    assert ":101: no JSON" in CliRunner().invoke(app, arguments).stderr
    result = CliRunner().invoke(app, [*arguments, "--skip-broken", "--encoder", "shipped"])
    assert result.exit_code == 0
    assert "100 rows read, 100 learned from." in result.stdout
    for said in ("majority class", "95% interval", "probably wrong", "What to do next", "--policy"):
        assert said in result.stdout
    assert "skipped: 1" in result.stderr
    assert load_artifact(tmp_path / "mine").config.trained["encoder"]["kind"] == "shipped"


def messy():
    """250 rows, of which 120 can be learned from."""
    rows = list(rows_of(120))
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    said = [{"role": "user", "content": [{"type": "text", "text": "what is it"}, picture]}]
    seen = [{"messages": said, "label": label} for label in ("billing", "legal") * 10]
    blank = [{"prompt": "  ", "label": label} for label in ("billing", "legal", "talk") * 5]
    repeated = [row | {"prompt": row["prompt"].upper()} for row in rows[:18]]
    other = [row | {"prompt": row["prompt"] + " or so"} for row in rows_of(38, seed=4)]
    clash = [*other, *(row | {"label": "other"} for row in other)]
    clash += [other[0] | {"label": "legal"}]
    return [*rows, *seen, *blank, *repeated, *clash]


MESSY = (
    "77 with conflicting labels, 20 with an image or sound, 18 that repeat another, "
    "15 without words."
)


def test_several_logs_are_learned_from_and_rows_are_accounted_for(tmp_path):
    rows = messy()
    parts = [write(tmp_path / f"{at}.jsonl", rows[at::2]) for at in range(2)]
    command = ["train", *map(str, parts), "-o", str(tmp_path / "mine")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert f"250 rows read, 120 learned from: {MESSY}" in result.stdout
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("")
    result = CliRunner().invoke(app, ["train", str(recipe), str(parts[0])])
    assert "give it alone" in result.stderr
    result = CliRunner().invoke(app, ["train", str(parts[0]), str(tmp_path / "no.jsonl")])
    assert "no.jsonl: cannot be read: no such file" in result.stderr


def said_of(tmp_path, rows):
    recipe = recipe_for(write(tmp_path / "rows.jsonl", rows))
    examples = read_data(recipe, tmp_path, None)
    data = divide(recipe, clean(recipe, examples, silent), len(examples))
    return data.single_label, account(examples, data)


def as_list(row, *more):
    return {"prompt": row["prompt"], "labels": [row["label"], *more]}


def test_a_few_lists_of_one_label_change_no_kind_and_the_kind_is_said(tmp_path):
    rows = list(rows_of(60))
    few = [*map(as_list, rows[:3]), *rows[3:]]
    single, (_, said) = said_of(tmp_path, few)
    assert single
    assert (
        said == "Of the rows read 57 have `label` and 3 `labels`: of the labels exactly one holds."
    )
    single, (_, said) = said_of(tmp_path, [as_list(rows[0], "talk"), *rows[1:]])
    assert not single
    assert said.startswith("Of the rows read 59 have `label` and 1 `labels`:")
    assert "several may hold" in said
    single, said = said_of(tmp_path, [*map(as_list, rows)])
    assert (single, len(said)) == (False, 1)


def test_labels_alike_are_named_where_one_has_too_few_rows(tmp_path):
    rows = list(rows_of(60))
    rows[0]["label"] = "Billing"
    with pytest.raises(TrainingError, match=r"Billing \(1\)\. 'Billing' and 'billing' differ"):
        said_of(tmp_path, rows)


def test_advice_names_labels_alike(tmp_path):
    rows = [
        row | {"label": row["label"].title() if at % 2 else row["label"]}
        for at, row in enumerate(rows_of(60))
    ]
    trained = train(recipe_for(write(tmp_path / "rows.jsonl", rows)), tmp_path / "mine")
    assert "'Billing' and 'billing' differ only in case" in trained.advice[0]


def test_a_log_of_pictures_alone_is_said_to_leave_nothing(tmp_path):
    with pytest.raises(TrainingError, match="No row is left"):
        said_of(tmp_path, [{"prompt": " ", "label": "a"}])
