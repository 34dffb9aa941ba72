import math

import pytest
from evaluations import GENERAL, MATH, report_on

from router_ml import Catalog, Router
from router_ml.catalog import SHIPPED_CATALOG
from router_ml.evaluation.answers import Answer
from router_ml.evaluation.page import page
from router_ml.evaluation.systems import find_system


class Told:
    """A system that answers what its test says."""

    name = "told"

    def __init__(self, *answers):
        self._answers = answers

    def answer_many(self, rows):
        return self._answers[: len(rows)]


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


def test_a_system_whose_models_have_no_price(tmp_path, router):
    told = Told(Answer("math", "their own"), Answer("general", None))
    found = report_on(tmp_path, router, [MATH, GENERAL], [told])
    assert found.money.unpriced == ["told"]
    assert found.versus[0].result.cost_difference is None
    assert any("told" in note for note in found.notes)
    assert Catalog.load().baseline == found.money.baseline


def test_a_baseline_that_costs_nothing(tmp_path, router):
    path = tmp_path / "catalog.toml"
    path.write_text(SHIPPED_CATALOG.read_text().replace("output_price = 10.00", "output_price = 0"))
    free = Router(router.artifact, router.policy, Catalog.load(path))
    found = report_on(tmp_path, free, [MATH, GENERAL], traffic={"general": 1.0})
    assert not math.isfinite(found.money.spends[0].saving.value)
    assert math.isnan(found.traffic.saving(found.traffic.perfect))
    assert any(sentence.endswith("at 1,000,000 requests.") for sentence in found.verdict)
    assert "inf" not in page(found).partition("<main>")[2].partition("<script>")[0]
