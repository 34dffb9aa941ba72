import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from router_ml.evaluation import metrics
from router_ml.evaluation.intervals import Bootstrap
from router_ml.evaluation.scores import (
    accuracy,
    average_precision,
    average_precision_figure,
    calibration,
    confusion,
    coverage_curve,
    label_scores,
    mean_accuracy,
    name_scores,
)

EXACT = 1e-9
ROWS, LABELS, NAMES = 500, 4, 5


@pytest.fixture(scope="module")
def draw():
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def boot():
    return Bootstrap(np.arange(ROWS), replicates=200)


@pytest.fixture(scope="module")
def probabilities(draw):
    return np.round(draw.random((ROWS, LABELS)), 2)  # with equal ones among them


@pytest.fixture(scope="module")
def true(draw, probabilities):
    return draw.random((ROWS, LABELS)) < probabilities**2


def test_names_equal_scikit_learns(draw, boot):
    true, given = draw.integers(0, NAMES, ROWS), draw.integers(0, NAMES - 1, ROWS)
    given[:200] = true[:200]
    found, macro = name_scores(true, given, NAMES, boot)
    columns = precision_recall_fscore_support(true, given, zero_division=0)
    for at, score in enumerate(found):
        figures = (score.precision, score.recall, score.f1)
        for figure, column in zip(figures, columns, strict=False):
            assert figure.value == pytest.approx(column[at], abs=EXACT)
            assert figure.low <= figure.value <= figure.high
        assert score.rows == columns[3][at]
    assert macro.value == pytest.approx(f1_score(true, given, average="macro"), abs=EXACT)
    assert (confusion(true, given, NAMES) == confusion_matrix(true, given)).all()
    right = accuracy(true == given, boot)
    assert right.value == pytest.approx(accuracy_score(true, given), abs=EXACT)


def test_labels_equal_scikit_learns(true, probabilities, boot):
    given = probabilities >= 0.5
    found, macro = label_scores(true, given, boot)
    columns = precision_recall_fscore_support(true, given, zero_division=0)
    for at, score in enumerate(found):
        assert score.precision.value == pytest.approx(columns[0][at], abs=EXACT)
        assert score.recall.value == pytest.approx(columns[1][at], abs=EXACT)
        assert score.f1.value == pytest.approx(columns[2][at], abs=EXACT)
    assert macro.value == pytest.approx(f1_score(true, given, average="macro"), abs=EXACT)


def test_average_precision_equals_scikit_learns(true, probabilities, boot):
    for p, y in zip(probabilities.T, true.T, strict=True):
        expected = average_precision_score(y, p)
        assert average_precision(p, y) == pytest.approx(expected, abs=EXACT)
        figure = average_precision_figure(p, y, boot)
        assert figure.value == pytest.approx(expected, abs=EXACT)
        assert figure.low < expected < figure.high


def test_average_precision_without_the_label_or_without_probabilities(boot):
    none = np.zeros(ROWS, bool)
    assert average_precision_figure(np.full(ROWS, 0.5), none, boot) is None
    assert average_precision_figure(np.full(ROWS, np.nan), ~none, boot) is None


def test_calibration_equals_the_one_that_training_reports(true, probabilities, boot):
    error, curve = calibration(probabilities, true, boot)
    expected = metrics.calibration_error(probabilities, true)
    assert error.value == pytest.approx(expected, abs=EXACT)
    assert error.low <= error.value <= error.high
    assert sum(one.count for one in curve) == true.size
    assert sum(one.held.value * one.count for one in curve) == pytest.approx(true.sum())


def test_calibration_of_a_known_case():
    true = np.arange(10)[:, None] < 6
    error, curve = calibration(np.full((10, 1), 0.8), true, Bootstrap(np.arange(10)))
    assert error.value == pytest.approx(0.2)
    assert [(one.said, one.held.value, one.count) for one in curve] == [
        (pytest.approx(0.8), pytest.approx(0.6), 10)
    ]


def test_coverage_by_hand():
    confidence, right = np.array([0.9, 0.5, 0.7, 0.7]), np.array([True, False, True, False])
    curve = coverage_curve(confidence, right, Bootstrap(np.arange(4)))
    found = [(one.confidence, one.coverage, one.accuracy.value) for one in curve]
    assert found == [(0.5, 1.0, 0.5), (0.7, 0.75, pytest.approx(2 / 3)), (0.9, 0.25, 1.0)]


def test_the_mean_over_parts_counts_each_part_the_same():
    right, part = np.array([True, True, True, False]), np.array([0, 0, 0, 2])
    figure = mean_accuracy(right, part, Bootstrap(np.arange(4)))
    assert figure.value == 0.5
