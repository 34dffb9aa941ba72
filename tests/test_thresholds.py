import json
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from typer.testing import CliRunner

from router_ml import Router
from router_ml.cli import app
from router_ml.errors import DataError, PolicyError, TargetError
from router_ml.evaluation.judging import Judge
from router_ml.evaluation.policy_text import policy_with
from router_ml.evaluation.targets import CheapestTarget, LabelTarget, ShareTarget, parse_target
from router_ml.evaluation.thresholds import Sweep, choose_threshold, half_of, share_of
from router_ml.policy import SHIPPED_POLICY

run = CliRunner().invoke
ROOT = Path(__file__).parent.parent
PROMPTS = sorted((ROOT / "training" / "prompts").rglob("*.jsonl"))
TESTS = sorted((ROOT / "training" / "prompts" / "test").glob("*.jsonl"))


@pytest.fixture(scope="session")
def judge(router):
    return Judge(router)


def parse(text, router):
    return parse_target(text, router.policy, router.classifier.labels)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (
            "at most 5% of traffic to moonshot-k2.5",
            ShareTarget("moonshot-k2.5", False, 0.05, "math"),
        ),
        ("at most .2 of traffic to chinese", ShareTarget("chinese", True, 0.2, "chinese")),
        (
            "at most 9.5% of traffic to general by code",
            ShareTarget("general", True, 0.095, "code"),
        ),
        ("recall of vision >= 0.99", LabelTarget("recall", "vision", 0.99)),
        ("  precision of math  ≥ 90%", LabelTarget("precision", "math", 0.9)),
        ("cheapest with accuracy >= 0.95", CheapestTarget(0.95)),
    ],
)
def test_targets(text, target, router):
    assert parse(text, router) == target
    assert parse(str(target), router) == target


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no target"),
        ("recall of math > 0.9", "is no target"),
        ("at most 500% of traffic to math", "between 0 and 1"),
        ("recall of math >= 1", "between 0 and 1"),
        ("at most 5% of traffic to gpt-0", "sends nothing to 'gpt-0'"),
        ("at most 5% of traffic to glm-4.6v", "Several labels lead to 'glm-4.6v'"),
        ("at most 5% of traffic to general", "No one label leads to 'general'"),
        ("at most 5% of traffic to math by maths", "no label 'maths'"),
        ("recall of maths >= 0.9", "no label 'maths'"),
    ],
)
def test_targets_that_are_none(text, problem, router):
    with pytest.raises(TargetError, match=problem):
        parse(text, router)


def test_a_sweep_counts_as_a_router_would_decide():
    draw = np.random.default_rng(0)
    p = np.concatenate([draw.random(200).astype(np.float32), [0, 0.5, 1]]).tolist()
    true = draw.random(len(p)) < 0.5
    sweep = Sweep()
    for probability, is_true in zip(p, true.tolist(), strict=True):
        sweep.add(probability, (is_true, True), (False, False))
    for threshold in (0.0, 0.25, 0.5, 0.77777, 1.0):
        held = np.array(p) >= threshold
        figure = sweep.figure(threshold)
        assert figure.rows == held.sum()
        assert figure.value == pytest.approx((held & true).sum() / held.sum())


def test_wilsons_interval():
    # Brown, Cai and DasGupta 2001 work with the same formula: 0.2 of 10 is 0.0567 to 0.5098.
    figure = share_of(2, 10)
    assert (figure.low, figure.high) == pytest.approx((0.0567, 0.5098), abs=5e-5)
    assert share_of(0, 0).rows == 0


def test_a_share_is_used_and_kept_on_the_other_half(judge, router):
    target = parse("at most 5% of traffic to moonshot-k2.5", router)
    effects = [choose_threshold(judge, PROMPTS, target, seed).effects[0] for seed in range(8)]
    for effect in effects:
        assert effect.held_out.rows > 10_000
        assert 0.0425 <= effect.held_out.value <= 0.0525  # three standard errors and no more
        assert 0.045 <= effect.chosen.value <= 0.05
        assert effect.now.value > 0.1
    assert 0.045 <= mean(effect.held_out.value for effect in effects) <= 0.05


