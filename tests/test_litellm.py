"""LiteLLM itself: its SDK Router in this process, its proxy in one of its own."""

import asyncio
import json
import os
import time

import httpx2
import pytest
from gateways import (
    BUILT_IN,
    KEY,
    PATIENCE_MS,
    ROOT,
    ROUTES,
    by_complexity,
    by_route,
    by_system_one,
    complexity_router,
    deployment,
    proxy,
)  # fmt: skip
from test_litellm_config import SMALL, written
from upstream import running_upstream, serving

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or importing it asks the internet for prices
litellm = pytest.importorskip("litellm")

from router_ml import Policy  # noqa: E402
from router_ml.conformance import read_cases  # noqa: E402
from router_ml.integrations.litellm import TierClassifier  # noqa: E402
from router_ml.integrations.litellm_hook import RoutingHook  # noqa: E402
from router_ml.policy import SHIPPED_POLICY  # noqa: E402
from router_ml.service.app import Service  # noqa: E402

PROOF = "Prove that the square root of 2 is irrational"
CHINESE = "请推荐三本关于园艺的书，并各用一句话说明为什么推荐它"  # longer than the marks below
PLAIN = "Recommend three books about gardening"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
ANTHROPIC_IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
# litellm's warnings about its own types, and about what it leaves open, are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as fake:
        yield fake


def user(content):
    return [{"role": "user", "content": content}]


def test_the_sdk_router_calls_the_model_of_the_tier(router, upstream):
    plugin = TierClassifier(router)
    models = [*(deployment(name, upstream) for name in ROUTES)]
    sdk = litellm.Router(model_list=[*models, complexity_router("auto", by_route(plugin))])

    async def ask(prompt, **more):
        return await sdk.acompletion(model="auto", messages=user(prompt), **more)

    async def all_of_them():
        await ask(f"{PROOF} sdk-1")
        await ask(f"{CHINESE} sdk-2")
        stream = await ask(f"{PROOF} sdk-3", stream=True)
        assert [chunk async for chunk in stream]

    asyncio.run(all_of_them())
    assert upstream.model_of("sdk-1") == upstream.model_of("sdk-3") == "up-math"
    assert upstream.model_of("sdk-2") == "up-chinese"


class Exploding(dict):
    def get(self, key, default=None):
        raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        ({"messages": [Exploding()]}, "auto"),
        ({"model": "gpt-4o"}, "gpt-4o"),
        ({"metadata": "none"}, "deepseek-v4-flash"),
        ({"metadata": None, "messages": 3}, "deepseek-v4-flash"),
    ],
    ids=["trouble", "another model", "odd metadata", "unreadable"],
)
def test_the_hook_changes_nothing_but_the_model(router, changes, model):
    data = {"model": "auto", "messages": user(PLAIN), "temperature": 1, **changes}
    before = {**data, "model": model}
    hook = RoutingHook(router)
    after = asyncio.run(hook.async_pre_call_hook(None, None, data, "acompletion"))
    assert after is data
    assert data == before


# In a process of its own: LiteLLM's proxy, all doors open at once.

LOG_ROWS = """
import json, os
from litellm.integrations.custom_logger import CustomLogger

class Rows(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        with open(os.environ["LOG_ROWS"], "a") as file:
            row = kwargs["standard_logging_object"]["metadata"].get("spend_logs_metadata")
            file.write(json.dumps(row) + "\\n")

rows = Rows()
"""


@pytest.fixture(scope="module")
def service(router):
    with serving(Service(router).app) as url:
        yield url


@pytest.fixture(scope="module")
def gateway(upstream, service, tmp_path_factory):
    directory = tmp_path_factory.mktemp("proxy")
    (directory / "log_rows.py").write_text(LOG_ROWS)
    hooked = {rule.models[0] for rule in Policy.load().rules}
    plugin = "router_ml.integrations.litellm."
    ours = {
        "classifier_type": "custom",
        "classifier_plugin": plugin + "by_complexity",
        "classifier_plugin_timeout_ms": PATIENCE_MS,
    }
    config = {
        "model_list": [
            *(deployment(name, upstream) for name in (*ROUTES, *BUILT_IN, *sorted(hooked))),
            deployment("hooked", upstream),
            complexity_router("by-route", by_route(plugin + "by_route")),
            complexity_router("by-complexity", by_complexity(**ours), default="SIMPLE"),
            complexity_router("by-system-one", by_system_one(service), default="SIMPLE"),
        ],
        "litellm_settings": {
            "callbacks": ["router_ml.integrations.litellm_hook.hook", "log_rows.rows"]
        },
        "general_settings": {"master_key": KEY},
    }
    environment = {
        "ROUTER_ML_AUTO": "hooked",
        "ROUTER_ML_DECISION_LOG": str(directory / "decisions.jsonl"),
        "LOG_ROWS": str(directory / "rows.jsonl"),
        "PYTHONPATH": str(ROOT),
    }
    with proxy(directory, config, **environment) as client:
        client.directory = directory
        yield client


