import json

import numpy as np
import pytest
from typer.testing import CliRunner

from router_ml import Catalog, Policy, Router
from router_ml.catalog import Model
from router_ml.cli import app
from router_ml.errors import DataError, TargetError
from router_ml.evaluation.gap import gap_curve, hull_area, mixing_hull, mixing_quality
from router_ml.evaluation.outcome_evaluation import evaluate_outcomes
from router_ml.evaluation.outcomes import Result, read_outcomes, result_cost
from router_ml.policy import Rule
from router_ml.request import read_request

run = CliRunner().invoke
CATALOG = Catalog(1, {"small": Model(1.0, ("text", "vision"), 0.5), "large": Model(10.0)}, "large")


@pytest.fixture(scope="module")
def routed(router):
    """Maths to the large model, all else to the small one."""
    rules = (Rule("math", ("large",), ("math",)), Rule("rest", ("small",)))
    others = [Rule("rest", ("small",), (label,)) for label in router.classifier.labels[1:]]
    return Router(router.artifact, Policy(1, (rules[0], *others, rules[1]), "rest"), CATALOG)


def write(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def test_measures_of_a_curve_by_hand():
    """Four requests in the order of their score; the strong model gains on the 1st and 4th.

    Quality is 0.5, 0.75, 0.75, 0.75, 1.0 at 0, 1/4 … 1 of the calls, and so the gap
    recovered 0, 0.5, 0.5, 0.5, 1. Its area is 1/4 (0.25 + 0.5 + 0.5 + 0.75) = 0.5.
    Half of the gap is recovered at 1/4, and 80% at 3/4 + (0.3 / 0.5) / 4 = 0.9.
    """
    weak, strong = [0, 1, 1, 0], [1, 1, 1, 1]
    curve = gap_curve([0.9, 0.8, 0.3, 0.1], weak, strong, ([1] * 4, [5] * 4))
    assert curve.shares == [0, 0.25, 0.5, 0.75, 1]
    assert curve.qualities == [0.5, 0.75, 0.75, 0.75, 1]
    assert curve.usd_per_1000 == [1000, 2000, 3000, 4000, 5000]
    assert (curve.area, curve.apgr) == pytest.approx((0.75, 0.5))
    # The hull over costs of 1, 2 and 5 dollars: (0.5 + 0.75) / 2 + 3 (0.75 + 1) / 2, over 4.
    assert curve.aiq == pytest.approx(0.8125)
    assert curve.cpt == pytest.approx({"50%": 0.25, "80%": 0.9})


def test_the_best_and_the_worst_order():
    """One request in four gains: known beforehand, all of the gap costs a quarter of the calls."""
    weak, strong = [0, 1, 1, 1], [1, 1, 1, 1]
    best = gap_curve([4, 3, 2, 1], weak, strong)
    assert best.apgr == pytest.approx(0.25 * 0.5 + 0.75)
    assert (best.aiq, best.usd_per_1000) == (None, None)
    assert best.cpt == pytest.approx({"50%": 0.125, "80%": 0.2})
    assert gap_curve([1, 2, 3, 4], weak, strong).apgr == pytest.approx(0.125)


def test_requests_of_equal_score_are_taken_in_no_order():
    for weak in ([0, 1, 1, 1], [1, 1, 1, 0]):
        assert gap_curve([7] * 4, weak, [1] * 4).apgr == pytest.approx(0.5)


def test_a_dip_in_the_curve_is_not_the_end():
    """Quality falls before it rises: 50% of the gap is where it is first recovered."""
    curve = gap_curve([3, 2, 1], [0, 1, 0], [1, 0, 1])
    assert curve.qualities == pytest.approx([1 / 3, 2 / 3, 1 / 3, 2 / 3])
    assert curve.cpt == pytest.approx({"50%": 1 / 6, "80%": 0.8 / 3})


def test_a_gap_that_is_none():
    with pytest.raises(ValueError, match="large is not better than small"):
        gap_curve([1, 2], [1, 0], [0, 1], names=("small", "large"))


def test_long_curves_are_thinned_and_measured_whole():
    draw = np.random.default_rng(0)
    weak = draw.random(5000) < 0.5
    curve = gap_curve(draw.random(5000) / 2 - weak, weak, np.ones(5000))
    assert len(curve.shares) == 101
    assert curve.apgr == pytest.approx(1 - np.mean(~weak) / 2, abs=1e-3)


def test_random_mixing_by_hand():
    points = [(1, 0.5), (2, 0.4), (3, 0.7), (5, 0.9), (4, 0.75), (9, 0.8), (5, 0.6)]
    assert mixing_hull(points).tolist() == [[1, 0.5], [5, 0.9]]
    assert mixing_quality(points, 2) == pytest.approx(0.6)
    assert mixing_quality(points, 0.1) == 0.5
    assert mixing_quality(points, 99) == 0.9


def test_the_area_of_a_hull_by_hand():
    """From (1, 0.5) straight to (3, 0.9) and on level to 5: 1.4 + 1.8, over a range of 4."""
    assert hull_area([(1, 0.5), (2, 0.6), (3, 0.9), (5, 0.2)]) == pytest.approx(0.8)
    assert hull_area([(1, 0.5), (1, 0.7)]) is None


def test_the_three_forms(tmp_path):
    own = {"id": "a", "prompt": "x", "results": {"m": {"correct": True, "latency_s": 1.5}}}
    routerbench = {
        "sample_id": "s.1",
        "prompt": "y",
        "eval_name": "mmlu",
        "m": 0.5,
        "m|model_response": "['A']",
        "m|total_cost": 0.002,
        "oracle_model_to_route_to": "m",
    }
    routellm = {"prompt": "z", "m": False}
    found = read_outcomes([write(tmp_path / "o.jsonl", own, routerbench, routellm)])
    assert [row.results for row in found] == [
        {"m": Result(correct=True, latency_s=1.5)},
        {"m": Result(score=0.5, cost_usd=0.002)},
        {"m": Result(correct=False)},
    ]
    assert found[1].domain == "mmlu"


def test_results_that_were_appended_are_one_row(tmp_path):
    small, large, failed = {"small": {"score": 0.1}}, {"large": {"score": 1}}, {"error": "503"}
    rows = [
        {"id": 7, "prompt": "x", "results": small},
        {"id": 7, "prompt": "x", "results": {"large": failed}},
        {"id": 7, "prompt": "x", "results": large},
        {"prompt": "y", "results": large},
        {"prompt": "y", "results": small},
        {"prompt": "y", "results": large},
    ]
    found = read_outcomes([write(tmp_path / "o.jsonl", *rows)])
    assert [sorted(row.results) for row in found] == [["large", "small"]] * 2 + [["large"]]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"results": {}}, "either `prompt` or"),
        ({"prompt": "x", "results": {"m": {"score": 1.5}}}, "<= 1.0"),
        ({"prompt": "x", "results": {"m": 1}}, "Expected `object`"),
        ({"prompt": "x", "results": {"m": {"answer": "y"}}}, "no row has a result"),
        ({"prompt": "x"}, "no row has a result"),
    ],
)
def test_rows_that_are_no_outcomes(row, problem, tmp_path):
    path = write(tmp_path / "o.jsonl", row)
    with pytest.raises(DataError, match=problem):
        read_outcomes([path])


