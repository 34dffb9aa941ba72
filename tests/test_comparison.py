import pytest
from evaluations import GENERAL, MATH, report_on
from scipy.stats import binom, binomtest

from router_ml.evaluation.comparison import mcnemar
from router_ml.evaluation.systems import find_system


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


def test_pairs_are_drawn_together(tmp_path, router):
    """Both systems find the same rows hard: their difference is surer than either's accuracy."""
    rows = [MATH | {"prompt": f"{at} {MATH['prompt']}"} for at in range(60)]
    rows += [GENERAL | {"prompt": f"Hi {at}", "labels": ["math"]} for at in range(40)]
    wrong = [GENERAL | {"prompt": f"Hello {at}"} for at in range(4)]

    class Other:
        name = "other"

        def answer_many(self, asked):
            given = find_system("keywords", router).answer_many(asked)
            return [
                answer._replace(route="math") if "Hello" in row.line["prompt"] else answer
                for answer, row in zip(given, asked, strict=True)
            ]

    found = report_on(tmp_path, router, [*rows, *wrong], [Other()])
    difference = found.versus[0].result.accuracy_difference
    assert difference.value == pytest.approx(4 / 104)
    width, of_one = (figure.high - figure.low for figure in (difference, found.main.accuracy))
    assert 0 <= difference.low < difference.value < difference.high
    assert width < of_one / 2
    assert [(one.first, one.second, one.rows) for one in found.versus[0].result.changes] == [
        ("general", "math", 4)
    ]
    assert found.versus[0].result.only_first == found.versus[0].result.changed == 4
