import json
import shutil
from math import exp, log

import numpy as np
import pytest
from batches import read, same_as_routed, write_lines
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from test_fine_tuning import encoder_for
from test_training import WORDS, recipe_for, write_rows
from typer.testing import CliRunner

from router_ml import Policy, Router, classifier
from router_ml.artifact import find_artifact, load_artifact
from router_ml.batch import LocalEngine, classify
from router_ml.batch.texts import texts_of_prompts, texts_of_requests
from router_ml.cascade import Cascade, pool
from router_ml.classifier import Classifier
from router_ml.cli import app
from router_ml.errors import ArtifactCorrupt, BatchError, PolicyError
from router_ml.evaluation import make_report
from router_ml.evaluation.systems import find_system
from router_ml.integrations.decision_log import version_of
from router_ml.policy import Rule, Second
from router_ml.reload import ReloadingRouter
from router_ml.request import model_text, read_request
from router_ml.training import train
from router_ml.training.recipe import EncoderRecipe

LABELS = ("billing", "legal")
POLICY = """
schema_version = 1
default = "rest"
[[rules]]
route = "money"
needs = ["billing"]
models = ["glm-5"]
[[rules]]
route = "law"
needs = ["legal"]
models = ["deepseek-r1"]
[[rules]]
route = "rest"
models = ["deepseek-v4-flash"]
"""
run = CliRunner().invoke
probability = st.floats(0, 1, width=32)
single = pytest.mark.parametrize("places", ["label"], indirect=True)
several = pytest.mark.parametrize("places", ["labels"], indirect=True)


def asked():
    """Prompts of which a classifier of WORDS is sure, and such as say both or nothing."""
    draw = np.random.default_rng(1)
    both = [*WORDS["billing"], *WORDS["legal"], "weather", "Unicode ünd 中文"]
    return [" ".join(draw.choice(both, draw.integers(1, 40))) for _ in range(60)]


@pytest.fixture(scope="module", params=["label", "labels"], ids=["single", "multi"])
def places(request, tmp_path_factory):
    """A directory with two artifacts of the same labels, the second in another order."""
    place = tmp_path_factory.mktemp(request.param)
    rows = write_rows(place / "rows.jsonl", key=request.param)
    fewer = write_rows(place / "fewer.jsonl", 60, key=request.param)
    small = EncoderRecipe(table_bits=10, width=8)
    train(recipe_for(rows, encoder=small), place / "first")
    train(replace(recipe_for(fewer), labels=LABELS[::-1]), place / "models/second")
    (place / "policy.toml").write_text(POLICY)
    return place


@pytest.fixture
def pair(places):
    return [Classifier(load_artifact(places / name)) for name in ("first", "models/second")]


def texts():
    return [model_text(read_request(text)) for text in asked()]


def surest(first, rows):
    """Return how sure a classifier is of the least sure judgement of each row."""
    rows = np.asarray(rows, np.float64)
    return rows.max(axis=1) if first.single_label else np.maximum(rows, 1 - rows).min(axis=1)


@pytest.fixture
def below(pair):
    """A bound under which the first is for half of the prompts."""
    return float(np.median(surest(pair[0], pair[0].probabilities_many(texts()))))


@pytest.fixture
def policy(places, below):
    """A file with `[second]`."""
    path = places / "with.toml"
    path.write_text(f'{POLICY}\n[second]\nartifact = "models/second"\nbelow = {below}\n')
    return path


@pytest.fixture
def cascade(pair, below):
    return Cascade(*pair, LABELS, below)


def logit(p):
    return log(p) - log(1 - p)


@given(probability, probability)
def test_of_a_label_the_log_odds_are_averaged(p, q):
    (found,) = pool(np.array([[p]]), np.array([[q]]), exclusive=False)[0]
    assert 0 < found < 1
    if 1e-6 < p < 1 - 1e-6 and 1e-6 < q < 1 - 1e-6:
        assert found == pytest.approx(1 / (1 + exp(-(logit(p) + logit(q)) / 2)))