def chat(model, content, **more):
    return "/v1/chat/completions", {"model": model, "messages": user(content), **more}


def anthropic(model, content, **more):
    body = {"model": model, "max_tokens": 9, "messages": user(content), **more}
    return "/v1/messages", body


def responses(model, content, **more):
    if not isinstance(content, str):
        content = user(content)
    return "/v1/responses", {"model": model, "input": content, **more}


def ask(gateway, path, body, **headers):
    answer = gateway.post(path, json=body, headers=headers)
    assert answer.is_success, answer.text
    return answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("surface", [chat, anthropic, responses])
@pytest.mark.parametrize(
    ("model", "proof", "chinese", "plain"),
    [
        ("by-route", "up-math", "up-chinese", "up-general"),
        ("by-complexity", "up-REASONING", "up-MEDIUM", "up-SIMPLE"),
        ("by-system-one", "up-REASONING", "up-MEDIUM", "up-SIMPLE"),
        ("hooked", "up-moonshot-k2.5", "up-glm-4-9b", "up-deepseek-v4-flash"),
    ],
)
def test_every_door_takes_every_surface(
    gateway, upstream, model, surface, stream, proof, chinese, plain
):
    expected = {PROOF: proof, CHINESE: chinese, PLAIN: plain}
    for number, prompt in enumerate(expected):
        marker = f"({model} {surface.__name__} {stream} {number})"
        answer = ask(gateway, *surface(model, f"{prompt} {marker}", stream=stream))
        assert "Hi" in answer.text
        assert upstream.model_of(marker) == expected[prompt]


@pytest.mark.parametrize("model", ["by-route", "hooked"])
@pytest.mark.parametrize(
    ("surface", "image"), [(chat, IMAGE), (anthropic, ANTHROPIC_IMAGE)], ids=["openai", "anthropic"]
)
def test_images_go_to_the_model_that_sees(gateway, upstream, model, surface, image):
    for number, words in enumerate(("What is this?", None)):
        marker = f"({model} {surface.__name__} image {number})"
        text = {"type": "text", "text": f"{words} {marker}"}
        body = surface(model, [text, image] if words else [image], metadata={"user_id": marker})
        seen = len(upstream.calls)
        ask(gateway, *body)
        assert upstream.calls[seen]["model"] in ("up-vision", "up-Qwen/Qwen3-VL-32B")


def asked_model(gateway, upstream, model, case):
    """Return the model that a case got by way of a door; None if LiteLLM refuses its shape."""
    path = {
        "chat": "/v1/chat/completions",
        "messages": "/v1/messages",
        "responses": "/v1/responses",
    }
    seen = len(upstream.calls)
    answer = gateway.post(path[case.api], json={**case.payload, "model": model})
    return upstream.calls[-1]["model"] if answer.is_success and len(upstream.calls) > seen else None


NOT_SHOWN = ("audio only, chat", "no messages, chat")
"""LiteLLM asks no plugin about these: they go to the default model, or nowhere."""


@pytest.mark.parametrize("case", read_cases(), ids=lambda case: case.id)
def test_the_doors_answer_the_table_alike(gateway, upstream, case):
    if asked_model(gateway, upstream, "general", case) is None:
        pytest.skip("LiteLLM takes no such request for any model")
    models = {rule.models[0] for rule in Policy.load().rules if rule.route == case.route}
    assert asked_model(gateway, upstream, "hooked", case).removeprefix("up-") in models
    if case.id not in NOT_SHOWN:
        assert asked_model(gateway, upstream, "by-route", case) == f"up-{case.route}"


