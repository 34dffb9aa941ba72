"""Models, policies and rules that several tests use."""

from hypothesis import strategies as st

from router_ml import Catalog, Policy
from router_ml.catalog import Model
from router_ml.conditions import When
from router_ml.policy import FACTS, Rule

LABELS = ("math", "code")
MODELS = {
    "tiny": Model(0.1, context=100),
    "small": Model(0.2, context=1_000, speed=20),
    "large": Model(3.0, ("text", "vision"), context=100_000, speed=90),
    "unknown": Model(1.0, speed=50),
}
CATALOG = Catalog(1, MODELS, "large")


def policy_of(*rules, **more):
    return Policy(schema_version=1, rules=rules, default=rules[-1].route, **more)


labels = st.frozensets(st.sampled_from([*LABELS, *FACTS]), max_size=3)
whens = st.builds(
    When,
    min_tokens=st.none() | st.integers(0, 6),
    max_turns=st.none() | st.integers(0, 3),
    tools=st.none() | st.booleans(),
    tags=st.dictionaries(st.just("t"), st.sampled_from("ab"), max_size=1),
)


@st.composite
def rules(draw):
    needs = tuple(draw(labels))
    thresholds = {need: draw(st.sampled_from([0.5, 0.9])) for need in needs if draw(st.booleans())}
    models = tuple(draw(st.permutations(list(MODELS)))[: draw(st.integers(1, 4))])
    route, choose = draw(st.sampled_from("abc")), draw(st.sampled_from([None, "cheapest"]))
    return Rule(route, models, needs, {}, choose, draw(whens), thresholds)
