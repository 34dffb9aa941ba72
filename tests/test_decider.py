import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policies import CATALOG, LABELS, MODELS, policy_of, rules

from router_ml import Catalog, Policy, Prediction, Reason
from router_ml.conditions import Condition, Conditions, When
from router_ml.conversations import Stay
from router_ml.decider import Decider
from router_ml.policy import FACTS, Rule, Uncertain
from router_ml.request import read_request

REST = Rule("rest", ("small", "large"))


def predict(**probabilities):
    found = {label: probabilities.get(label, 0.1) for label in LABELS}
    return Prediction(tuple(label for label, p in found.items() if p >= 0.5), found)


def decide(policy, request="hi", tags=None, catalog=CATALOG, parts=(), **probabilities):
    decider = Decider(policy, catalog)
    facts = decider.conditions.holding(read_request(request), tags).union(parts)
    return decider(predict(**probabilities), facts)


def test_a_tag_decides_whatever_the_text_says():
    gold = Rule("gold", ("large",), when=When(tags={"tier": "gold"}))
    policy = policy_of(gold, Rule("math", ("small",), ("math",)), REST)
    tagged = decide(policy, tags={"tier": "gold"}, math=0.9)
    assert (tagged.route, tagged.reason, tagged.labels) == ("gold", Reason.TAG, ("math",))
    plain = decide(policy, tags={"tier": "silver"}, math=0.9)
    assert (plain.route, plain.reason) == ("math", Reason.CLASSIFIED)


def test_a_tag_beside_a_label_is_as_sure_as_the_label():
    both = Rule("both", ("large",), ("math",), when=When(tags={"tier": "gold"}))
    policy = policy_of(both, REST, uncertain=Uncertain(below=0.7, models=("unknown",)))
    decision = decide(policy, tags={"tier": "gold"}, math=0.6)
    assert (decision.route, decision.reason) == ("both", Reason.LOW_CONFIDENCE)


def test_a_rule_that_does_not_apply_leaves_no_doubt():
    policy = policy_of(Rule("math", ("small",), ("math",), when=When(tools=True)), REST)
    assert decide(policy, math=0.6).confidence == 1.0
    tools = {"input": "hi", "tools": [{}]}
    assert decide(policy, tools, math=0.6).confidence == pytest.approx(0.6)


def test_a_threshold_of_one_rule():
    sure = Rule("sure", ("large",), ("math",), thresholds={"math": 0.8})
    policy = policy_of(sure, Rule("math", ("small",), ("math",)), REST)
    assert [decide(policy, math=p).route for p in (0.4, 0.7, 0.8, 0.9)] == [
        "rest",
        "math",
        "sure",
        "sure",
    ]
    assert decide(policy, math=0.7).confidence == pytest.approx(0.7)


def test_an_image_needs_no_threshold():
    see = Rule("see", ("large",), ("vision",), thresholds={"vision": 0.9})
    assert decide(policy_of(see, REST), parts=["vision"]).reason is Reason.IMAGE


def test_a_rule_leaves_the_order_to_the_catalog():
    cheap, fast = Rule("cheap", choose="cheapest"), Rule("fast", choose="fastest")
    decision = decide(policy_of(cheap))
    assert (decision.model, *decision.fallbacks) == ("tiny", "small", "unknown", "large")
    decision = decide(policy_of(fast))
    assert (decision.model, *decision.fallbacks) == ("large", "unknown", "small")
    among = Rule("some", ("large", "small"), choose="cheapest")
    decision = decide(policy_of(among))
    assert (decision.model, *decision.fallbacks) == ("small", "large")
    seeing = Rule("see", needs=("vision",), choose="cheapest")
    assert decide(policy_of(seeing, REST), parts=["vision"]).model == "large"


def test_when_a_price_changes_traffic_moves():
    policy = policy_of(Rule("cheap", ("tiny", "large"), choose="cheapest"))
    cheaper = msgspec.structs.replace(MODELS["large"], output_price=0.01)
    assert decide(policy).model == "tiny"
    assert decide(policy, catalog=Catalog(1, MODELS | {"large": cheaper}, "large")).model == "large"


@pytest.mark.parametrize(
    ("tokens", "models"),
    [
        (100, ("tiny", "small", "large")),
        (101, ("small", "large")),
        (1_001, ("large",)),
        (100_001, ("tiny", "small", "large")),
    ],
)
def test_models_too_small_for_a_request_are_passed_over(tokens, models):
    decision = decide(policy_of(Rule("r", ("tiny", "small", "large"))), "x" * 4 * tokens)
    assert (decision.model, *decision.fallbacks) == models


def test_a_context_that_is_not_known_may_be_large_enough():
    decision = decide(policy_of(Rule("r", choose="cheapest")), "x" * 1_000_000)
    assert (decision.model, decision.fallbacks) == ("unknown", ())


