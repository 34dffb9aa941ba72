"""The whole client against a provider: what is routed, what is sent, what comes back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import openai
import pytest
from faces import FIRST, MATHS, SECOND, AsyncFace, chat, http, respond, text_of, tried
from pydantic import BaseModel

from router_ml import Catalog, Policy, Router
from router_ml.dispatch import RoutedOpenAI, routing_of
from router_ml.errors import DispatchError
from router_ml.reload import ReloadingRouter

EXAMPLES = Path(__file__).parent.parent / "examples" / "dispatch"
PROOF = [{"role": "user", "content": MATHS}]
PROSE = [{"role": "user", "content": "Write a short poem about the sea"}]


class Answer(BaseModel):
    answer: str


@pytest.mark.parametrize("ask", [chat, respond])
def test_auto_is_routed_by_what_the_request_says(face, provider, ask):
    answer = ask(face)
    assert provider.models() == [FIRST]
    assert routing_of(answer) is answer.routing
    assert answer.routing.route == "math"
    assert answer.routing.model == answer.model == FIRST
    assert tried(answer) == [(FIRST, None)]


def test_other_requests_go_elsewhere(face):
    assert chat(face, messages=PROSE).routing.route == "general"


def test_a_named_model_is_sent_byte_for_byte(face, provider):
    given = {
        "model": "gpt-x",
        "messages": PROSE,
        "temperature": 0.3,
        "extra_body": {"routing": {"tags": 1}},
    }
    answer = chat(face, **given)
    with openai.OpenAI(base_url=provider.url, api_key="k") as plain:
        plain.chat.completions.create(**given)
    routed, unrouted = provider.received
    assert routed.raw == unrouted.raw
    assert routing_of(answer) is None


def test_endpoints_that_are_not_completions_are_left_alone(face, provider):
    asked = face.client.embeddings.create(model="auto", input="a", encoding_format="float")
    assert routing_of(face.run(asked)) is None
    assert provider.models() == ["auto"]


def test_parameters_of_the_policy_fill_what_the_caller_left_open(face, provider):
    chat(face)
    chat(face, temperature=0.9)
    chat(face, temperature=None)
    assert [one.body["temperature"] for one in provider.received] == [0.2, 0.9, None]


def test_parameters_are_said_in_each_api_s_own_names(make_face, provider):
    parameters = {"max_tokens": 50, "reasoning_effort": "low"}
    policy = msgspec.structs.replace(Policy.load(), parameters=parameters)
    face = make_face(router=Router.load(policy=policy))
    chat(face)
    chat(face, max_completion_tokens=9)
    respond(face)
    respond(face, max_output_tokens=9, reasoning={"effort": "high"})
    bodies = [one.body for one in provider.received]
    assert (bodies[0]["max_tokens"], bodies[0]["reasoning_effort"]) == (50, "low")
    assert "max_tokens" not in bodies[1]
    assert (bodies[2]["max_output_tokens"], bodies[2]["reasoning"]) == (50, {"effort": "low"})
    assert (bodies[3]["max_output_tokens"], bodies[3]["reasoning"]) == (9, {"effort": "high"})
    assert not {"max_tokens", "reasoning_effort"} & bodies[2].keys() & bodies[3].keys()


def test_the_caller_s_words_to_the_router_are_not_sent(face, provider):
    routing = {"tags": {"tier": "customer-facing"}, "conversation": "c-7"}
    chat(face, extra_body={"routing": routing, "top_k": 3}, metadata={"team": "blue"})
    body = provider.received[0].body
    assert "routing" not in body
    assert (body["top_k"], body["metadata"]) == (3, {"team": "blue"})


class Witness:
    """A router that remembers how it was asked."""

    def __init__(self, router):
        self.router, self.catalog, self.asked = router, router.catalog, []

    def route(self, request, *, tags=None, conversation=None):
        self.asked.append((request, tags, conversation))
        return self.router.route(request, tags=tags, conversation=conversation)


def test_the_router_hears_them(make_face, router):
    witness = Witness(router)
    face = make_face(router=witness)
    chat(face, extra_body={"routing": {"tags": {"batch": True}, "conversation": "c-7"}})
    (request, tags, conversation) = witness.asked[0]
    assert (tags, conversation) == ({"batch": True}, "c-7")
    assert request.turns[0].text == MATHS


@pytest.fixture(scope="module")
def own_policy():
    return Router.load(policy=EXAMPLES.parent / "policy.toml")


def test_tags_come_by_metadata_or_beside_it(make_face, own_policy):
    face = make_face(router=own_policy)
    customer = chat(face, metadata={"tier": "customer-facing"})
    batch = chat(face, extra_body={"routing": {"tags": {"batch": True}}})
    assert (customer.model, batch.model) == ("deepseek-v4-pro", "moonshot-k2.5-thinking")


def test_a_conversation_stays_on_its_route(make_face, own_policy):
    face = make_face(router=own_policy)
    same = {"extra_body": {"routing": {"conversation": f"of {type(face)}"}}}
    assert chat(face, **same).routing.route == "math"
    later = chat(face, messages=PROSE, **same)
    assert (later.routing.route, later.routing.decision.reason) == ("math", "sticky")


def test_a_router_that_follows_its_files(make_face, provider):
    with ReloadingRouter.load() as following:
        assert chat(make_face(router=following)).model == FIRST


@pytest.mark.parametrize(
    "wrong", [{"tag": {}}, {"tags": {"a": []}}, {"conversation": 7}, "fast", [1]]
)
def test_words_to_the_router_that_make_no_sense_are_refused(face, provider, wrong):
    with pytest.raises(DispatchError, match="`routing`"):
        chat(face, extra_body={"routing": wrong})
    assert not provider.received


def test_auto_may_come_by_extra_body(face, provider):
    chat(face, model="gpt-x", extra_body={"model": "auto"})
    assert provider.models() == [FIRST]


def test_a_route_without_models_is_an_error_that_says_so(make_face, router):
    bare = Router(router.artifact, Policy.of_labels(router.classifier.labels), Catalog.load())
    face = make_face(router=bare)
    with pytest.raises(DispatchError, match="'math' names no models"):
        chat(face)


def test_dumping_a_response_shows_nothing_of_ours(face, provider):
    routed, named = chat(face), chat(face, model=FIRST)
    for dump in ("model_dump", "model_dump_json", "to_dict", "__repr__"):
        assert getattr(routed, dump)() == getattr(named, dump)()
    assert routed.model_copy(deep=True).routing.model == FIRST


def test_streams(face, provider):
    stream = chat(face, stream=True, stream_options={"include_usage": True})
    assert isinstance(stream, openai.Stream | openai.AsyncStream)
    assert stream.routing.cost is None
    chunks, error = face.read(stream)
    assert (text_of(chunks), error) == (f"I am {FIRST}", None)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) == 6
    assert stream.routing.usage.output_tokens == 7
    assert stream.routing.cost > 0


def test_streams_of_responses(face):
    stream = respond(face, stream=True)
    events, _ = face.read(stream)
    assert [event.type for event in events][:1] == ["response.created"]
    assert (
        "".join(e.delta for e in events if e.type == "response.output_text.delta")
        == f"I am {FIRST}."
    )
    assert stream.routing.usage.input_tokens == 11


def test_closing_a_stream_early_leaves_no_connection(face, provider):
    stream = chat(face, stream=True)
    face.close_stream(stream)
    assert stream.response.is_closed
    assert stream.routing.model == FIRST
    assert face.client._client._transport._pool.connections == []


def helper_streams(client):
    yield lambda: client.chat.completions.stream(model="auto", messages=PROOF)
    yield lambda: client.responses.stream(model="auto", input=MATHS)


@pytest.mark.parametrize("which", [0, 1])
def test_stream_helpers(face, provider, which):
    provider.faults[FIRST] = ["cut-head"]
    make = list(helper_streams(face.client))[which]

    def read_sync():
        with make() as stream:
            return stream.until_done(), stream

    async def read_async():
        async with make() as stream:
            return await stream.until_done(), stream

    _, stream = face.run(read_async()) if isinstance(face, AsyncFace) else read_sync()
    assert tried(stream) == [(FIRST, "APIConnectionError"), (SECOND, None)]


def test_parse(face, provider):
    provider.faults[FIRST] = ["500"]
    parse = face.client.chat.completions.parse
    completion = face.run(parse(model="auto", messages=PROOF, response_format=Answer))
    assert completion.choices[0].message.parsed == Answer(answer=f"I am {SECOND}.")
    parse = face.client.responses.parse
    response = face.run(parse(model="auto", input=MATHS, text_format=Answer))
    assert response.output_parsed == Answer(answer=f"I am {FIRST}.")
    assert response.routing.model == FIRST


def test_raw_responses(face, provider):
    provider.faults[FIRST] = ["500", "malformed"]
    create = face.client.chat.completions.with_raw_response.create
    for error in ("InternalServerError 500", "JSONDecodeError"):
        raw = face.run(create(model="auto", messages=PROOF))
        assert raw.headers["content-type"] == "application/json"
        assert raw.parse().model == SECOND
        assert tried(raw) == [(FIRST, error), (SECOND, None)]
        assert raw.routing.usage.input_tokens == 11


def test_a_raw_response_may_be_a_stream(face, provider):
    provider.faults[FIRST] = ["cut-head"]
    create = face.client.chat.completions.with_raw_response.create
    raw = face.run(create(model="auto", messages=PROOF, stream=True))
    chunks, _ = face.read(raw.parse())
    assert text_of(chunks) == f"I am {SECOND}"


@pytest.mark.parametrize("stream", [False, True])
def test_streamed_responses(face, provider, stream):
    provider.faults[FIRST] = ["503"]
    create = face.client.chat.completions.with_streaming_response.create
    given = {"model": "auto", "messages": PROOF, "stream": stream}

    def read_sync():
        with create(**given) as response:
            return response, b"".join(response.iter_bytes())

    async def read_async():
        async with create(**given) as response:
            return response, b"".join([chunk async for chunk in response.iter_bytes()])

    response, data = face.run(read_async()) if isinstance(face, AsyncFace) else read_sync()
    assert SECOND.encode() in data
    assert tried(response) == [
        (FIRST, "InternalServerError 503"),
        (SECOND, None),
    ]
    assert data.endswith(b"data: [DONE]\n\n" if stream else b"}")


def test_copies_share_router_and_circuits(face, provider):
    provider.faults[FIRST] = ["500"] * 5
    copy = face.client.with_options(max_retries=0).copy(default_headers={"x-a": "b"})
    for _ in range(5):
        face.run(copy.chat.completions.create(model="auto", messages=PROOF))
    assert provider.received[-1].headers["x-a"] == "b"
    assert tried(chat(face)) == [(SECOND, None)]


def test_n_tools_and_headers_reach_the_provider(face, provider):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    answer = chat(face, n=2, tools=[tool], extra_headers={"x-a": "b"}, extra_query={"q": "1"})
    assert len(answer.choices) == 2
    received = provider.received[0]
    assert received.body["tools"] == [tool]
    assert received.headers["x-a"] == "b"
    assert received.path.endswith("?q=1")


def test_an_http_client_of_the_caller_s_own(provider, router):
    def answer(request):
        return http.Response(200, json={"id": "1", "model": json.loads(request.content)["model"]})

    own = http.Client(transport=http.MockTransport(answer))
    with RoutedOpenAI(
        base_url="http://x/v1", api_key="k", router=router, http_client=own
    ) as client:
        made = client.chat.completions.create(model="auto", messages=PROOF)
    assert (made.model, made.routing.usage) == (FIRST, None)


def test_the_shipped_router_is_the_default(provider):
    with RoutedOpenAI(base_url=provider.url, api_key="k") as client:
        assert client.responses.create(model="auto", input=MATHS).routing.route == "math"


def test_without_openai_it_says_what_to_install():
    code = "import sys; sys.modules['openai'] = None; import router_ml.dispatch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'router-ml[openai]'" in done.stderr


@pytest.mark.parametrize("example", ["general", "maths", "robust"])
def test_examples_run_with_no_key(example):
    environment = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    command = [sys.executable, EXAMPLES / f"{example}.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**environment, "PYTHONPATH": "."}
    )
    assert "I am " in done.stdout