@given(st.lists(st.tuples(probability, probability), min_size=2, max_size=5))
def test_of_exclusive_labels_the_geometric_mean_is_normalised(pairs):
    one, other = np.array(pairs).T
    (found,) = pool(one[None], other[None], exclusive=True)
    assert found.sum() == pytest.approx(1)
    kept = np.clip([one, other], 1.2e-7, 1)
    mean = np.exp(np.log(kept).mean(axis=0))
    assert found == pytest.approx(mean / mean.sum(), rel=1e-2)


def test_one_that_is_certain_does_not_silence_the_other():
    assert pool(np.array([[0.0]]), np.array([[1.0]]), exclusive=False) == pytest.approx(0.5)


def test_only_those_in_doubt_are_asked_and_pooled(cascade, pair, below):
    first, second = (classifier.probabilities_many(texts()) for classifier in pair)
    doubtful = surest(pair[0], first) < below
    assert 20 < doubtful.sum() < 40
    asks = []
    ask = cascade.second.probabilities_many
    cascade.second.probabilities_many = lambda some: asks.extend(some) or ask(some)
    found = cascade.probabilities_many(texts())
    assert asks == [text for text, is_asked in zip(texts(), doubtful, strict=True) if is_asked]
    assert cascade.labels == tuple(reversed(cascade.second.labels)) == LABELS
    pooled = pool(first, second[:, ::-1], exclusive=cascade.single_label)
    expected = np.where(doubtful[:, None], pooled, first)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - first).max() > 0.01


def test_one_by_one_in_batches_and_packed_they_say_the_same(cascade):
    import pyarrow as pa

    many = cascade.probabilities_many(texts())
    ones = [cascade.probabilities(text) for text in texts()]
    packed = cascade.probabilities_packed(texts_of_prompts(pa.array(asked())).packed)
    np.testing.assert_allclose(ones, many, atol=1e-6)
    np.testing.assert_array_equal(packed, many)
    assert many.dtype == packed.dtype == np.float32
    assert cascade.probabilities_many([]).shape == (0, 2)
    assert cascade.probabilities_packed(texts_of_requests([], []).packed).shape == (0, 2)


@several
def test_only_the_doubt_that_counts_is_asked_about(pair):
    first, second = pair
    found = Cascade(first, second, ["legal"], 0.9).probabilities_many(texts())
    rows = first.probabilities_many(texts()).astype(float)
    asked_about = np.abs(found - rows).max(axis=1) > 0
    doubtful = np.maximum(rows, 1 - rows)[:, 1] < 0.9
    assert not (asked_about & ~doubtful).any()
    assert (Cascade(first, second, [], 1.0).probabilities_many(texts()) == rows).all()


def test_whose_doubt_counts_by_default():
    rules = (Rule("a", needs=("x", "vision")), Rule("b", needs=("y",)))
    policy = Policy(1, rules, "a", second=Second("m", 0.9))
    assert policy.doubted(("y", "x", "z")) == ["y", "x"]
    assert replace(policy, second=Second("m", 0.9, ("z",))).doubted(("y", "z")) == ["z"]


def test_a_policy_without_a_second_is_decided_by_the_classifier_itself(router):
    assert type(router.classifier) is Classifier
    assert router.second is None