def test_a_model_that_cannot_see_is_passed_over_unless_none_is_left():
    assert decide(policy_of(REST), parts=["vision"]).model == "large"
    assert decide(policy_of(Rule("r", ("small",))), parts=["vision"]).model == "small"


def test_doubt_and_staying_pass_over_the_same_models():
    doubt = Uncertain(below=0.7, models=("tiny", "large"))
    policy = policy_of(Rule("math", ("small", "large"), ("math",)), REST, uncertain=doubt)
    long = "x" * 8_000
    decision = decide(policy, long, math=0.6)
    assert (decision.model, decision.reason) == ("large", Reason.LOW_CONFIDENCE)
    decider = Decider(policy, CATALOG)
    facts = decider.conditions.holding(read_request(long))
    stays = decider.stay(decider(predict(), facts), Stay("math", None, 0.0), facts)
    assert (stays.route, stays.model, stays.reason) == ("math", "large", Reason.STICKY)
    assert (stays.confidence, stays.labels) == (1.0, ())
    stays.parameters["temperature"] = 9
    assert decider.stay(stays, Stay("math", None, 0.0)).parameters == {}


def test_it_stays_with_the_rule_that_has_its_model():
    sure = Rule("math", ("large",), ("math",), {"effort": 1}, thresholds={"math": 0.8})
    policy = policy_of(sure, Rule("math", ("small",), ("math",)), REST)
    decider = Decider(policy, CATALOG)
    for model, found in (("large", "large"), ("small", "small"), ("gone", "small")):
        assert decider.stay(decider(predict()), Stay("math", model, 0.0)).model == found
    assert decider.stay(decider(predict()), Stay("math", "large", 0.0)).parameters == {"effort": 1}


def test_nothing_is_asked_where_nothing_depends_on_it():
    assert not Decider(Policy.load(), Catalog.load()).conditions


policies = st.lists(rules(), min_size=1, max_size=5).map(lambda found: policy_of(*found, REST))
predictions = st.builds(predict, math=st.sampled_from([0.1, 0.6, 0.95]), code=st.floats(0, 1))
requests = st.builds(
    lambda text, tools, metadata: {"input": text, "tools": tools, "metadata": metadata},
    st.sampled_from(["", "x" * 12, "x" * 500, "x" * 5_000]),
    st.sampled_from([[], [{}]]),
    st.dictionaries(st.just("t"), st.sampled_from("abc")),
)
asks = st.lists(st.tuples(predictions, requests, st.frozensets(st.sampled_from(FACTS))))


@given(policies, asks)
def test_the_cache_changes_no_answer(policy, asked):
    kept = Decider(policy, CATALOG)
    for prediction, request, parts in asked:
        fresh = Decider(policy, CATALOG)
        facts = fresh.conditions.holding(read_request(request)) | parts
        assert kept(prediction, facts) == fresh(prediction, facts)


@given(policies, rules(), predictions, requests, st.frozensets(st.sampled_from(FACTS)))
def test_a_rule_after_the_winning_one_changes_nothing(policy, rule, prediction, request, parts):
    asked = Conditions((*policy.conditions(), *rule.when.conditions()))
    facts = asked.holding(read_request(request)) | parts
    holding = facts.union(prediction.labels)
    won = next(at for at, one in enumerate(policy.rules) if one.claims(holding))
    for at in range(won + 1, len(policy.rules) + 1):
        more = (*policy.rules[:at], rule, *policy.rules[at:])
        changed = msgspec.structs.replace(policy, rules=more)
        assert changed.choose(holding) == policy.choose(holding)


@given(policies, predictions, requests, st.frozensets(st.sampled_from(FACTS)))
def test_no_model_is_given_that_cannot_take_the_request(policy, prediction, request, parts):
    decider = Decider(policy, CATALOG)
    facts = decider.conditions.holding(read_request(request)) | parts
    decision = decider(prediction, facts)
    given = [MODELS[name] for name in (decision.model, *decision.fallbacks) if name]
    tokens = len(request["input"]) // 4
    able = [
        (model.context or tokens) >= tokens and parts <= set(model.modalities) for model in given
    ]
    assert all(able) or not any(able)


@given(policies, predictions, requests, st.frozensets(st.sampled_from(FACTS)))
def test_a_confidence_is_of_a_judgement_made(policy, prediction, request, parts):
    decider = Decider(policy, CATALOG)
    facts = decider.conditions.holding(read_request(request)) | parts
    confidence = decider(prediction, facts).confidence
    judged = {1.0, *(max(p, 1 - p) for p in prediction.probabilities.values())}
    assert confidence in judged


def test_a_condition_says_itself():
    assert str(Condition("tag tier", "is", "gold")) == "tag tier is gold"
