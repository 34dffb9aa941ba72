import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from sklearn.linear_model import LogisticRegression

from router_ml import Router
from router_ml.classifier import feed_bytes
from router_ml.errors import RecipeError, TrainingError
from router_ml.request import ModelText, model_text, read_request
from router_ml.training import Recipe, clean, load_recipe, read_data, train
from router_ml.training.byte_ngrams import Ngrams, bags
from router_ml.training.heads import Calibration, Head
from router_ml.training.ngram_encoder import NgramEncoder
from router_ml.training.planting import plant
from router_ml.training.progress import silent
from router_ml.training.recipe import DataRecipe, EncoderRecipe, FineTuneRecipe, HeadRecipe
from router_ml.training.unseen import evaluate_unseen, judge_unseen, leave_out

PROMPTS = Path(__file__).parent.parent / "training" / "prompts"
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
def test_own_labels_without_torch(tmp_path, key):
    path = write_rows(tmp_path / "rows.jsonl", key=key)
    trained = train(recipe_for(path), tmp_path / "mine")
    assert trained.evaluations[0].accuracy > 0.9
    router = Router.load(trained.path)
    assert router.route("the invoice and my refund, card charge").route == "billing"


def natural_rows(path, per_label=150):
    themes = {"code": "code-three", "creative": "creative-three"}
    rows = []
    for label, theme in themes.items():
        lines = (PROMPTS / f"{theme}.jsonl").read_text().splitlines()
        found = [row["prompt"] for row in map(json.loads, lines) if row["labels"] == [label]]
        rows += [{"prompt": prompt, "label": label} for prompt in found[:per_label]]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_new_head_on_the_shipped_encoder(tmp_path):
    path = natural_rows(tmp_path / "rows.jsonl")
    encoder = EncoderRecipe(kind="shipped")
    trained = train(recipe_for(path, encoder=encoder), tmp_path / "mine")
    assert trained.evaluations[0].accuracy > 0.9
    assert Router.load(trained.path).route("git rebase onto main, step by step").route == "code"


@pytest.mark.parametrize("classifier", ["MLPClassifier", "RandomForestClassifier"])
def test_any_scikit_learn_head(tmp_path, classifier):
    path = write_rows(tmp_path / "rows.jsonl", key="labels")
    head = HeadRecipe(classifier, {"max_iter": 500} if "MLP" in classifier else {})
    assert train(recipe_for(path, head=head), tmp_path / "mine").parity < 1e-4


@pytest.mark.parametrize("classifier", ["LinearSVC", "SVC", "VotingClassifier", "Nonsense"])
def test_classifiers_without_probabilities(tmp_path, classifier):
    path = write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(RecipeError, match=classifier):
        train(recipe_for(path, head=HeadRecipe(classifier)), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_the_ngram_table_is_what_numpy_says(tmp_path):
    turns = ["an invoice", "a clause of the contract", "证明根号2是无理数", "x" * 300, "y"]
    texts = [model_text(read_request(turn)) for turn in turns]
    texts += [text._replace(context=b"an earlier turn") for text in texts]
    targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1] * 2]
    ngrams = Ngrams.make((2, 3), 12, seed=1, edges=(), before=1)
    encoder = NgramEncoder.fit(texts, targets, np.ones(10, np.float32), ngrams, width=4, seed=1)
    graph = onnxruntime.InferenceSession(encoder.graph().SerializeToString())
    served = graph.run(None, feed_bytes(texts))[0]
    np.testing.assert_allclose(served, encoder.embed(texts), atol=1e-5)


def test_ngrams_tell_labels_apart_by_turn_and_by_context():
    said = [("an invoice", ""), ("a clause", ""), ("go on", "an invoice"), ("go on", "a clause")]
    texts = [ModelText(turn.encode(), context.encode()) for turn, context in said * 4]
    targets = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]] * 4, np.float32)
    ngrams = Ngrams.make((2, 3), 12, seed=1, edges=(), before=1)
    encoder = NgramEncoder.fit(texts, targets, np.ones(16, np.float32), ngrams, width=4, seed=1)
    assert encoder.width <= 4  # two labels, turn and context apart; the third is everywhere
    head = LogisticRegression(C=100).fit(encoder.embed(texts), targets[:, 0])
    np.testing.assert_array_equal(head.predict(encoder.embed(texts)), targets[:, 0])


def test_what_a_text_begins_with_is_unlike_the_same_in_its_middle():
    ngrams = Ngrams.make((3,), 16, seed=1, edges=(), before=1)
    pay, repay = (bags([(turn, b"")], ngrams).ids[:, 0] for turn in (b"pay me", b"repay me"))
    assert pay[0] != repay[2]
    np.testing.assert_array_equal(pay[1:], repay[3:])


