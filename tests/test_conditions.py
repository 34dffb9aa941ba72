import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_ml.conditions import Condition, Conditions, When
from router_ml.request import approximate_tokens, read_request, user_turns

ALL = When(min_tokens=2, max_tokens=9, min_turns=1, max_turns=2, tools=False, tags={"t": "x"})


def holds(when, request, tags=None):
    asked = Conditions(when.conditions())
    return asked.holding(read_request(request), tags) == set(when.conditions())


def user(*texts):
    return [{"role": "user", "content": text} for text in texts]


def test_bounds_are_included():
    for length, inside in ((7, False), (8, True), (39, True), (40, False)):
        assert holds(When(min_tokens=2, max_tokens=9), "x" * length) is inside
    for turns, inside in ((1, False), (2, True), (3, True), (4, False)):
        assert holds(When(min_turns=2, max_turns=3), user(*"abcd"[:turns])) is inside


def test_tokens_are_a_quarter_of_the_bytes_of_all_turns():
    assert approximate_tokens(read_request("x" * 400)) == 100
    assert approximate_tokens(read_request("四" * 400)) == 300
    assert approximate_tokens(read_request(user("x" * 200, "y" * 200))) == 100
    assert approximate_tokens(read_request("\ud800" * 8)) == 2
    assert approximate_tokens(read_request(None)) == 0


def test_only_what_the_user_says_is_a_turn():
    messages = [
        {"role": "system", "content": "Be brief."},
        *user("What is the weather?"),
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "rain"},
        *user("And tomorrow?"),
    ]
    assert user_turns(read_request(messages)) == 2
    assert user_turns(read_request("hi")) == 1


@pytest.mark.parametrize(
    ("tools", "has"),
    [([{"type": "function"}], True), ([], False), (None, False), (7, False), ({}, False)],
)
def test_tools_of_a_payload(tools, has):
    payload = {"messages": user("hi"), "tools": tools}
    assert holds(When(tools=True), payload) is has
    assert holds(When(tools=False), payload) is not has


def test_the_callers_tags_win_over_metadata():
    when = When(tags={"tier": "gold"})
    payload = {"input": "hi", "metadata": {"tier": "gold"}}
    assert holds(when, payload)
    assert not holds(when, payload, {"tier": "silver"})
    assert holds(when, {"input": "hi", "metadata": {"tier": "silver"}}, {"tier": "gold"})
    assert holds(when, payload, {"other": 1})
    assert not holds(when, "hi")


@pytest.mark.parametrize(
    ("asked", "given", "same"),
    [
        (True, True, True),
        (True, "true", True),
        (True, "True", False),
        (True, 1, False),
        (1, "1", True),
        (1.5, 1.5, True),
        ("x", None, False),
        ("null", None, False),
        ("[]", [], False),
    ],
)
def test_tags_are_compared_as_text(asked, given, same):
    assert holds(When(tags={"tag": asked}), {"input": "hi", "metadata": {"tag": given}}) is same


@pytest.mark.parametrize("odd", [7, "tier", ["tier"], {"tier": {}}, {1: 2}])
def test_odd_tags_hold_nothing(odd):
    payload = {"input": "hi", "metadata": odd}
    assert not holds(When(tags={"tier": "gold"}), payload, odd)


def test_all_must_hold():
    assert holds(ALL, "x" * 20, {"t": "x"})
    assert not holds(ALL, "x" * 20, {"t": "y"})
    assert not holds(ALL, {"input": "x" * 20, "tools": [{}]}, {"t": "x"})


def test_nothing_is_measured_that_is_not_asked(monkeypatch):
    def refuse(_):
        raise AssertionError("measured for nothing")

    monkeypatch.setattr("router_ml.conditions.approximate_tokens", refuse)
    monkeypatch.setattr("router_ml.conditions.user_turns", refuse)
    assert holds(When(tools=False, tags={"a": 1}), "hi", {"a": 1})
    assert not Conditions(When().conditions())


bounds = st.builds(
    Condition, st.just("tokens"), st.sampled_from(["at least", "at most"]), st.integers(1, 5)
)
tags = st.builds(Condition, st.just("tag t"), st.just("is"), st.sampled_from("ab"))


@given(st.tuples(bounds, bounds) | st.tuples(tags, tags))
def test_implies_and_excludes_say_what_enumeration_says(pair):
    one, other = pair
    values = range(8) if one.fact == "tokens" else "abc"
    found = [(one.holds(value), other.holds(value)) for value in values]
    assert one.implies(other) == all(b for a, b in found if a)
    assert one.excludes(other) == (not any(a and b for a, b in found))


@given(bounds, tags)
def test_conditions_on_different_facts_say_nothing_of_each_other(bound, tag):
    assert not bound.implies(tag)
    assert not tag.implies(bound)
    assert not bound.excludes(tag)