def test_what_a_result_costs():
    request = read_request("x" * 400)  # a hundred tokens
    known = Result(input_tokens=1000, output_tokens=100)
    assert result_cost("small", Result(cost_usd=0.25), request, CATALOG) == 0.25
    assert result_cost("small", known, request, CATALOG) == pytest.approx(600 / 1e6)
    estimated = result_cost("small", Result(output_tokens=10), request, CATALOG)
    assert estimated == pytest.approx(60 / 1e6)
    assert result_cost("other", known, request, CATALOG) is None


def outcome(prompt, small, large):
    results = {"small": {"score": small, "cost_usd": 1}, "large": {"score": large, "cost_usd": 10}}
    return {"prompt": prompt, "results": results}


ROWS = [
    outcome("Prove that the square root of 2 is irrational", 0, 1),
    outcome("Prove that 3 divides n^3 - n for every integer n", 0.5, 1),
    outcome("hello there, how are you today?", 1, 1),
    outcome("what is a good name for a fluffy cat", 1, 0),
]


def test_a_policy_by_hand(routed, tmp_path):
    rows = read_outcomes([write(tmp_path / "o.jsonl", *ROWS)])
    found = evaluate_outcomes(routed, rows, by="math")
    assert [(one.name, one.quality) for one in found.singles] == [("large", 0.75), ("small", 0.625)]
    assert (found.policy.quality, found.policy.usd_per_1000) == (1.0, 5500)
    assert found.shares == {"large": 0.5, "small": 0.5}
    assert (found.oracle.quality, found.oracle.usd_per_1000) == (1.0, 5500)
    assert found.mixing_quality == pytest.approx((0.625 + 0.75) / 2)
    assert found.policy.margin == 0
    assert found.singles[0].margin == pytest.approx(1.96 * (0.75 * 0.25 / 4) ** 0.5, rel=1e-4)
    assert (found.curve.weak, found.curve.strong) == ("small", "large")
    assert found.curve.apgr > 1  # here it is better than the strong model alone


def test_rows_that_are_left_out_are_counted(routed, tmp_path):
    half = {"prompt": "half", "results": {"small": {"correct": True}}}
    rows = read_outcomes([write(tmp_path / "o.jsonl", *ROWS, half)])
    assert evaluate_outcomes(routed, rows).incomplete == 1
    with pytest.raises(TargetError, match="No row has a result of every model"):
        evaluate_outcomes(
            routed, [rows[4]._replace(results={"a": rows[4].results["small"]}), rows[4]]
        )


def test_a_policy_that_chooses_other_models(router, tmp_path):
    rows = read_outcomes([write(tmp_path / "o.jsonl", *ROWS)])
    found = evaluate_outcomes(router, rows)
    assert (found.policy, found.shares, found.rows, found.uncovered) == (None, {}, 4, 0)


def test_the_command(tmp_path):
    path = str(write(tmp_path / "o.jsonl", *ROWS))
    shown = run(app, ["outcomes", path, "--by", "math"])
    assert shown.exit_code == 0
    assert "APGR" in shown.stdout
    found = json.loads(run(app, ["outcomes", path, "--json"]).stdout)
    assert found["oracle"]["quality"] == 1
    three = outcome("x", 0, 1)
    three["results"]["third"] = {"correct": True}
    for rows, more, problem in (
        (ROWS, ["--by", "maths"], "no label 'maths'"),
        (ROWS, ["--by", "math", "--strong", "gpt"], "no results of 'gpt'"),
        (ROWS, ["--by", "math", "--strong", "small", "--weak", "large"], "no gap to recover"),
        ([three], ["--by", "math"], "Say which is weak"),
    ):
        write(tmp_path / "o.jsonl", *rows)
        result = run(app, ["outcomes", path, *more])
        assert result.exit_code == 1
        assert problem in result.stderr
        assert result.stderr.count("\n") == 1