def test_the_byte_encoder_trains_exports_and_repeats(tmp_path):
    pytest.importorskip("sentence_transformers")
    path = write_rows(tmp_path / "rows.jsonl")
    encoder = EncoderRecipe(kind="bytes", table_bits=10, width=8, hidden=16, batch_size=16)
    recipe = recipe_for(path, encoder=encoder)
    first = train(recipe, tmp_path / "a")
    second = train(recipe, tmp_path / "b")
    assert first.parity < 1e-4
    assert (tmp_path / "a/model.onnx").read_bytes() == (second.path / "model.onnx").read_bytes()


@pytest.mark.parametrize(("shapes", "members"), [((), 1), ((4, 8), 1), ((4, 8), 3)])
def test_the_graph_computes_what_the_module_was_trained_to(shapes, members):
    pytest.importorskip("sentence_transformers")
    import torch

    from router_ml.training.byte_encoder import ByteEncoder, joined

    encoder = ByteEncoder(
        (2, 3, 6), table_bits=12, width=8, hidden=16, shapes=shapes, members=members
    ).eval()
    encoder.quantize()
    turns = ["a", "now prove it", "x" * 95 + "yz", "证明根号2是无理数" * 20, "tab\tand\nline"]
    texts = [model_text(read_request(turn)) for turn in turns]
    texts += [text._replace(context=b"an earlier turn, and " * 9) for text in texts]
    graph = onnxruntime.InferenceSession(encoder.to_onnx().SerializeToString())
    with torch.no_grad():
        trained = encoder(encoder.preprocess([joined(text) for text in texts]))
    served = graph.run(None, feed_bytes(texts))[0]
    np.testing.assert_allclose(served, trained["sentence_embedding"].numpy(), atol=1e-5)


def test_shapes_tell_apart_what_folded_bytes_do_not():
    ngrams = Ngrams.make((2, 3), 12, seed=1, shapes=(3,))
    found = [bags([(turn, b"")], ngrams).ids for turn in (b"x=12;", b"X=34;", b"y=12;")]
    folded, shapes = found[0][:, :2], found[0][:, 2]
    assert (found[1][:, :2] == folded).all()
    assert (found[1][:, 2] != shapes).any()
    assert (found[2][:, 2] == shapes).all()
    assert (found[2][:, :2] != folded).any()


def test_a_real_transformer(tmp_path, minilm):
    path = write_rows(tmp_path / "rows.jsonl", rows=60)
    encoder = EncoderRecipe(kind="transformer", model=minilm, max_tokens=64)
    trained = train(recipe_for(path, encoder=encoder), tmp_path / "mine")
    assert trained.parity < 1e-4
    assert Router.load(trained.path).route("the lawyer and the court contract").route == "legal"