def test_a_place_is_looked_for_from_the_policys_directory(places, policy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Router.load(places / "first", policy=policy).second.path == places / "models/second"
    policy.write_text(policy.read_text().replace("models/second", "default"))
    assert Policy.load(policy).second.artifact == str(find_artifact())
    (places / "default").mkdir()
    try:
        assert Policy.load(policy).second.artifact == str(places / "default")
    finally:
        (places / "default").rmdir()
    policy.write_text(policy.read_text().replace('default"\nbelow', "n" * 5_000 + '"\nbelow'))
    with pytest.raises(PolicyError, match=r"`second.artifact` cannot be used: There is no"):
        Router.load(places / "first", policy=policy)


def test_in_code_a_place_is_looked_for_from_the_working_directory(places, monkeypatch):
    monkeypatch.chdir(places)
    policy = replace(Policy.load("policy.toml"), second=Second("models/second", 0.9))
    with ReloadingRouter.load("first", policy=policy, every_s=3600) as router:
        monkeypatch.chdir("/")
        router._reload()
        assert router.second.path == places / "models/second"
        assert isinstance(router.classifier, Cascade)


def probabilities(router, prompts):
    return np.array([[*each.probabilities.values()] for each in router.route_many(prompts)])


def test_every_door_asks_it(places, policy, cascade):
    router = Router.load(places / "first", policy=policy)
    plain = Router.load(places / "first", policy=places / "policy.toml")
    found = [[*router.route(text).probabilities.values()] for text in asked()]
    expected = cascade.probabilities_many(texts())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    many = probabilities(router, asked())
    np.testing.assert_allclose(many, expected, atol=1e-6)
    assert 20 < (many != probabilities(plain, asked())).any(axis=1).sum() < 40
    command = ["route", asked()[0], "--json", "--artifact", str(places / "first")]
    shown = json.loads(run(app, [*command, "--policy", str(policy)]).stdout)
    assert [*shown["probabilities"].values()] == pytest.approx(many[0].tolist(), abs=1e-6)


def test_a_batch_run_asks_it_in_every_worker(places, policy, tmp_path, tiny_fragments):
    prompts = asked() * 10
    log_ = write_lines(
        tmp_path / "log.jsonl", [{"id": at, "prompt": text} for at, text in enumerate(prompts)]
    )
    router = Router.load(places / "first", policy=policy)
    classify(log_, tmp_path / "out", router=router, engine=LocalEngine(2))
    same_as_routed(read(tmp_path / "out"), prompts, router)
    classify(log_, tmp_path / "again", router=router, engine=LocalEngine(1))
    assert read(tmp_path / "again") == read(tmp_path / "out")


def test_another_second_is_another_run_but_another_place_is_not(places, policy, tmp_path):
    log_ = write_lines(tmp_path / "log.jsonl", [{"id": 1, "prompt": "an invoice"}])
    first = load_artifact(places / "first")
    router = Router.load(places / "first", policy=policy)
    classify(log_, tmp_path / "out", router=router, engine=LocalEngine(1))
    moved = shutil.copytree(places / "models/second", tmp_path / "moved")
    there = replace(router.policy, second=replace(router.policy.second, artifact=str(moved)))
    elsewhere = Router(first, there, router.catalog)
    assert classify(log_, tmp_path / "out", router=elsewhere, engine=LocalEngine(1)).kept == 1
    for other, differs in (
        (Router(first, router.policy, router.catalog, first), "another second"),
        (Router(first, replace(router.policy, second=None), router.catalog), "another policy"),
    ):
        with pytest.raises(BatchError, match=differs):
            classify(log_, tmp_path / "out", router=other, engine=LocalEngine(1))


def test_it_is_evaluated_and_named(places, policy):
    router = Router.load(places / "first", policy=policy)
    report = make_report([places / "rows.jsonl"], router)
    assert report.main.accuracy.value > 0.9
    doubt = f"{router.policy.second.below:g}"
    assert report.about.artifact == f"mine, with mine where it is less sure than {doubt}"


def test_another_artifact_is_judged_alone(places, policy):
    router = Router.load(places / "first", policy=policy)
    other = find_system(str(places / "first"), router).router
    assert router.second is not None
    assert type(other.classifier) is Classifier
    assert other.policy == replace(router.policy, second=None)


def test_its_version_names_both(places, policy):
    router = Router.load(places / "first", policy=policy)
    first, second = (
        f"mine {each.config.files['model.onnx'].sha256[:8]}"
        for each in (router.artifact, router.second)
    )
    assert version_of(router) == f"{first} + {second}"
    plain = Router.load(places / "first", policy=places / "policy.toml")
    assert version_of(plain) == first


def test_one_that_is_given_is_checked_and_kept_only_if_asked(places, policy):
    router = Router.load(places / "first", policy=policy)
    parts = router.artifact, router.policy, router.catalog
    assert Router(*parts, router.second).second is router.second
    with pytest.raises(PolicyError, match=r"has the labels math"):
        Router(*parts, load_artifact(find_artifact()))
    plain = Router(parts[0], replace(parts[1], second=None), parts[2], router.second)
    assert plain.second is None
    assert type(plain.classifier) is Classifier


def test_info_replays_both(places, policy):
    command = ["info", "--json", "--artifact", str(places / "first"), "--policy"]
    found = json.loads(run(app, [*command, str(policy)]).stdout)
    assert found["artifact"] == str(places / "first")
    assert found["second"]["artifact"] == str(places / "models/second")
    assert 0 <= found["golden"]["largest_difference"] < 1e-4
    assert 0 <= found["second"]["golden"]["largest_difference"] < 1e-4
    assert "second" not in json.loads(run(app, [*command, str(places / "policy.toml")]).stdout)


def look_until_rested(router):
    router.look()
    router.look()


def test_it_is_followed_wherever_the_policy_says_it_is(places, policy, tmp_path):
    shutil.copytree(places / "models/second", tmp_path / "one")
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    text = policy.read_text()
    with ReloadingRouter.load(places / "first", policy=path, every_s=3600) as router:
        path.write_text(text.replace("models/second", "two"))  # before it is there
        look_until_rested(router)
        assert router.second is None
        (tmp_path / "one").rename(tmp_path / "two")
        look_until_rested(router)
        assert router.second.path == tmp_path / "two"
        before = router.route_many(asked())
        config = tmp_path / "two/config.json"
        config.write_text(config.read_text().replace('"mine"', '"other"'))
        look_until_rested(router)
        assert router.second.config.name == "other"
        assert router.route_many(asked()) == before
        path.write_text(POLICY)
        look_until_rested(router)
        assert type(router.classifier) is Classifier


def test_a_place_that_cannot_be_ends_nothing(places, policy, tmp_path):
    shutil.copytree(places / "models", tmp_path / "models")
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    with ReloadingRouter.load(places / "first", policy=path, every_s=3600) as router:
        path.write_text(policy.read_text().replace("models/second", "a\\u0000b"))
        look_until_rested(router)
        assert router.second is None
        shutil.copy(policy, path)
        look_until_rested(router)
        assert router.second.path == tmp_path / "models/second"


def test_it_is_followed_where_nothing_else_is(places, policy, tmp_path):
    moved = shutil.copytree(places / "models/second", tmp_path / "moved")
    rules = Policy.load(policy)
    rules = replace(rules, second=replace(rules.second, artifact=str(moved)))
    with ReloadingRouter(
        lambda: Router.load(places / "first", policy=rules), (), 3600, rules
    ) as router:
        config = moved / "config.json"
        config.write_text(config.read_text().replace('"mine"', '"other"'))
        look_until_rested(router)
        assert router.second.config.name == "other"


def test_one_that_answers_otherwise_than_where_it_was_made_is_refused(places, policy, tmp_path):
    shutil.copytree(places / "models", tmp_path / "models")
    shutil.copy(policy, tmp_path / "policy.toml")
    golden = tmp_path / "models/second/golden.jsonl"
    row = json.loads(golden.read_text().splitlines()[0])
    golden.write_text(json.dumps(row | {"probabilities": [0.5, 0.25]}))
    config = tmp_path / "models/second/config.json"
    content = json.loads(config.read_text())
    content["files"].pop("golden.jsonl", None)
    config.write_text(json.dumps(content))
    with pytest.raises(ArtifactCorrupt, match="second: replaying its golden rows"):
        ReloadingRouter.load(places / "first", policy=tmp_path / "policy.toml")


def problems_of(policy, first):
    result = run(app, ["catalog", "--policy", str(policy), "--artifact", str(first)])
    assert result.exit_code == 1
    return " ".join(result.stderr.split())


@pytest.mark.parametrize("below", ["0", "1.1", '"0.9"'])
def test_a_bound_that_is_none(places, policy, below):
    path = places / "bad.toml"
    path.write_text(f'{POLICY}\n[second]\nartifact = "models/second"\nbelow = {below}\n')
    with pytest.raises(PolicyError, match=r"bad.toml: Expected `float`.*second.below"):
        Policy.load(path)


@single
def test_of_exclusive_labels_the_most_probable_may_be_less_probable_than_half(places, policy):
    rules = Policy.load(policy)
    low = replace(rules, second=replace(rules.second, below=0.4))
    assert isinstance(Router.load(places / "first", policy=low).classifier, Cascade)


@several
def test_of_other_labels_one_or_its_absence_never_is(places, policy):
    rules = Policy.load(policy)
    low = replace(rules, second=replace(rules.second, below=0.5))
    with pytest.raises(PolicyError, match=r"`second.below` is 0.5, but of labels that do not"):
        Router.load(places / "first", policy=low)


def test_all_that_is_wrong_is_shown(places, tmp_path, pair):
    other, bound = ("labels", "") if pair[0].single_label else ("label", "below")
    rows = write_rows(tmp_path / "rows.jsonl", key=other)
    train(recipe_for(rows), tmp_path / "other")
    for name, first_problem in (("other", "label"), ("nowhere/at/all", "There is no artifact")):
        (tmp_path / "bad.toml").write_text(
            f'{POLICY}\n[second]\nartifact = "{name}"\nbelow = 0.4\nlabels = ["legal"]\n'
        )
        shown = problems_of(tmp_path / "bad.toml", places / "first")
        assert first_problem in shown
        assert f"`second.{bound or 'labels'}`" in shown


def test_doubt_of_what_is_no_label(places, policy):
    policy.write_text(policy.read_text() + 'labels = ["vision", "legal"]\n')
    with pytest.raises(PolicyError, match=r"`second.labels` names 'vision', which the artifact"):
        Router.load(places / "first", policy=policy)


@single
def test_of_exclusive_labels_there_is_one_doubt(places, policy):
    policy.write_text(policy.read_text() + 'labels = ["legal"]\n')
    with pytest.raises(PolicyError, match=r"`second.labels`, but .* exclude each other"):
        Router.load(places / "first", policy=policy)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/at/all", "cannot be used: There is no artifact at"),
        ("rows.jsonl", "config.json is missing"),
        ("default", "has the labels math, vision, chinese, code, creative, extraction, but the"),
    ],
)
def test_an_artifact_that_does_not_fit_is_refused_in_a_sentence(places, policy, name, said):
    policy.write_text(policy.read_text().replace("models/second", name))
    with pytest.raises(PolicyError, match=f"`second.artifact` .*{said}"):
        Router.load(places / "first", policy=policy)
    assert said in problems_of(policy, places / "first")


