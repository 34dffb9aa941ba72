import pytest
from evaluations import GENERAL, MATH, report_on

from router_ml.errors import EvaluationError
from router_ml.evaluation.traffic import CLASSIC, read_shares


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
    assert traffic.saving(traffic.perfect) == pytest.approx(0.95975)
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