def test_bytes_padding_and_context_do_not_change_a_row(router):
    session = onnxruntime.InferenceSession(router.artifact.model)
    turns = ["hello", "证明根号2是无理数" * 9, "a b c"]
    texts = [model_text(read_request(turn)) for turn in turns]
    texts.append(texts[0]._replace(context=b"an earlier turn"))
    together = session.run(None, feed_bytes(texts))[0]
    alone = np.concatenate([session.run(None, feed_bytes([text]))[0] for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_nine_rows_a_label_are_enough_to_say_something(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", rows=18)
    assert train(recipe_for(path), tmp_path / "mine").evaluations[0].rows > 0


def test_one_label_only(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", rows=60)
    lines = [row for row in path.read_text().splitlines() if "billing" in row]
    path.write_text("\n".join(lines))
    with pytest.raises(TrainingError, match="nothing to tell apart"):
        train(recipe_for(path), tmp_path / "mine")


def test_what_is_measured_on_is_not_learned_from(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl")
    test = tmp_path / "test.jsonl"
    test.write_text("\n".join(path.read_text().splitlines()[:10]))
    data = DataRecipe(files=(str(path),), test=(str(test),))
    config = Router.load(train(Recipe(data=data), tmp_path / "mine").path).artifact.config
    assert config.trained["data"]["test_duplicates_dropped"] == 10


def test_a_recipe_that_measures_nothing(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(RecipeError, match="Nothing would be measured"):
        train(Recipe(data=DataRecipe(files=(str(path),), test_share=0)), tmp_path / "mine")


def test_public_files_alone_need_their_place(tmp_path):
    with pytest.raises(RecipeError, match="--public-data"):
        train(Recipe(data=DataRecipe(files=("public:rows.jsonl",))), tmp_path / "mine")


def test_too_few_examples(tmp_path):
    path = tmp_path / "rows.jsonl"
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


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[data]\nfolds = 1\n", "`folds` must be 0 or at least 2"),
        ("[data]\nunseen_folds = 1\n", "`unseen_folds` must be 0 or at least 2"),
        ('[data]\nmap = {text = "x"}\n', "the field 'text'"),
    ],
)
def test_recipes_that_are_refused_when_they_are_read(tmp_path, content, problem):
    path = tmp_path / "r.toml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=f"r.toml: .*{problem}"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"head": HeadRecipe("Nonsense")}, "'Nonsense' is no scikit-learn classifier"),
        ({"head": HeadRecipe(parameters={"depth": 3})}, "depth"),
        ({"head": HeadRecipe(parameters={"C": -1})}, "'C' parameter"),
        ({"encoder": EncoderRecipe(fine_tune=FineTuneRecipe())}, "on the command line --encoder"),
    ],
)
def test_what_no_row_is_needed_to_refuse(tmp_path, parts, problem):
    with pytest.raises(RecipeError, match=problem):  # and not that there are no such rows
        train(recipe_for(tmp_path / "none.jsonl", **parts), tmp_path / "mine")


def test_whether_an_artifact_can_be_written_is_tried_first(tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "mine"
    with pytest.raises(OSError, match=re.escape(repr(str(place)))):
        train(recipe_for(tmp_path / "none.jsonl"), place)
    with pytest.raises(RecipeError):
        train(recipe_for(tmp_path / "none.jsonl"), tmp_path / "models" / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the limit is set in a child")
def test_an_artifact_that_does_not_fit_the_disk_is_named(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
from router_ml.artifact import load_artifact, find_artifact
from router_ml.training.artifact_files import write_artifact
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
config = load_artifact(find_artifact()).config
try:
    write_artifact(Path(sys.argv[1]), config, {"model.onnx": bytes(100)}, [], "")
except OSError as error:
    print(error.filename)
"""
    place = tmp_path / "mine"
    command = [sys.executable, "-c", code, str(place)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(place)
    assert list(tmp_path.iterdir()) == []


def sourced_rows(path, sources=4, rows=160):
    lines = write_rows(path, rows, key="labels").read_text().splitlines()
    sourced = [
        json.loads(line) | {"source": f"s{n // 2 % sources}"} for n, line in enumerate(lines)
    ]
    path.write_text("\n".join(map(json.dumps, sourced)))
    return path


def test_sources_are_left_out_whole_and_each_row_is_judged_once(tmp_path):
    recipe = recipe_for(sourced_rows(tmp_path / "rows.jsonl"))
    cleaned = clean(recipe, read_data(recipe, tmp_path, None), silent)
    judged = []
    for seen, unseen in leave_out(cleaned, 2):
        names = [{cleaned.examples[row].source for row in rows} for rows in (seen, unseen)]
        assert not names[0] & names[1]
        judged += unseen.tolist()
    assert sorted(judged) == list(range(len(cleaned.examples)))


@pytest.mark.parametrize(("only", "meant"), [("s[01]", {"s0", "s1"}), ("!s0", {"s1", "s2", "s3"})])
def test_sources_that_are_not_meant_are_always_learned_from(tmp_path, only, meant):
    recipe = recipe_for(sourced_rows(tmp_path / "rows.jsonl"))
    cleaned = clean(recipe, read_data(recipe, tmp_path, None), silent)
    for seen, unseen in leave_out(cleaned, len(meant), only):
        left_out = {cleaned.examples[row].source for row in unseen}
        assert len(left_out) == 1
        assert left_out <= meant
        assert {cleaned.examples[row].source for row in seen} == {"s0", "s1", "s2", "s3"} - left_out
    judged = judge_unseen(recipe, cleaned, len(meant), silent, only)
    found = evaluate_unseen(recipe, judged)[0]
    assert set(found.by_source) == meant
    assert found.rows == len(judged.judged)


def test_calibration_on_unseen_sources_leaves_every_row_to_learn_from(tmp_path):
    path = sourced_rows(tmp_path / "rows.jsonl")
    data = DataRecipe(files=(str(path),), test_share=0, unseen_folds=2)
    trained = train(Recipe(name="mine", data=data), tmp_path / "mine")
    config = Router.load(trained.path).artifact.config
    assert config.calibration["on"] == "unseen sources"
    assert config.trained["data"]["calibration"] == 0
    assert trained.evaluations[0].name == "unseen sources"
    assert trained.evaluations[0].rows == config.trained["data"]["rows"]


def test_more_folds_than_sources(tmp_path):
    path = sourced_rows(tmp_path / "rows.jsonl", sources=2)
    data = DataRecipe(files=(str(path),), unseen_folds=3)
    with pytest.raises(TrainingError, match="3 folds cannot be made of 2 sources"):
        train(Recipe(data=data), tmp_path / "mine")


def test_a_label_of_one_source_cannot_be_judged_unseen(tmp_path):
    path = sourced_rows(tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    named = [row | {"source": row["labels"][0]} for row in rows]
    path.write_text("\n".join(map(json.dumps, named)))
    data = DataRecipe(files=(str(path),), unseen_folds=2)
    with pytest.raises(TrainingError, match=r"Every row of the label '(billing|legal)' is held"):
        train(Recipe(data=data), tmp_path / "mine")


def test_a_static_embedding(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import ByteLevelBPETokenizer

    path = write_rows(tmp_path / "rows.jsonl")
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(path.read_text().splitlines(), 400, show_progress=False)
    module = StaticEmbedding(tokenizer._tokenizer, embedding_dim=64)
    place = tmp_path / "static"
    sentence_transformers.SentenceTransformer(modules=[module]).save(str(place))
    encoder = EncoderRecipe(kind="static", model=str(place), max_tokens=12)
    trained = train(recipe_for(path, encoder=encoder), tmp_path / "mine")
    assert trained.parity < 1e-4
    assert Router.load(trained.path).artifact.config.input.max_tokens == 12


def test_the_byte_encoder_is_a_sentence_transformers_module(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from router_ml.training.byte_encoder import ByteEncoder

    encoder = ByteEncoder(table_bits=10, width=8, shapes=(4,))
    model = sentence_transformers.SentenceTransformer(modules=[encoder])
    before = model.encode(["an invoice", "图中有几只猫"])
    model.save(str(tmp_path / "model"))
    place = str(tmp_path / "model")
    loaded = sentence_transformers.SentenceTransformer(place, trust_remote_code=True)
    np.testing.assert_allclose(loaded.encode(["an invoice", "图中有几只猫"]), before, atol=1e-6)


def test_the_byte_encoder_works_with_the_sentence_transformers_trainer(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from datasets import Dataset
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from router_ml.training.byte_encoder import ByteEncoder

    encoder = ByteEncoder(table_bits=10, width=8, hidden=16)
    model = sentence_transformers.SentenceTransformer(modules=[encoder], device="cpu")
    before = encoder.table.weight.detach().clone()
    pairs = {"anchor": ["a bill", "a suit"] * 8, "positive": ["an invoice", "a court case"] * 8}
    arguments = sentence_transformers.SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path), max_steps=2, report_to=[], save_strategy="no", use_cpu=True
    )
    sentence_transformers.SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(pairs),
        loss=MultipleNegativesRankingLoss(model),
    ).train()
    assert not before.equal(encoder.table.weight)


def test_scores_are_calibrated_before_they_are_rounded_to_probabilities():
    model = LogisticRegression().fit([[-1.0], [1.0]], [0, 1])
    model.coef_, model.intercept_ = np.array([[100.0]]), np.zeros(1)
    head = Head((model,), 1, False, Calibration(np.array([0.3]), np.zeros(1)))
    found = head.predict_proba(np.array([[-1.0], [1.0]], np.float32))
    np.testing.assert_allclose(found[:, 0], 1 / (1 + np.exp([30.0, -30.0])), rtol=1e-9)


def test_planted_requests_keep_their_labels_and_stand_at_an_end():
    asks = [model_text(read_request(f"how many ways to seat {n} guests")) for n in range(20)]
    pastes = [
        model_text(read_request(f"minutes of meeting {n}: " + "blah " * 90)) for n in range(9)
    ]
    targets = np.array([[1.0]] * 20 + [[0.0]] * 9, np.float32)
    planted = plant([*asks, *pastes], targets, share=0.5, seed=1)
    assert len(planted.texts) == 14
    for text, row in zip(planted.texts, planted.rows, strict=True):
        ask = asks[row].turn
        assert targets[row] == 1
        assert text.turn.startswith(ask) or text.turn.endswith(ask)
        assert b"minutes of meeting" in text.turn


def test_nothing_is_planted_without_documents():
    asks = [model_text(read_request("short"))] * 3
    assert plant(asks, np.ones((3, 1), np.float32), share=1.0, seed=1).texts == []


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    path = write_rows(tmp_path / "rows.jsonl")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("router_ml.training.artifact_files.load_artifact", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(recipe_for(path), tmp_path / "out" / "mine")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_foreign_directory_is_not_replaced(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    with pytest.raises(TrainingError, match="not replaced"):
        train(recipe_for(path), tmp_path / "mine")
    assert (tmp_path / "mine" / "diary.txt").exists()


def test_only_equal_rows_are_duplicates_where_a_recipe_says_so(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl")
    data = DataRecipe((str(path),), near_duplicate=1, same_group=1)
    assert train(Recipe(data=data), tmp_path / "mine").parity < 1e-4
