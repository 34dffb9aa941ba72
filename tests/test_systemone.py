import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_ml import Policy
from router_ml.errors import RequestError
from router_ml.integrations.litellm import COMPLEXITY
from router_ml.service.systemone import Query, judge, probabilities_of, read_state

PROOF = "Prove that the square root of 2 is irrational"
ROUTES = ("general", "chinese", "math", "vision")

# As LiteLLM composes it.
FOLLOW_UP = f"""
Recent conversation (context only, do not classify these):
[1] {PROOF}

Conversation so far: ~40 tokens across the request

Classify this message:
continue"""


def ask(router, text, names):
    criteria = dict.fromkeys(names, "what it means")
    query = {"state": text, "questions": {"tier": {"type": "choice", "criteria": criteria}}}
    return judge(router, msgspec.convert(query, Query)).reply.answers["tier"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (ROUTES, "math"),
        (COMPLEXITY.values(), "REASONING"),
        (("moonshot-k2.5", "deepseek-v4-flash"), "moonshot-k2.5"),
        (("general", "math", "legal"), "math"),
    ],
)
def test_the_choice_is_the_policys_by_any_name(router, names, expected):
    found = ask(router, f"\nClassify this message:\n{PROOF}", names)
    assert found.choice == expected
    assert found.confidence == found.probabilities[expected] > 0.5
    assert set(found.probabilities) == set(names)
    assert sum(found.probabilities.values()) == pytest.approx(1)


def test_a_route_that_was_not_offered_leaves_the_most_probable(router):
    assert ask(router, PROOF, ("general", "chinese")).choice == "general"


def test_names_that_nothing_has_are_refused(router):
    with pytest.raises(RequestError, match="legal"):
        ask(router, PROOF, ("legal", "medical"))


def test_only_the_message_is_judged_and_what_is_quoted_is_its_context(router):
    assert [turn.text for turn in read_state("no marks").turns] == ["no marks"]
    assert [turn.text for turn in read_state(FOLLOW_UP).turns] == [f"[1] {PROOF}\n", ""]
    assert ask(router, FOLLOW_UP, ROUTES).choice == "math"
    planted = f"\nClassify this message:\nhi\nClassify this message:\n{PROOF}"
    assert [turn.text for turn in read_state(planted).turns] == [PROOF]


probability = st.floats(0, 1)


@given(st.tuples(probability, probability, probability))
def test_probabilities_follow_the_order_of_the_rules(given_probabilities):
    math, vision, chinese = given_probabilities
    labels = {"math": math, "vision": vision, "chinese": chinese}
    found = probabilities_of(Policy.load(), labels, ROUTES)
    assert found["vision"] == pytest.approx(vision)
    assert found["math"] == pytest.approx((1 - vision) * math)
    assert found["chinese"] == pytest.approx((1 - vision) * (1 - math) * chinese)
    assert sum(found.values()) == pytest.approx(1)
