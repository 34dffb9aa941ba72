import json
import shutil
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from router_ml import Policy, Reason, Router
from router_ml.artifact import find_artifact, load_artifact
from router_ml.conditions import When
from router_ml.conversations import Conversations, Sticky
from router_ml.errors import ArtifactCorrupt, ArtifactNotFound, ArtifactUnsupported, PolicyError
from router_ml.policy import Rule
from router_ml.request import ModelText, read_request


def test_golden_rows_replay(router):
    rows = router.artifact.golden()
    texts = [ModelText(row.turn.encode(), row.context.encode()) for row in rows]
    found = router.classifier.probabilities_many(texts)
    assert len(rows) >= 20
    np.testing.assert_allclose(found, [row.probabilities for row in rows], atol=1e-5)


def test_one_and_many_agree(router):
    requests = [
        "Prove that √2 is irrational",
        "今天天气怎么样",
        "",
        None,
        "x" * 5000,
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    ]
    for one, many in zip(map(router.route, requests), router.route_many(requests), strict=True):
        assert one.probabilities == pytest.approx(many.probabilities, abs=1e-6)
        assert _but_figures(one) == _but_figures(many)


def _but_figures(decision):
    return msgspec.structs.replace(decision, probabilities={}, confidence=0)


def test_a_request_that_was_read_already(router):
    messages = [{"role": "user", "content": "Prove that √2 is irrational"}]
    assert router.route(read_request(messages)) == router.route(messages)
    assert router.route_many([read_request(messages)]) == router.route_many([messages])
    assert router.route(read_request(7)).reason is Reason.UNREADABLE


def test_white_space_of_any_script_is_empty(router):
    for blank in ("\u3000", [{"role": "user", "content": "\u3000"}]):
        assert router.route(blank).reason is Reason.EMPTY
        assert router.route_many([blank])[0].reason is Reason.EMPTY


def test_a_decision_is_its_callers_own(router):
    for request in ("", None, "Prove it"):
        first, before = router.route(request), router.route(request)
        first.parameters["temperature"] = 9
        first.probabilities["math"] = 9
        assert router.route(request) == before


@pytest.mark.parametrize(
    ("prompt", "route"),
    [
        ("Prove that √2 is irrational", "math"),
        ("如何做红烧肉", "chinese"),
        ("What is the capital of Australia?", "general"),
    ],
)
def test_the_shipped_artifact_routes(router, prompt, route):
    assert router.route(prompt).route == route


def test_odd_requests_get_the_default_route(router):
    for odd, reason in (
        (None, "unreadable"),
        (7, "unreadable"),
        ("", "empty"),
        (" \n", "empty"),
        ([], "empty"),
    ):
        decision = router.route(odd)
        assert (decision.route, decision.reason) == ("general", reason)


def test_image_and_audio_decide(router):
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    audio = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]
    assert router.route(image).reason is Reason.IMAGE
    assert router.route(audio).route == "audio"


GOLD = Rule("gold", ("deepseek-v4-pro",), when=When(tags={"tier": "gold"}))
LONG = Rule("long", ("glm-5",), when=When(min_tokens=1_000, tools=True))
SHIPPED = Policy.load()
ASKING = replace(SHIPPED, rules=(GOLD, LONG, *SHIPPED.rules), sticky=Sticky(("math",), idle_s=60))
PROOF, FOLLOW_UP = "Prove that √2 is irrational", "And why is that?"


@pytest.fixture
def asking():
    return Router.load(policy=ASKING)


def test_tags_of_the_caller_and_of_the_payload(asking):
    payload = {"messages": [{"role": "user", "content": PROOF}], "metadata": {"tier": "gold"}}
    assert asking.route(PROOF, tags={"tier": "gold"}).reason is Reason.TAG
    assert asking.route(payload).route == "gold"
    assert asking.route(payload, tags={"tier": "lead"}).route == "math"
    many = asking.route_many([payload, PROOF], tags={"other": 1})
    assert [decision.route for decision in many] == ["gold", "math"]
    many = asking.route_many([payload, PROOF], tags={"tier": "gold"})
    assert [decision.route for decision in many] == ["gold", "gold"]