def test_hundreds_of_requests_at_once(gateway, upstream):
    """Every one is answered, by the model that its door and its words ask for."""
    doors = {
        "by-route": {PROOF: "up-math", PLAIN: "up-general"},
        "by-system-one": {PROOF: "up-REASONING", PLAIN: "up-SIMPLE"},
        "hooked": {PROOF: "up-moonshot-k2.5", PLAIN: "up-deepseek-v4-flash"},
    }
    asked = {}
    for number in range(300):
        door = ("by-route", "hooked", "by-system-one")[number % 3]
        surface = (chat, anthropic, responses)[number // 3 % 3]
        prompt = (PROOF, PLAIN)[number % 2]
        marker = f"(at once {number})"
        request = surface(door, f"{prompt} {marker}", stream=number % 5 == 0)
        asked[marker] = (request, doors[door][prompt])

    async def all_at_once():
        limits = httpx2.Limits(max_connections=300)
        async with httpx2.AsyncClient(
            base_url=gateway.base_url, headers=gateway.headers, timeout=120, limits=limits
        ) as client:
            posts = [client.post(path, json=body) for (path, body), _ in asked.values()]
            return await asyncio.gather(*posts)

    answers = asyncio.run(all_at_once())
    assert {answer.status_code for answer in answers} == {200}
    for marker, (_, model) in asked.items():
        assert upstream.model_of(marker) == model


def test_the_log_says_why(gateway):
    ask(gateway, *chat("by-route", f"{PROOF} (logged)"), **{"x-litellm-session-id": "session-7"})
    answer = ask(gateway, *chat("hooked", f"{PROOF} (logged)"))
    assert answer.is_success
    text = (gateway.directory / "decisions.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert {record["door"] for record in records} == {"litellm classifier", "litellm hook"}
    assert records[-1]["probabilities"]["math"] > 0.5
    assert "session-7" in {record["call"] for record in records}
    hooked = [record["call"] for record in records if record["door"] == "litellm hook"]
    assert len(set(hooked)) == len(hooked)
    assert KEY not in text
    assert "square root" not in text


def test_the_hooks_record_is_in_the_gateways_own_log(gateway):
    ask(gateway, *chat("hooked", f"{PROOF} (row)"))
    deadline = time.monotonic() + 30
    path = gateway.directory / "rows.jsonl"
    while time.monotonic() < deadline:
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if any(row and row.get("router_ml", {}).get("route") == "math" for row in rows):
            return
        time.sleep(0.2)
    raise AssertionError(rows[-3:])


def test_the_hook_leaves_other_models_alone(gateway, upstream):
    ask(gateway, *chat("general", f"{PROOF} (alone)"))
    assert upstream.model_of("(alone)") == "up-general"


def test_the_hook_adds_the_policys_parameters_to_chat_completions_only(gateway, upstream):
    ask(gateway, *chat("hooked", "Prove it (temperature 1)"))
    ask(gateway, *chat("hooked", "Prove it (temperature 2)", temperature=0.9))
    calls = [call for call in upstream.calls if "(temperature" in str(call)]
    assert [call["temperature"] for call in calls] == [0.2, 0.9]


@pytest.mark.parametrize("kind", ["plugin", "hook"])
def test_a_written_configuration_is_the_whole_gateway(upstream, tmp_path, kind):
    path = SHIPPED_POLICY
    if kind == "plugin":
        path = tmp_path / "policy.toml"
        path.write_text(SMALL)
    environment = {
        "OPENAI_BASE_URL": upstream.url,
        "OPENAI_API_KEY": "none",
        "LITELLM_MASTER_KEY": KEY,
        "PYTHONPATH": str(ROOT),
    }
    with proxy(tmp_path, written(path), **environment) as client:
        ask(client, *chat("auto", f"{PROOF} ({kind} 1)"))
        ask(client, *chat("auto", f"{CHINESE} ({kind} 2)"))
        seen = len(upstream.calls)
        ask(client, *chat("auto", [IMAGE]))
        assert upstream.calls[seen]["model"] in ("glm-4.6v", "Qwen/Qwen3-VL-32B")
        assert upstream.model_of(f"({kind} 1)") == "moonshot-k2.5"
        assert upstream.model_of(f"({kind} 2)") == "glm-4-9b"
        upstream.down.add("moonshot-k2.5")
        try:
            ask(client, *chat("auto", f"{PROOF} ({kind} 3)"))
        finally:
            upstream.down.clear()
        asked = [call["model"] for call in upstream.calls if f"({kind} 3)" in str(call)]
        assert asked[-1] == "deepseek-r1"
        assert client.post("/v1/models", headers={"Authorization": "Bearer no"}).is_client_error
