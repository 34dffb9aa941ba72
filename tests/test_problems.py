import pytest
from conftest import ROOT
from hypothesis import given
from policies import CATALOG, LABELS, policy_of, rules

from router_ml import Catalog, Policy
from router_ml.conditions import When
from router_ml.conversations import Sticky
from router_ml.errors import PolicyError
from router_ml.policy import SHIPPED_POLICY, Rule, Uncertain
from router_ml.problems import check, covers, find_problems, find_unreachable

REST = Rule("rest", ("large",), ())
MATH = Rule("math", ("large",), ("math",))
CODE = Rule("code", ("large",), ("code",))


def problems(*rules, labels=LABELS, **more):
    return list(find_problems(policy_of(*rules, **more), labels, CATALOG))


@pytest.mark.parametrize("path", [SHIPPED_POLICY, ROOT / "examples" / "policy.toml"])
def test_the_shipped_policy_and_the_example_have_none(path):
    policy = Policy.load(path)
    labels = ("math", "vision", "chinese", "code", "creative", "extraction")
    assert list(find_problems(policy, labels, Catalog.load())) == []
    assert list(find_unreachable(policy)) == []


def test_all_are_found_not_only_the_first():
    found = problems(
        Rule("see", ("small", "large"), ("vision",)),
        Rule("math", ("gpt-0", "gpt-1"), ("math", "sums")),
        REST,
        sticky=Sticky(("nowhere",)),
        uncertain=Uncertain(below=0.5, models=("gpt-2",)),
    )
    assert len(found) == 7
    named = ("'nowhere'", "'sums'", "'code' has no", "'gpt-0'", "'gpt-1'", "'gpt-2'", "'small'")
    for name, problem in zip(named, found, strict=True):
        assert name in problem
        assert problem.endswith(".")


def test_a_choice_that_is_empty():
    (found,) = problems(Rule("hear", needs=("audio",), choose="fastest"), MATH, CODE, REST)
    assert found == (
        "The policy's rule of route 'hear' asks for the fastest model that reads audio whose "
        "`speed` is known, but the catalog has none."
    )
    (found,) = problems(Rule("see", ("small",), ("vision",), choose="cheapest"), MATH, CODE, REST)
    assert found.endswith("that reads vision, but the catalog has none among its models.")
    assert problems(Rule("see", needs=("vision",), choose="cheapest"), MATH, CODE, REST) == []


def test_a_threshold_without_its_need():
    rule = Rule("math", ("large",), ("math",), thresholds={"code": 0.9})
    (found,) = problems(rule, CODE, REST)
    assert "a threshold for 'code'" in found


def test_a_policy_that_cannot_be_used_is_refused():
    with pytest.raises(PolicyError, match="'code' has no route"):
        check(policy_of(MATH, REST), LABELS, CATALOG)


@pytest.mark.parametrize(
    ("earlier", "later", "covered"),
    [
        (Rule("a"), MATH, True),
        (MATH, Rule("b", ("large",), ("math", "code")), True),
        (Rule("a", needs=("math", "code")), MATH, False),
        (Rule("a", when=When(min_tokens=5)), Rule("b", when=When(min_tokens=9)), True),
        (Rule("a", when=When(min_tokens=9)), Rule("b", when=When(min_tokens=5)), False),
        (Rule("a", when=When(tags={"t": 1})), Rule("b", when=When(tags={"t": "1"})), True),
        (Rule("a", when=When(tools=True)), Rule("b"), False),
        (Rule("a", needs=("math",), thresholds={"math": 0.8}), MATH, False),
        (MATH, Rule("a", needs=("math",), thresholds={"math": 0.8}), True),
    ],
)
def test_unreachable_rules(earlier, later, covered):
    found = list(find_unreachable(policy_of(earlier, later, REST)))
    assert covers(earlier, later) is covered
    reached = [problem for problem in found if "rule 2" in problem.split(" is ")[0]]
    assert len(reached) == covered


def test_a_rule_that_claims_nothing():
    never = Rule("a", when=When(min_turns=3, max_turns=2))
    (found,) = find_unreachable(policy_of(never, REST))
    assert found == (
        "The policy's rule 1 (route 'a') claims no request: it asks for turns at least 3 and "
        "turns at most 2."
    )


def test_a_rule_that_stands_for_a_named_route_is_reached_by_its_name():
    everything = Rule("all", ("large",))
    assert list(find_unreachable(policy_of(everything, REST))) == []
    named = policy_of(everything, MATH, REST, sticky=Sticky(("math",)))
    assert list(find_unreachable(named)) == []
    assert len(list(find_unreachable(policy_of(everything, MATH, REST)))) == 1


@given(rules(), rules())
def test_a_covered_rule_claims_nothing_that_the_other_does_not(one, other):
    asked = {*one.when.conditions(), *other.when.conditions()}
    implied = {a for a in asked for b in other.when.conditions() if b.implies(a)}
    least = frozenset(other.needs) | implied
    passed = [d for d in one.doubts() if other.thresholds.get(d.label, 0.0) < d.threshold]
    assert other.claims(least)
    assert covers(one, other) == one.claims(least.union(passed))