def test_one_and_several_labels_do_not_mix(places, policy, tmp_path, pair):
    key = "labels" if pair[0].single_label else "label"
    train(recipe_for(write_rows(tmp_path / "rows.jsonl", key=key)), tmp_path / "other")
    policy.write_text(policy.read_text().replace("models/second", str(tmp_path / "other")))
    kinds = r"gives (exactly one|any number of) labels?, but the first gives (any|exactly)"
    with pytest.raises(PolicyError, match=kinds):
        Router.load(places / "first", policy=policy)


def test_a_router_of_further_labels_asks_no_second_that_does_not_know_them():
    asking = replace(Policy.load(), second=Second("second", 0.9))
    assert asking.with_labels(["billing"]).second is None


def test_a_second_that_reads_tokens(tiny, tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    rows, model = tiny
    small = EncoderRecipe(table_bits=10, width=8)
    train(recipe_for(rows, encoder=small), tmp_path / "first")
    train(recipe_for(rows, encoder=encoder_for(model)), tmp_path / "second")
    (tmp_path / "policy.toml").write_text(f'{POLICY}\n[second]\nartifact = "second"\nbelow = 1.0\n')
    router = Router.load(tmp_path / "first", policy=tmp_path / "policy.toml")
    prompts = asked()
    one, other = (Router.load(tmp_path / name) for name in ("first", "second"))
    first, second = probabilities(one, prompts), probabilities(other, prompts)
    doubtful = first.max(axis=1, keepdims=True) < 1
    assert doubtful.sum() > 20
    expected = np.where(doubtful, pool(first, second, exclusive=True), first)
    found = [[*router.route(text).probabilities.values()] for text in prompts]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    log_ = write_lines(
        tmp_path / "log.jsonl", [{"id": at, "prompt": text} for at, text in enumerate(prompts)]
    )
    classify(log_, tmp_path / "out", router=router, engine=LocalEngine(1))
    same_as_routed(read(tmp_path / "out"), prompts, router)
    many = texts_of_prompts(pa.array(prompts * 20)).packed
    expected = router.classifier.probabilities_many(texts() * 20)
    monkeypatch.setattr(classifier, "ThreadPoolExecutor", None)
    with pytest.raises(TypeError):
        router.route_many(prompts * 20)
    np.testing.assert_allclose(router.classifier.probabilities_packed(many), expected, atol=1e-5)