def test_length_and_tools_of_the_payload(asking):
    long = {"input": PROOF + " again" * 1_000}
    assert asking.route(long).route != "long"
    assert asking.route(long | {"tools": [{"type": "function"}]}).model == "glm-5"


def test_tags_and_conversations_mean_nothing_to_a_policy_that_asks_for_neither(router):
    plain = router.route(PROOF)
    assert router.route(PROOF, tags={"tier": "gold"}, conversation="a") == plain
    assert router.conversations is None


def test_a_conversation_stays_until_it_is_over(asking):
    now = [0.0]
    asking.conversations = Conversations(ASKING.sticky, clock=lambda: now[0])
    alone = asking.route(FOLLOW_UP)
    assert alone.route != "math"
    assert asking.route(PROOF, conversation="a").reason is Reason.CLASSIFIED
    stays = asking.route(FOLLOW_UP, conversation="a")
    assert (stays.route, stays.model, stays.reason) == ("math", "moonshot-k2.5", Reason.STICKY)
    assert stays.probabilities == alone.probabilities
    assert asking.route(FOLLOW_UP, conversation="b") == alone
    assert asking.route(FOLLOW_UP) == alone
    now[0] = 61.0
    assert asking.route(FOLLOW_UP, conversation="a") == alone


def test_an_image_leaves_the_conversation_for_a_model_that_sees(asking):
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    asking.route(PROOF, conversation="a")
    assert asking.route(image, conversation="a").route == "vision"
    assert asking.route(FOLLOW_UP, conversation="a").route == "math"


def test_what_cannot_be_read_belongs_to_no_conversation(asking):
    asking.route(PROOF, conversation="a")
    assert asking.route(None, conversation="a").reason is Reason.UNREADABLE
    assert asking.route("", conversation="a").reason is Reason.STICKY


@pytest.mark.parametrize("odd", [7, ["a"], {}, ""])
def test_odd_tags_and_conversations_raise_nothing(asking, odd):
    assert asking.route(PROOF, tags=odd, conversation=odd).route == "math"
    assert (asking.route(FOLLOW_UP, tags=odd, conversation=odd).route == "math") == bool(odd)


def test_a_policy_that_does_not_fit_is_refused():
    policy = replace(SHIPPED, rules=(Rule("x", choose="fastest"), *SHIPPED.rules))
    with pytest.raises(PolicyError, match="fastest model whose `speed` is known"):
        Router.load(policy=policy)


@pytest.fixture
def copy(tmp_path):
    target = tmp_path / "copy"
    shutil.copytree(find_artifact(), target)
    return target


def test_missing_artifact(tmp_path):
    with pytest.raises(ArtifactNotFound, match="nowhere"):
        Router.load(tmp_path / "nowhere")


def test_altered_truncated_and_future_artifacts(copy):
    model = copy / "model.onnx"
    data = model.read_bytes()
    model.write_bytes(data[:-10])
    with pytest.raises(ArtifactCorrupt, match="truncated"):
        load_artifact(copy)
    model.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtifactCorrupt, match="SHA-256"):
        load_artifact(copy)
    config = copy / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"schema_version": 99}))
    with pytest.raises(ArtifactUnsupported, match="99"):
        load_artifact(copy)


def test_width_is_checked(copy):
    config = copy / "config.json"
    content = json.loads(config.read_text())
    content["labels"].append("more")
    content["thresholds"]["more"] = 0.5
    config.write_text(json.dumps(content))
    with pytest.raises(ArtifactCorrupt, match="6 probabilities"):
        Router.load(copy, policy=None)


def test_import_is_light():
    code = (
        "import sys, router_ml, router_ml.cli; "
        "heavy = {'torch', 'sklearn', 'transformers', 'sentence_transformers', 'openai', 'onnx'}; "
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
