import msgspec
import pytest

from router_ml import Catalog, Policy, Prediction, Reason, Router
from router_ml.conditions import When
from router_ml.conversations import Sticky
from router_ml.decider import NOTHING, Decider
from router_ml.errors import CatalogError, PolicyError
from router_ml.policy import Adjustment, Rule, Uncertain
from router_ml.problems import check

LABELS = ("math", "vision", "chinese", "code", "creative", "extraction")


def predict(*labels):
    return Prediction(labels, {name: 0.9 if name in labels else 0.1 for name in LABELS})


@pytest.mark.parametrize(
    ("labels", "route", "model"),
    [
        ((), "general", "deepseek-v4-flash"),
        (("math",), "math", "moonshot-k2.5"),
        (("vision",), "vision", "Qwen/Qwen3-VL-32B"),
        (("math", "vision", "chinese"), "vision", "glm-4.6v"),
        (("chinese",), "chinese", "glm-4-9b"),
        (("code",), "general", "deepseek-coder"),
        (("extraction",), "general", "Qwen/Qwen3-8B"),
    ],
)
def test_shipped_policy(labels, route, model):
    decision = Decider(Policy.load())(predict(*labels))
    assert (decision.route, decision.model) == (route, model)
    assert decision.reason is Reason.CLASSIFIED
    assert decision.confidence == pytest.approx(0.9)


def test_creative_raises_the_temperature():
    decide = Decider(Policy.load())
    assert decide(predict()).parameters["temperature"] == 0.2
    assert decide(predict("creative")).parameters["temperature"] == 0.7


def test_parts_decide_by_themselves():
    decide = Decider(Policy.load())
    assert decide(predict("math"), frozenset({"vision"})).reason is Reason.IMAGE
    both = decide(predict(), frozenset({"vision", "audio"}))
    assert (both.route, both.model, both.reason) == ("audio", "Qwen/Qwen3-Omni-30B", Reason.AUDIO)


def test_doubt():
    doubt = Uncertain(below=0.95, route="general")
    policy = msgspec.structs.replace(Policy.load(), uncertain=doubt)
    decision = Decider(policy)(predict("math"))
    assert (decision.route, decision.reason) == ("general", Reason.LOW_CONFIDENCE)


def unsure(**probabilities):
    found = {name: probabilities.get(name, 0.01) for name in LABELS}
    return Prediction(tuple(name for name, p in found.items() if p >= 0.4), found)


def test_shipped_doubt_keeps_the_route_but_not_the_model():
    decision = Decider(Policy.load())(unsure(math=0.45))
    assert (decision.route, decision.reason) == ("math", Reason.LOW_CONFIDENCE)
    assert (decision.model, decision.fallbacks) == ("deepseek-v4-pro", ("deepseek-v3.2",))


def test_doubt_never_sends_a_picture_to_a_model_that_cannot_see():
    decision = Decider(Policy.load())(unsure(vision=0.45))
    assert (decision.model, decision.reason) == ("Qwen/Qwen3-VL-32B", Reason.LOW_CONFIDENCE)


def test_a_fact_is_never_in_doubt():
    decision = Decider(Policy.load())(unsure(vision=0.45), frozenset({"vision"}))
    assert decision.reason is Reason.IMAGE
    assert decision.confidence == pytest.approx(0.99)  # of the choice between two that see


def test_unknown_model_in_doubt():
    doubt = Uncertain(below=0.5, models=("gpt-0",))
    policy = msgspec.structs.replace(Policy.load(), uncertain=doubt)
    with pytest.raises(PolicyError, match="uncertain requests to 'gpt-0'"):
        check(policy, LABELS, Catalog.load())


def write(tmp_path, text):
    path = tmp_path / "p.toml"
    path.write_text(text)
    return path


def test_unknown_key(tmp_path):
    text = 'schema_version=1\ndefault="a"\n[[rules]]\nroute="a"\nmodles=["x"]\n'
    with pytest.raises(PolicyError, match="modles"):
        Policy.load(write(tmp_path, text))


def test_unknown_route(tmp_path):
    text = 'schema_version=1\ndefault="b"\n[[rules]]\nroute="a"\n'
    with pytest.raises(PolicyError, match="'b'"):
        Policy.load(write(tmp_path, text))


def test_label_without_a_route_and_unknown_model():
    policy = Policy.load()
    with pytest.raises(PolicyError, match="'billing' has no route"):
        check(policy, (*LABELS, "billing"), Catalog.load())
    with pytest.raises(PolicyError, match="does not have"):
        check(policy, ("math",), Catalog.load())


def test_every_shipped_model_is_in_the_catalog():
    check(Policy.load(), LABELS, Catalog.load())
    assert len(Catalog.load().models) == 19
    assert Catalog.load().models["gpt-4o"].output_price == 10


def test_catalog_errors(tmp_path):
    with pytest.raises(CatalogError, match="cannot be read"):
        Catalog.load(tmp_path / "none.toml")
    with pytest.raises(CatalogError, match="baseline"):
        Catalog.load(
            write(tmp_path, 'schema_version=1\nbaseline="x"\n[models.a]\noutput_price=1\n')
        )


