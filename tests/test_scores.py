import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_recall_fscore_support,
)

from router_ml.evaluation import metrics
from router_ml.evaluation.intervals import Bootstrap
from router_ml.evaluation.scores import (
    COVERAGES,
    GRID,
    accuracy,
    average_precision,
    average_precision_figure,
    calibration,
    coverage_curve,
    grid_of,
    mean_accuracy,
    name_scores,
)
from router_ml.evaluation.tally import UNITS, Steps

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


def labels_totals(boot, *columns):
    """Totals of bool columns [n, labels], each [1 + replicates, labels]."""
    return [np.concatenate([boot.totals(one) for one in part.T], axis=1) for part in columns]


def test_names_equal_scikit_learns(draw, boot):
    true, given = draw.integers(0, NAMES, ROWS), draw.integers(0, NAMES - 1, ROWS)
    given[:200] = true[:200]
    held, said = (boot.totals(cells=codes, size=NAMES) for codes in (true, given))
    found, macro = name_scores(held, said, boot.totals(true == given, true, NAMES))
    columns = precision_recall_fscore_support(true, given, zero_division=0)
    for at, score in enumerate(found):
        figures = (score.precision, score.recall, score.f1)
        for figure, column in zip(figures, columns, strict=False):
            assert figure.value == pytest.approx(column[at], abs=EXACT)
            assert figure.low <= figure.value <= figure.high
        assert score.rows == columns[3][at]
    assert macro.value == pytest.approx(f1_score(true, given, average="macro"), abs=EXACT)
    right = accuracy(boot.totals(true == given), boot.totals())
    assert right.value == pytest.approx(accuracy_score(true, given), abs=EXACT)


def test_labels_equal_scikit_learns(true, probabilities, boot):
    given = probabilities >= 0.5
    found, macro = name_scores(*labels_totals(boot, true, given, true & given))
    columns = precision_recall_fscore_support(true, given, zero_division=0)
    for at, score in enumerate(found):
        assert score.precision.value == pytest.approx(columns[0][at], abs=EXACT)
        assert score.recall.value == pytest.approx(columns[1][at], abs=EXACT)
        assert score.f1.value == pytest.approx(columns[2][at], abs=EXACT)
    assert macro.value == pytest.approx(f1_score(true, given, average="macro"), abs=EXACT)


def grid_totals(boot, p, y):
    cells = grid_of(p)
    return boot.totals(cells=cells, size=GRID), boot.totals(y, cells, GRID)


def test_average_precision_equals_scikit_learns(true, probabilities, boot):
    for p, y in zip(probabilities.T.astype(np.float32), true.T, strict=True):
        expected, steps = average_precision_score(y, p), Steps.of(p, y)
        assert average_precision(steps) == pytest.approx(expected, abs=EXACT)
        figure = average_precision_figure(steps, *grid_totals(boot, p, y))
        assert figure.value == pytest.approx(expected, abs=EXACT)
        assert figure.low < expected < figure.high


def test_an_interval_of_average_precision_stays_below_one():
    p, y = np.array([0.2, 0.201, 0.202, 0.203], np.float32), np.array([0, 0, 1, 1], bool)
    boot = Bootstrap(np.arange(4))
    figure = average_precision_figure(Steps.of(p, y), *grid_totals(boot, p, y))
    assert (figure.value, figure.high) == (1, 1)
    assert figure.low >= 0


def test_average_precision_without_the_label(boot):
    p, none = np.full(ROWS, 0.5, np.float32), np.zeros(ROWS, bool)
    assert average_precision_figure(Steps.of(p, none), *grid_totals(boot, p, none)) is None


def calibration_of(probabilities, true, boot):
    labels = zip(probabilities.T, true.T, strict=True)
    sums = [
        [boot.totals(values, (p * 15).astype(int).clip(0, 14), 15) for values in (None, p, y)]
        for p, y in labels
    ]
    count, said, held = (np.stack(part, axis=1) for part in zip(*sums, strict=True))
    return calibration(count, said * UNITS, held)


def test_calibration_equals_the_one_that_training_reports(true, probabilities, boot):
    error, curve = calibration_of(probabilities, true, boot)
    expected = metrics.calibration_error(probabilities, true)
    assert error.value == pytest.approx(expected, abs=EXACT)
    assert error.low <= error.value <= error.high
    assert sum(one.count for one in curve) == true.size
    assert sum(one.held.value * one.count for one in curve) == pytest.approx(true.sum())


def test_calibration_of_a_known_case():
    true = np.arange(10)[:, None] < 6
    error, curve = calibration_of(np.full((10, 1), 0.8), true, Bootstrap(np.arange(10)))
    assert error.value == pytest.approx(0.2)
    assert [(one.said, one.held.value, one.count) for one in curve] == [
        (pytest.approx(0.8), pytest.approx(0.6), 10)
    ]


def coverage_of(confidence, right):
    least = np.full(GRID, np.inf)
    np.minimum.at(least, grid_of(confidence), confidence)
    return coverage_curve(least, *grid_totals(Bootstrap(np.arange(len(right))), confidence, right))


def test_coverage_by_hand():
    curve = coverage_of(np.array([0.9, 0.5, 0.7, 0.7]), np.array([True, False, True, False]))
    found = [(one.confidence, one.coverage, one.accuracy.value) for one in curve]
    assert found == [(0.5, 1.0, 0.5), (0.7, 0.75, pytest.approx(2 / 3)), (0.9, 0.25, 1.0)]


def test_coverage_of_many_confidences(draw):
    confidence = 1 - draw.random(5_000) ** 4 / 2
    right = draw.random(5_000) < confidence
    curve = coverage_of(confidence, right)
    assert len(curve) <= COVERAGES
    assert curve[0].coverage == 1
    for one in curve:
        kept = confidence >= one.confidence
        assert one.coverage == pytest.approx(kept.mean())
        assert one.accuracy.value == pytest.approx(right[kept].mean())
        assert one.accuracy.low <= one.accuracy.value <= one.accuracy.high


def test_the_mean_over_parts_counts_each_part_the_same():
    right, part = np.array([True, True, True, False]), np.array([0, 0, 0, 1])
    boot = Bootstrap(np.arange(4))
    figure = mean_accuracy(boot.totals(right, part, 2), boot.totals(cells=part, size=2))
    assert figure.value == 0.5
