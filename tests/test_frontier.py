import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from router_ml import Catalog, Policy, Router
from router_ml.catalog import Model
from router_ml.cli import app
from router_ml.errors import TargetError
from router_ml.evaluation.frontier import Rows, choose_cheapest, envelope, frontier
from router_ml.evaluation.judging import Judge
from router_ml.evaluation.targets import CheapestTarget

run = CliRunner().invoke
TESTS = sorted((Path(__file__).parent.parent / "training/prompts/test").glob("*.jsonl"))


@pytest.fixture(scope="module")
def judge(router):
    return Judge(router)


@pytest.fixture(scope="module")
def drawn(judge):
    return frontier(judge, TESTS)


def test_an_envelope_rises_with_cost():
    rows = [(1.0, 0.5, ()), (2.0, 0.4, ()), (2.0, 0.7, ()), (1.0, 0.6, ()), (3.0, 0.7, ())]
    assert [row[:2] for row in envelope(rows)] == [(1.0, 0.6), (2.0, 0.7)]


def test_the_frontier_leaves_nothing_better_out(judge, drawn):
    costs = [point.usd_per_1000 for point in drawn.chosen]
    accuracies = [point.accuracy.value for point in drawn.chosen]
    assert costs == sorted(costs)
    assert accuracies == sorted(set(accuracies))
    at_now = np.searchsorted(costs, drawn.now.usd_per_1000, "right") - 1
    assert accuracies[at_now] >= drawn.now.accuracy.value
    assert len(drawn.held_out) == len(drawn.chosen) > 10


def test_a_point_is_what_the_router_does(judge, drawn, router):
    """Every row decided anew, by a router with the thresholds, and priced by hand."""
    rows = list(judge.judge(TESTS[:3]))
    thresholds = list(drawn.chosen[0].thresholds.values())
    point = Rows(judge, rows).point(thresholds)
    policy = router.policy
    named = dict(zip(judge.labels, thresholds, strict=True))
    moved = Router(
        router.artifact, msgspec.structs.replace(policy, thresholds=named), router.catalog
    )
    decisions = [moved.route(row.log.request) for row in rows]
    true = [policy.choose(row.facts.union(row.log.data["labels"])).route for row in rows]
    right = [decision.route == route for decision, route in zip(decisions, true, strict=True)]
    cost = [router.catalog.models[decision.model].output_price for decision in decisions]
    assert point.accuracy.value == pytest.approx(np.mean(right))
    assert point.usd_per_1000 == pytest.approx(np.mean(cost) * 215 * 1000 / 1e6)


def test_cheapest(drawn):
    chosen = choose_cheapest(drawn, CheapestTarget(0.92))
    effect = chosen.effects[0]
    assert effect.chosen.value >= 0.92
    assert chosen.usd_per_1000["held_out"] < chosen.usd_per_1000["now"]
    with pytest.raises(TargetError, match="the best on"):
        choose_cheapest(drawn, CheapestTarget(0.999))


def test_labels_that_no_route_hangs_on_stay(judge, drawn):
    for point in drawn.chosen:
        for label in ("code", "creative", "extraction"):
            assert point.thresholds[label] == drawn.now.thresholds[label]


def test_a_policy_without_models(router):
    judge = Judge(Router(router.artifact, Policy.of_labels(router.classifier.labels), CATALOG))
    with pytest.raises(TargetError, match="no model with a price"):
        frontier(judge, TESTS[:1])


CATALOG = Catalog(1, {"only": Model(1.0)}, "only")


def test_the_command(tmp_path):
    policy, page = tmp_path / "policy.toml", tmp_path / "page.html"
    log = [str(path) for path in TESTS]
    target = "cheapest with accuracy >= 0.9"
    result = run(
        app, ["thresholds", *log, "--target", target, "-o", str(policy), "--report", str(page)]
    )
    assert result.exit_code == 0
    assert "route accuracy" in result.stdout
    assert "now" in result.stdout
    text = page.read_text()
    assert 'class="mark"' in text
    assert text.count('class="point"') > 10
    assert "now: US$" in text
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    thresholds = Policy.load(policy).thresholds
    assert set(thresholds) <= {"math", "vision", "chinese"}
    shown = json.loads(run(app, ["thresholds", *log, "--json"]).stdout)
    assert shown["chosen"] is None
    assert shown["frontier"]["now"]["accuracy"]["rows"] > 1000
