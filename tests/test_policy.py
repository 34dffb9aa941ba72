import msgspec
import pytest

from router_ml import Catalog, Policy, Prediction, Reason
from router_ml.errors import CatalogError, PolicyError
from router_ml.policy import Decider, Uncertain

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
        policy.check((*LABELS, "billing"), Catalog.load())
    with pytest.raises(PolicyError, match="does not have"):
        policy.check(("math",), Catalog.load())


def test_every_shipped_model_is_in_the_catalog():
    Policy.load().check(LABELS, Catalog.load())
    assert len(Catalog.load().models) == 19
    assert Catalog.load().models["gpt-4o"].output_price == 10


def test_catalog_errors(tmp_path):
    with pytest.raises(CatalogError, match="cannot be read"):
        Catalog.load(tmp_path / "none.toml")
    with pytest.raises(CatalogError, match="baseline"):
        Catalog.load(
            write(tmp_path, 'schema_version=1\nbaseline="x"\n[models.a]\noutput_price=1\n')
        )
