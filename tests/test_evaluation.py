import msgspec
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from router_ml import Policy
from router_ml.evaluation import Judged, compare, evaluate_keywords, keyword_labels, slice_rows
from router_ml.evaluation.metrics import calibration_error
from router_ml.examples import Example
from router_ml.request import model_text, read_request

LABELS = ("math", "vision", "chinese", "code", "creative", "extraction")


def example(text, *labels, **more):
    request = read_request(text)
    return Example(request, model_text(request), tuple(sorted(labels)), False, **more)


def random_rows(rows=300):
    draw = np.random.default_rng(0)
    true = draw.random((rows, len(LABELS))) < 0.3
    probabilities = np.where(true, draw.beta(4, 2, true.shape), draw.beta(2, 4, true.shape))
    examples = [
        example(f"row {n}", *np.array(LABELS)[row], source=f"s{n % 3}", lang="en")
        for n, row in enumerate(true)
    ]
    given = [tuple(np.array(LABELS)[row]) for row in probabilities >= 0.5]
    return examples, true, Judged(probabilities.astype(np.float32), given)


def test_figures_equal_scikit_learns():
    examples, true, judged = random_rows()
    policy = Policy.load()
    found = compare("x", examples, judged, LABELS, policy)
    said = judged.probabilities >= 0.5
    precision, recall, f1, support = precision_recall_fscore_support(true, said, zero_division=0)
    for column, label in enumerate(LABELS):
        score = found.labels[label]
        assert (score.precision, score.recall) == pytest.approx((precision[column], recall[column]))
        assert (score.f1, score.support) == pytest.approx((f1[column], support[column]))
    assert found.macro_f1 == pytest.approx(f1_score(true, said, average="macro"))
    routes = [[policy.choose(frozenset(e.labels)).route for e in examples]]
    routes.append([policy.choose(frozenset(row)).route for row in judged.given])
    assert found.accuracy == pytest.approx(accuracy_score(*routes))
    assert np.sum(found.confusion) == len(examples)


def test_slices_and_mistakes():
    examples, _, judged = random_rows()
    found = compare("x", examples, judged, LABELS, Policy.load())
    assert found.slices["source s1"].rows == 100
    assert found.slices["lang en"].accuracy == pytest.approx(found.accuracy)
    confidences = [mistake.confidence for mistake in found.mistakes]
    assert confidences == sorted(confidences, reverse=True)
    assert all(mistake.true_route != mistake.given_route for mistake in found.mistakes)
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_slices_by_length_and_turns():
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b" * 300}]
    rows = slice_rows([example("short"), example(turns, "math")])
    assert rows["length up to 40 bytes"] == [0]
    assert rows["length up to 1,000 bytes"] == rows["turns several"] == rows["label math"] == [1]


def test_calibration_error_of_a_known_case():
    probabilities = np.full((10, 1), 0.8)
    true = np.arange(10)[:, None] < 6
    assert calibration_error(probabilities, true) == pytest.approx(0.2)


def test_keyword_rules_look_at_no_parts():
    assert keyword_labels("Explain WHY the sky is blue") == ("math",)
    assert keyword_labels("integrate x") == ()
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    found = evaluate_keywords(Policy.load(), [example(image, "vision")], LABELS)
    assert found.accuracy == 0
