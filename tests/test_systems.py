import json
import sys
import types

import pytest

from router_ml.errors import DataError, EvaluationError, RouterMLError
from router_ml.evaluation.rows import RowReader, RowShape
from router_ml.evaluation.systems import find_system
from router_ml.policy import SHIPPED_POLICY

ROWS = [
    {"id": 1, "prompt": "Prove that √2 is irrational", "labels": ["math"]},
    {"id": 2, "prompt": "What does this photo show?", "labels": ["vision"]},
    {"id": 3, "messages": [{"role": "user", "content": "Reason with me"}], "labels": []},
]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def rows(tmp_path, router):
    path = tmp_path / "rows.jsonl"
    path.write_text(lines(ROWS))
    return next(RowReader([path], RowShape(router.classifier.labels)).chunks())


def routes(system, rows):
    return [answer.route for answer in system.answer_many(rows)]


def test_keyword_rules(router, rows):
    answers = find_system("keywords", router).answer_many(rows)
    assert [answer.route for answer in answers] == ["math", "general", "math"]
    assert [answer.model for answer in answers][1] == "deepseek-v4-flash"


def test_another_policy(router, rows, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(SHIPPED_POLICY.read_text().replace('route = "math"', 'route = "sums"'))
    assert routes(find_system(str(policy), router), rows)[:2] == ["sums", "vision"]


def test_another_artifact(router, rows):
    found = find_system(str(router.artifact.path), router)
    decided = [
        decision.route for decision in router.route_many(row.example.request for row in rows)
    ]
    assert routes(found, rows) == decided


@pytest.fixture
def module(monkeypatch):
    found = types.ModuleType("their_router")
    monkeypatch.setitem(sys.modules, "their_router", found)
    return found


@pytest.mark.parametrize(
    "answer",
    [
        "math",
        ["math"],
        {"route": "math"},
        {"labels": ["math"]},
        {"label": "math", "model": "gpt-4o"},
        {"route": "math", "probabilities": {"math": 0.9}},
    ],
)
def test_a_callable_may_answer_in_several_ways(router, rows, module, answer):
    module.decide = lambda prompt: answer
    found = find_system("their_router:decide", router).answer_many(rows)
    assert [one.route for one in found] == ["math"] * 3
    assert {one.model for one in found} <= {"moonshot-k2.5", "gpt-4o"}


def test_a_callable_gets_what_the_row_says(router, rows, module):
    seen = []
    module.decide = lambda prompt: seen.append(prompt) or "general"
    find_system("their_router:decide", router).answer_many(rows)
    assert seen == [ROWS[0]["prompt"], ROWS[1]["prompt"], ROWS[2]["messages"]]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("maths", "'maths' is no route of the policy"),
        (["maths"], "'maths' is no label of the artifact"),
        (None, "None is no route"),
        ({"model": "gpt-4o"}, "neither `route` nor `labels`"),
        ({"route": "math", "probabilities": {"math": 2}}, "numbers in [0, 1]"),
    ],
)
def test_no_answer_of_a_callable(router, rows, module, answer, problem):
    module.decide = lambda prompt: answer
    with pytest.raises(EvaluationError) as caught:
        find_system("their_router:decide", router).answer_many(rows)
    assert problem in str(caught.value)
    assert "line 1" in str(caught.value)


def test_a_callable_that_raises_or_is_not_there(router, rows, module):
    module.decide = lambda prompt: 1 / 0
    with pytest.raises(EvaluationError, match="division by zero"):
        find_system("their_router:decide", router).answer_many(rows)
    for name in ("their_router:other", "no_such_module:decide"):
        with pytest.raises(EvaluationError, match="cannot be imported"):
            find_system(name, router)


def predictions(tmp_path, rows, router):
    path = tmp_path / "predictions.jsonl"
    path.write_text(lines(rows))
    return find_system(str(path), router)


def test_predictions_by_id_and_by_place(router, rows, tmp_path):
    by_id = [{"id": 3, "route": "general"}, {"id": 1, "route": "math"}, {"id": 2, "labels": []}]
    found = predictions(tmp_path, by_id, router)
    assert routes(found, rows) == ["math", "general", "general"]
    by_place = [{"label": "vision"}, {"route": "chinese", "model": "glm-4-9b"}, {"route": "math"}]
    found = predictions(tmp_path, by_place, router)
    assert routes(found, rows[:2]) + routes(found, rows[2:]) == ["vision", "chinese", "math"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([{"id": 1, "route": "math"}], "no prediction for the row whose id is '2'"),
        ([{"route": "math"}], "no prediction for the row number 2"),
        ([{"id": 1, "error": "no JSON"}], ":1: no prediction: it has neither"),
        ([{"id": 1, "route": "math"}, {"route": "math"}], ":2: the line has no `id`"),
        ([{"route": "mth"}], ":1: no prediction: 'mth' is no route"),
        ([{"labels": "math"}], ":1: no prediction: `label` must be a string, or `labels` a list"),
        ([], "no rows"),
    ],
)
def test_predictions_that_cannot_be_used(router, rows, tmp_path, given, problem):
    with pytest.raises(DataError) as caught:
        predictions(tmp_path, given, router).answer_many(rows)
    assert problem in str(caught.value)


def test_litellm_as_it_comes(router, rows):
    pytest.importorskip("litellm", reason="litellm, a peer and no dependency, is not installed")
    found = find_system("litellm", router).answer_many(rows)
    assert {answer.route for answer in found} <= {"math", "general"}
    deep = "Think step by step and reason through this carefully: prove the theorem"
    assert find_system("litellm", router)._labels(deep) == ("math",)


def test_litellm_where_it_is_not_installed(router, monkeypatch):
    name = "litellm.router_strategy.complexity_router.complexity_router"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EvaluationError, match="pip install litellm"):
        find_system("litellm", router)


def test_a_system_that_is_none(router):
    with pytest.raises(RouterMLError, match="no artifact"):
        find_system("nothing-of-that-name", router)