def test_a_request_that_no_rule_claims_keeps_what_is_known_of_it():
    policy = Policy(
        schema_version=1,
        rules=(
            Rule("math", ("m",), ("math",)),
            Rule("text", ("t3",), ("code", "chinese")),
            Rule("text", ("t1",), ("code",)),
        ),
        default="text",
        adjustments=(Adjustment(("creative",), {"temperature": 0.7}),),
        uncertain=Uncertain(below=0.8, models=("doubt",)),
    )
    decide = Decider(policy)
    decision = decide(predict("creative"))
    assert (decision.route, decision.model) == ("text", "t1")
    assert decision.parameters == {"temperature": 0.7}
    assert decision.confidence == pytest.approx(0.9)
    p = {"math": 0.45, "code": 0.01, "chinese": 0.01, "creative": 0.9}
    doubtful = decide(Prediction(("creative",), p))
    assert doubtful.confidence == pytest.approx(0.55)
    assert (doubtful.model, doubtful.reason) == ("doubt", Reason.LOW_CONFIDENCE)


def test_decisions_share_nothing_that_a_caller_can_change():
    stop = {"temperature": 0.2, "extra_body": {"stop": ["a"]}}
    decide = Decider(msgspec.structs.replace(Policy.load(), parameters=stop))
    for prediction in (NOTHING, predict("math"), unsure(math=0.45)):
        first = decide(prediction)
        first.parameters["temperature"] = 2
        first.parameters["extra_body"]["stop"].append("b")
        assert decide(prediction).parameters == stop
    decide(NOTHING).probabilities["math"] = 1.0
    assert decide(NOTHING).probabilities == {} == decide.unreadable().probabilities


def test_a_policy_object_is_checked_like_a_file():
    shipped = Policy.load()
    for change, named in (
        ({"default": "nowhere"}, "`default` is 'nowhere'"),
        ({"uncertain": Uncertain(below=0.5, route="away")}, r"`uncertain\.route` is 'away'"),
    ):
        policy = msgspec.structs.replace(shipped, **change)
        with pytest.raises(PolicyError, match=named):
            check(policy, LABELS, Catalog.load())
        with pytest.raises(PolicyError, match=named):
            Router.load(policy=policy)


def test_doubt_changes_either_the_route_or_the_models(tmp_path):
    text = (
        'schema_version=1\ndefault="a"\n[[rules]]\nroute="a"\n'
        '[uncertain]\nbelow=0.5\nroute="a"\nmodels=["x"]\n'
    )
    with pytest.raises(PolicyError, match="both `route` and `models`"):
        Policy.load(write(tmp_path, text))


@pytest.mark.parametrize("need", ["vision", "audio"])
def test_a_rule_names_only_models_that_can_read_what_it_needs(need):
    rule = Rule("parts", ("Qwen/Qwen3-Omni-30B", "deepseek-r1"), (need,))
    shipped = Policy.load()
    policy = msgspec.structs.replace(shipped, rules=(rule, *shipped.rules))
    with pytest.raises(PolicyError, match=f"'parts' that needs {need} names 'deepseek-r1'"):
        check(policy, LABELS, Catalog.load())


def test_deeply_nested_files(tmp_path):
    with pytest.raises(PolicyError, match="nested too deeply"):
        Policy.load(write(tmp_path, f"a={'[' * 9999}"))


WHOLE = """
schema_version = 1
default = "rest"

[sticky]
routes = ["strong"]
idle_s = 600
leave_after = 2
confidence = 0.7
capacity = 100

[[rules]]
route = "strong"
needs = ["math"]
thresholds = { math = 0.8 }
models = ["a", "b"]
choose = "fastest"
parameters = { reasoning_effort = "high" }
[rules.when]
min_tokens = 10
max_tokens = 99
min_turns = 2
max_turns = 9
tools = true
tags = { tier = "gold", batch = true }

[[rules]]
route = "rest"
choose = "cheapest"
"""


def test_all_that_a_file_can_say(tmp_path):
    policy = Policy.load(write(tmp_path, WHOLE))
    tags = {"tier": "gold", "batch": True}
    when = When(10, 99, 2, 9, True, tags)
    effort = {"reasoning_effort": "high"}
    assert policy.rules == (
        Rule("strong", ("a", "b"), ("math",), effort, "fastest", when, {"math": 0.8}),
        Rule("rest", choose="cheapest"),
    )
    assert policy.sticky == Sticky(("strong",), 600.0, 2, 0.7, 100)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("min_tokens = 10", "min_token = 10", "min_token"),
        ("min_tokens = 10", "min_tokens = -1", "rules"),
        ("tools = true", 'tools = "yes"', "rules"),
        ("batch = true", "batch = [1]", "rules"),
        ('"fastest"', '"best"', "best"),
        ("math = 0.8", "math = 8", "rules"),
        ('routes = ["strong"]', "routes = []", "sticky"),
        ('routes = ["strong"]', 'routes = ["weak"]', "`sticky.routes` is 'weak'"),
        ("leave_after = 2", "leave_after = 0", "sticky"),
        ("capacity = 100", "capacity = 0", "sticky"),
        ("idle_s = 600", "idle = 600", "idle"),
    ],
)
def test_what_a_file_cannot_say(tmp_path, old, new, named):
    assert old in WHOLE
    with pytest.raises(PolicyError, match=f"p.toml: .*{named}"):
        Policy.load(write(tmp_path, WHOLE.replace(old, new)))


def test_read_asks_no_more_than_the_form(tmp_path):
    policy = Policy.read(write(tmp_path, WHOLE.replace('default = "rest"', 'default = "r"')))
    (problem,) = policy.route_problems()
    assert problem == "The policy's `default` is 'r', but the rules know only rest, strong."


def test_a_route_chosen_by_name_is_that_of_its_least_demanding_rule():
    rules = (
        Rule("a", ("m1",), when=When(min_turns=2)),
        Rule("a", ("m2",)),
        Rule("a", ("m3",), ("math",), thresholds={"math": 0.9}),
    )
    policy = Policy(schema_version=1, rules=rules, default="a")
    assert policy.choose_route("a").model == "m2"
