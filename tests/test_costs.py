import math

import numpy as np
import pytest

from router_ml.catalog import Catalog, Model
from router_ml.evaluation.costs import OUTPUT_TOKENS, Bill, Tokens, cost_of, tokens_of
from router_ml.request import approximate_tokens, read_request

CATALOG = Catalog(
    1,
    {"plain": Model(2.0), "priced": Model(10.0, input_price=2.5, cached_input_price=1.25)},
    "priced",
)
REQUEST = read_request("four score and seven years ago")


@pytest.mark.parametrize(
    ("row", "tokens"),
    [
        (
            {"usage": {"prompt_tokens": 812, "completion_tokens": 95}},
            Tokens(812, 95, 0, True, True),
        ),
        ({"usage": {"input_tokens": 812, "output_tokens": 95}}, Tokens(812, 95, 0, True, True)),
        (
            {"input_tokens": 812, "cached_input_tokens": 12, "output_tokens": 0},
            Tokens(812, 0, 12, True, True),
        ),
        (
            {"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}},
            Tokens(9, OUTPUT_TOKENS, 4, True, False),
        ),
        (
            {"input_tokens": 812.0, "cached_input_tokens": "12", "output_tokens": "95.0"},
            Tokens(812, 95, 12, True, True),
        ),
        ({"prompt_tokens": math.nan, "input_tokens": 9}, Tokens(9, OUTPUT_TOKENS, 0, True, False)),
    ],
)
def test_tokens_are_those_of_the_log(row, tokens):
    assert tokens_of(row, REQUEST) == tokens


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"usage": None, "input_tokens": None},
        {"usage": {"prompt_tokens": "many", "completion_tokens": True}},
        {"usage": {"prompt_tokens": 10**30, "completion_tokens": 0.5}},
        {"input_tokens": math.inf, "output_tokens": "9" * 5000},
        {"input_tokens": "-1", "output_tokens": "\u0663"},
        {"usage": [1], "output_tokens": -1, "cached_input_tokens": 10},
    ],
)
def test_tokens_that_the_log_does_not_count_are_estimated(row):
    assert tokens_of(row, REQUEST, 50) == Tokens(approximate_tokens(REQUEST), 50)


def test_the_cost_of_a_request_by_hand():
    tokens = Tokens(1_000, 100, 200)
    # 800 fresh at 2.50, 200 cached at 1.25, 100 written at 10.00, per million
    by_hand = (800 * 2.50 + 200 * 1.25 + 100 * 10.00) / 1e6
    assert by_hand == pytest.approx(0.00325)
    assert cost_of("priced", tokens, CATALOG) == pytest.approx(by_hand)
    assert cost_of("plain", tokens, CATALOG) == pytest.approx(100 * 2.00 / 1e6)
    assert cost_of("unheard of", tokens, CATALOG) is None
    assert cost_of(None, tokens, CATALOG) is None


def test_many_requests_cost_what_each_of_them_does():
    rows = [Tokens(1_000, 100, 200), Tokens(0, 0), Tokens(5, 7, 9), Tokens(10, 10)]
    models = ["plain", "priced", None]
    which = [1, 0, 1, 2]
    found = Bill(rows).on(models, which, CATALOG)
    each = [cost_of(models[at], row, CATALOG) for at, row in zip(which[:3], rows, strict=False)]
    assert found[:3] == pytest.approx(each)
    assert np.isnan(found[3])
    assert Bill(rows).on(models, 0, CATALOG) == pytest.approx([0.0002, 0, 0.000014, 0.00002])
