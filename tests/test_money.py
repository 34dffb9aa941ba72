import json

import pytest

from router_ml import Catalog
from router_ml.errors import EvaluationError
from router_ml.evaluation.money import CLASSIC, read_shares
from router_ml.evaluation.report import make_report
from router_ml.evaluation.systems import Answer, find_system


class Told:
    """A system that answers what its test says."""

    name = "told"

    def __init__(self, *answers):
        self._answers = answers

    def answer_many(self, rows):
        return self._answers[: len(rows)]


def report_on(tmp_path, router, rows, against=(), **more):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return make_report([path], router, against, **more)


MATH = {
    "prompt": "Prove that the square root of 2 is irrational.",
    "labels": ["math"],
    "usage": {"prompt_tokens": 20, "completion_tokens": 1_000},
}
GENERAL = {
    "prompt": "What is a good name for a grey cat?",
    "labels": [],
    "usage": {"prompt_tokens": 10, "completion_tokens": 200},
}


def test_spend_by_hand(tmp_path, router):
    found = report_on(tmp_path, router, [MATH, GENERAL], [find_system("keywords", router)])
    money = found.money
    spend = {one.name: one for one in money.spends}
    # moonshot-k2.5 at 3.00 writes 1,000 tokens, deepseek-v4-flash at 0.25 writes 200; both
    # prices are of a million output tokens, and there are two requests.
    routed = (1_000 * 3.00 + 200 * 0.25) / 1e6 / 2
    everything = (1_000 + 200) * 10.00 / 1e6 / 2
    cheapest = (1_000 + 200) * 0.01 / 1e6 / 2
    assert spend["router-ml"].per_1000.value == pytest.approx(1000 * routed)
    assert spend["router-ml"].per_month == pytest.approx(1_000_000 * routed)
    assert spend["perfect labels"].per_1000.value == pytest.approx(1000 * routed)
    assert spend["everything to gpt-4o"].per_1000.value == pytest.approx(1000 * everything)
    assert spend["everything to Qwen/Qwen3-8B"].per_1000.value == pytest.approx(1000 * cheapest)
    assert spend["router-ml"].saving.value == pytest.approx(1 - routed / everything)
    assert spend["everything to gpt-4o"].saving.value == 0
    parts = {(one.route, one.model): one.per_1000 for one in spend["router-ml"].parts}
    assert parts == {
        ("math", "moonshot-k2.5"): pytest.approx(1.5),
        ("general", "deepseek-v4-flash"): pytest.approx(0.025),
    }
    tokens = money.tokens
    assert (tokens.mean_input, tokens.mean_output) == (15, 600)
    assert (tokens.input_counted, tokens.output_counted) == (1, 1)


def test_volume_scales_the_month_alone(tmp_path, router):
    one = report_on(tmp_path, router, [MATH, GENERAL], volume=2_000).money.spends[0]
    assert one.per_month == pytest.approx(2 * one.per_1000.value)


def test_the_price_of_each_kind_of_mistake(tmp_path, router, monkeypatch):
    told = Told(
        Answer("general", "deepseek-v4-flash"),  # to a model that cannot do it
        Answer("math", "moonshot-k2.5"),  # paid too much
        Answer("chinese", "glm-4-9b"),  # harmless: able, and cheaper
    )
    monkeypatch.setattr("router_ml.evaluation.report.RoutedBy", lambda router: told)
    money = report_on(tmp_path, router, [MATH, GENERAL, GENERAL]).money
    prices = {one.kind: one for one in money.mistakes}
    vain, dear, idle = (prices[k] for k in ("cannot do it", "paid too much", "harmless"))
    assert (vain.true_route, vain.given_route, vain.rows) == ("math", "general", 1)
    assert vain.each == pytest.approx(1_000 * 0.25 / 1e6)
    assert dear.each == pytest.approx(200 * (3.00 - 0.25) / 1e6)
    assert idle.each == pytest.approx(200 * (0.01 - 0.25) / 1e6)
    assert dear.per_1000 == pytest.approx(1000 * dear.each / 3)
    spent = (1_000 * 0.25 + 200 * 3.00 + 200 * 0.01) / 1e6 / 3
    assert money.repeated_per_1000 == pytest.approx(1000 * (spent + 1_000 * 3.00 / 1e6 / 3))


def test_the_classic_split_by_hand(tmp_path, router):
    traffic = report_on(tmp_path, router, [MATH, GENERAL], traffic=CLASSIC).traffic
    # 80% general at deepseek-v4-flash's 0.25, 10% vision at Qwen3-VL-32B's 0.52, 5% maths at
    # moonshot-k2.5's 3.00, 5% Chinese at glm-4-9b's 0.01; gpt-4o asks 10.00 for everything.
    assert [(one.route, one.share, one.price) for one in traffic.parts] == [
        ("general", 0.80, 0.25),
        ("vision", 0.10, 0.52),
        ("math", 0.05, 3.00),
        ("chinese", 0.05, 0.01),
    ]
    by_hand = 0.2 + 0.052 + 0.15 + 0.0005
    assert traffic.perfect == pytest.approx(by_hand) == pytest.approx(0.4025)
    assert traffic.baseline_price == 10.00
    assert traffic.saving == pytest.approx(0.95975)
    assert traffic.arithmetic() == "80% × 0.25 + 10% × 0.52 + 5% × 3.00 + 5% × 0.01 = 0.4025"
    assert traffic.routed is None  # no row says how requests for vision or in Chinese fare


def test_a_traffic_as_it_is_routed(tmp_path, router):
    found = report_on(tmp_path, router, [MATH, GENERAL], traffic={"math": 0.25, "general": 0.75})
    assert found.traffic.routed == pytest.approx(0.25 * 3.00 + 0.75 * 0.25)


@pytest.mark.parametrize(
    "text", ["modern", "general=1,math=1", "general=-1,math=2", "a=b", "", "=1="]
)
def test_a_traffic_that_is_none(text):
    with pytest.raises(EvaluationError, match="neither `classic` nor shares"):
        read_shares(text)


def test_shares_of_ones_own():
    assert read_shares("general=0.9, math=0.1") == {"general": 0.9, "math": 0.1}
    assert sum(CLASSIC.values()) == pytest.approx(1)


def test_a_traffic_on_a_route_that_the_policy_lacks(tmp_path, router):
    with pytest.raises(EvaluationError, match="'poems', for which the policy has no model"):
        report_on(tmp_path, router, [MATH], traffic={"poems": 1.0})


def test_a_system_whose_models_have_no_price(tmp_path, router):
    told = Told(Answer("math", "their own"), Answer("general", None))
    found = report_on(tmp_path, router, [MATH, GENERAL], [told])
    assert found.money.unpriced == ["told"]
    assert found.versus[0].result.cost_difference is None
    assert any("told" in note for note in found.notes)
    assert Catalog.load().baseline == found.money.baseline
