import numpy as np
import pytest
from scipy.stats import binom, binomtest

from router_ml.evaluation.comparison import Change, count_changes, mcnemar, mean_difference
from router_ml.evaluation.intervals import Bootstrap


@pytest.mark.parametrize(("first", "second"), [(1, 8), (59, 6), (40, 41), (7, 7), (900, 1_050)])
def test_mcnemar_equals_the_binomial_test(first, second):
    found = mcnemar(first, second)
    n, fewer = first + second, min(first, second)
    exact = binomtest(fewer, n).pvalue
    assert found.p_exact == pytest.approx(exact, rel=1e-9)
    mid = 1.0 if first == second else exact - binom.pmf(fewer, n, 0.5)
    assert found.p_mid == pytest.approx(mid, rel=1e-9)


def test_mcnemar_equals_statsmodels():
    # statsmodels.stats.contingency_tables.mcnemar([[101, 121], [59, 33]]).pvalue
    assert mcnemar(121, 59).p_exact == pytest.approx(4.4344492637551645e-06, rel=1e-9)


def test_mcnemar_of_a_million_rows():
    assert mcnemar(300_000, 301_000).p_mid == pytest.approx(0.1973, abs=2e-3)
    assert mcnemar(0, 5_000).p_exact == 0.0


def test_mcnemar_without_a_difference_says_nothing():
    assert (mcnemar(0, 0).p_exact, mcnemar(0, 0).p_mid) == (1.0, 1.0)


def test_pairs_are_drawn_together():
    hard = np.random.default_rng(0).random(400)  # both systems find the same rows hard
    first, second = (hard < 0.8).astype(float), (hard < 0.75).astype(float)
    boot = Bootstrap(np.arange(400))
    found = mean_difference(first, second, boot)
    assert found.value == pytest.approx((first - second).mean())
    assert 0 < found.low < found.value < found.high < 0.09


def test_changes_by_route():
    true, first, second = (np.array(row) for row in ([0, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 1]))
    found = count_changes(true, first, second, ("general", "math"))
    assert found == [Change("general", "general", "math", 2), Change("math", "general", "math", 1)]