def test_the_figures_are_those_of_a_router_with_the_policy_that_was_written(judge, tmp_path):
    policy, log = tmp_path / "policy.toml", [str(path) for path in TESTS]
    target = "at most 5% of traffic to moonshot-k2.5"
    result = run(app, ["thresholds", *log, "--target", target, "-o", str(policy), "--json"])
    assert result.exit_code == 0
    effect = json.loads(result.stdout)["chosen"]["effects"][0]
    routed = Router.load(policy=policy)
    halves = ([], [])
    for row in judge.judge(TESTS):
        halves[half_of(row.log)].append(routed.route(row.log.request).model == "moonshot-k2.5")
    for half, name in zip(halves, ("chosen", "held_out"), strict=True):
        assert effect[name]["value"] == pytest.approx(mean(half))
        assert effect[name]["rows"] == len(half)


def test_a_share_needs_no_labels_and_a_recall_does(judge, router, tmp_path):
    log = tmp_path / "log.jsonl"
    lines = TESTS[0].read_text().splitlines()
    log.write_text("\n".join(json.dumps({"prompt": json.loads(x)["prompt"]}) for x in lines))
    share = parse("at most 30% of traffic to chinese", router)
    assert choose_threshold(judge, [log], share).effects[0].chosen.value <= 0.3
    with pytest.raises(DataError, match=r"log\.jsonl:1: a row needs `labels`"):
        choose_threshold(judge, [log], parse("recall of math >= 0.9", router))


@pytest.mark.parametrize(("measure", "other"), [("recall", "precision"), ("precision", "recall")])
def test_recall_and_precision_are_paid_for_by_each_other(measure, other, judge, router):
    chosen = choose_threshold(judge, TESTS, parse(f"{measure} of math >= 0.96", router))
    first, second = chosen.effects
    assert (first.figure, second.figure) == (f"{measure} of math", f"{other} of math")
    assert first.chosen.value >= 0.96
    assert first.held_out.value > first.now.value
    assert second.held_out.value < second.now.value


def test_a_target_that_nothing_meets(judge, router, tmp_path):
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    rows = [{"messages": [{"role": "user", "content": f"{n}"}, image]} for n in range(50)]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(TargetError, match=r"least share of traffic to vision is 1\.0000"):
        choose_threshold(judge, [log], parse("at most 5% of traffic to vision", router))
    log.write_text('{"prompt": "x", "labels": []}')
    with pytest.raises(TargetError, match="no row to measure the recall of math on"):
        choose_threshold(judge, [log], parse("recall of math >= 0.5", router))


def test_a_policy_keeps_its_comments():
    text = SHIPPED_POLICY.read_text()
    once = policy_with(text, {"math": 0.9, "own label": 0.25})
    assert once.startswith(text)
    assert once.endswith('\n[thresholds]\nmath = 0.9\n"own label" = 0.25\n')
    commented = (
        once.replace("math = 0.9", "math = 0.9  # by hand") + '\n[sticky]\nroutes = ["math"]\n'
    )
    twice = policy_with(commented, {"math": 0.75, "code": 0.5})
    assert twice == commented.replace("math = 0.9  # by hand", "code = 0.5\nmath = 0.75  # by hand")


def test_thresholds_that_cannot_be_edited():
    text = "thresholds = { math = 0.5 }\n" + SHIPPED_POLICY.read_text()
    with pytest.raises(PolicyError, match=r"write them as a \[thresholds\] table"):
        policy_with(text, {"math": 0.9})


def test_the_command_says_what_is_wrong(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": "x"}')
    command = ["thresholds", str(log)]
    for more, problem in (
        (["--target", "cheap"], "is no target"),
        (["-o", str(tmp_path / "p.toml")], "without a --target"),
        ([], "needs `labels`"),
    ):
        result = run(app, [*command, *more])
        assert result.exit_code == 1
        assert problem in result.stderr
        assert result.stderr.count("\n") == 1
    log.write_text("")
    result = run(app, [*command, "--target", "at most 5% of traffic to math"])
    assert "the file has no rows" in result.stderr
    log.write_text(TESTS[0].read_text())
    policy = tmp_path / "inline.toml"
    policy.write_text("thresholds = { math = 0.5 }\n" + SHIPPED_POLICY.read_text())
    written = ["-o", str(tmp_path / "p.toml"), "--report", str(tmp_path / "p.html")]
    target = ["--target", "at most 5% of traffic to math", "--policy", str(policy)]
    assert "cannot be edited" in run(app, [*command, *target, *written]).stderr
    assert {path.name for path in tmp_path.iterdir()} == {"inline.toml", "log.jsonl"}
